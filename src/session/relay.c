/*
 * relay.c - see relay.h. TLS by OpenSSL.
 *
 * A few messages are held in each direction, and what TLS had of the next: who does not take what
 * comes for him is not sent more, which the kernel's buffers and the streams' credit pass on to
 * whoever sends. In the guest each system call on the wire costs as much as thousands of bytes, and
 * may wake the host; so TLS reads as much as there is, and what it writes is gathered until there
 * is no more to say for now.
 */
#include "session/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "session/confine.h"
#include "session/message.h"

#define HANDSHAKE_TIME 30000000000ull /* nanoseconds */
#define LINGER_TIME    5000000000ull
#define WIRE_BUFFER    (64u << 10) /* bytes that are read from the wire, or written, at once */

/* The quickest first, also where the guest's processor is a program (bench/README.md). */
#define CIPHERS "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

struct relay {
	bool agent;
	SSL *tls;
	int wire, packets;
	short wire_wants;		     /* poll events that TLS waits for */
	bool packets_full;		     /* their side does not take more now */
	uint8_t in[2 * SESSION_MESSAGE_MAX]; /* from the wire, not passed on yet */
	size_t n_in;
	struct session_message out; /* to the wire: not all written yet */
	size_t n_out;
	bool flush_due; /* TLS has what it could not write yet */
	bool our_end;	/* our side has ended */
};

/* ---- The end --------------------------------------------------------------------------------- */

static void lost(struct relay *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void lost(struct relay *r, const char *format, ...)
{
	char text[SESSION_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	session_send(r->packets, SESSION_LOST, 0, text, strlen(text), MSG_DONTWAIT);
}

/* What an error of TLS means for people. */
static void explain(struct relay *r)
{
	unsigned long code = ERR_peek_error();
	int reason = ERR_GET_REASON(code);
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	bool closed = !code || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING;

	if (closed && !r->agent && SSL_in_init(r->tls))
		lost(r, "it turned the connection away; its log in the guest says why (too many "
			"sessions or logins at once, perhaps)");
	else if (closed)
		lost(r, "it closed the connection");
	else
		lost(r, "no TLS connection: %s", text ? text : "unknown error");
}

/* ---- TLS ------------------------------------------------------------------------------------- */

/* The certificate that TLS asks for, around a key for this connection alone. NULL: no memory. */
static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_NAME *name = x ? X509_get_subject_name(x) : NULL;

	if (name && X509_set_version(x, X509_VERSION_3) &&
		ASN1_INTEGER_set(X509_get_serialNumber(x), 1) &&
		X509_gmtime_adj(X509_getm_notBefore(x), -86400) &&
		ASN1_TIME_set_string_X509(X509_getm_notAfter(x), "99991231235959Z") &&
		X509_NAME_add_entry_by_txt(
			name, "CN", MBSTRING_ASC, (const unsigned char *)"partita", -1, -1, 0) &&
		X509_set_issuer_name(x, name) && X509_set_pubkey(x, key) && X509_sign(x, key, NULL))
		return x;
	X509_free(x);
	return NULL;
}

static bool use_new_key(SSL_CTX *ctx)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	X509 *certificate = key ? make_certificate(key) : NULL;
	bool ok = certificate && SSL_CTX_use_certificate(ctx, certificate) == 1 &&
		  SSL_CTX_use_PrivateKey(ctx, key) == 1;

	X509_free(certificate);
	EVP_PKEY_free(key);
	return ok;
}

/* Who the peer is, PROOF says: its certificate is nothing to be looked at. */
static int accept_any(X509_STORE_CTX *store, void *ctx)
{
	return 1;
}

/* What TLS writes waits for flush(). */
static bool use_wire(SSL *tls, int wire)
{
	BIO *in = BIO_new_socket(wire, BIO_NOCLOSE), *out = BIO_new_socket(wire, BIO_NOCLOSE);
	BIO *buffer = BIO_new(BIO_f_buffer());

	if (!in || !out || !buffer || BIO_set_write_buffer_size(buffer, WIRE_BUFFER) != 1) {
		BIO_free(in);
		BIO_free(out);
		BIO_free(buffer);
		return false;
	}
	SSL_set0_rbio(tls, in);
	SSL_set0_wbio(tls, BIO_push(buffer, out));
	return true;
}

static SSL *make_tls(struct relay *r)
{
	SSL_CTX *ctx = SSL_CTX_new(r->agent ? TLS_server_method() : TLS_client_method());
	SSL *tls = NULL;

	if (!ctx)
		return NULL;
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_cert_verify_callback(ctx, accept_any, NULL);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, WIRE_BUFFER);
	if (SSL_CTX_set_ciphersuites(ctx, CIPHERS) == 1 && (!r->agent || use_new_key(ctx)))
		tls = SSL_new(ctx);
	SSL_CTX_free(ctx);
	if (!tls || !use_wire(tls, r->wire)) {
		SSL_free(tls);
		return NULL;
	}
	if (r->agent)
		SSL_set_accept_state(tls);
	else
		SSL_set_connect_state(tls);
	return tls;
}

/*
 * What a call of TLS that returned @result means: 1, it did something; 0, it waits, and wire_wants
 * has for what; -1, the connection is over, and our side knows why.
 */
static int outcome(struct relay *r, int result)
{
	int error = result > 0 ? SSL_ERROR_NONE : SSL_get_error(r->tls, result);

	switch (error) {
	case SSL_ERROR_NONE:
		return 1;
	case SSL_ERROR_WANT_READ:
		r->wire_wants |= POLLIN;
		return 0;
	case SSL_ERROR_WANT_WRITE:
		r->wire_wants |= POLLOUT;
		return 0;
	case SSL_ERROR_ZERO_RETURN:
		return -1;
	default:
		explain(r);
		return -1;
	}
}

static bool shake_hands(struct relay *r)
{
	const uint64_t end = loop_now() + HANDSHAKE_TIME;

	for (;;) {
		struct pollfd fds[] = {{.fd = r->wire}, {.fd = r->packets}};
		uint64_t now = loop_now();
		int done;

		ERR_clear_error();
		r->wire_wants = 0;
		done = outcome(r, SSL_do_handshake(r->tls));
		if (done)
			return done > 0;
		fds[0].events = r->wire_wants;
		if (now >= end || poll(fds, 2, (int)((end - now) / 1000000) + 1) == 0) {
			lost(r, "it did not answer");
			return false;
		}
		if (fds[1].revents & (POLLHUP | POLLERR))
			return false;
	}
}

/* ---- Messages -------------------------------------------------------------------------------- */

/* Passes on what whole messages there are. False: the peer does not keep to the protocol. */
static bool pass_in(struct relay *r)
{
	const unsigned from = r->agent ? SESSION_FROM_HOST : SESSION_FROM_AGENT;
	size_t at = 0;
	bool go_on = true;

	r->packets_full = false;
	while (go_on && !r->packets_full) {
		ssize_t n = session_message_whole(r->in + at, r->n_in - at, from);

		if (n == 0 || n > (ssize_t)(r->n_in - at))
			break;
		if (n < 0 || !session_message_valid(r->in + at, (size_t)n, from)) {
			lost(r, "it does not keep to the protocol");
			go_on = false;
		} else if (send(r->packets, r->in + at, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) <
				   0 &&
			   errno == EAGAIN) {
			r->packets_full = true;
		} else {
			/* Our side may have ended: then its last words come first (move_out). */
			at += (size_t)n;
		}
	}
	r->n_in -= at;
	memmove(r->in, r->in + at, r->n_in);
	return go_on;
}

/* From the wire to our side. False: it is over. */
static bool move_in(struct relay *r)
{
	for (;;) {
		int n, done;

		if (!pass_in(r))
			return false;
		if (r->packets_full)
			return true;
		/* A message may be missing its end, but never more than that: there is room. */
		n = SSL_read(r->tls, r->in + r->n_in, (int)(sizeof(r->in) - r->n_in));
		done = outcome(r, n);
		if (done <= 0)
			return done == 0;
		r->n_in += (size_t)n;
	}
}

/* Writes what TLS gathered. As outcome(). */
static int flush(struct relay *r)
{
	BIO *wire = SSL_get_wbio(r->tls);

	r->flush_due = BIO_flush(wire) <= 0;
	if (!r->flush_due)
		return 1;
	r->wire_wants |= POLLOUT;
	return BIO_should_retry(wire) ? 0 : -1;
}

/* From our side to the wire. False: it is over. */
static bool move_out(struct relay *r)
{
	const unsigned from = r->agent ? SESSION_FROM_AGENT : SESSION_FROM_HOST;

	for (;;) {
		int done;

		if (!r->n_out) {
			int got = session_receive(r->packets, &r->out, from, MSG_DONTWAIT);

			if (got == -EAGAIN)
				return flush(r) >= 0;
			r->our_end = got <= 0;
			if (r->our_end)
				return flush(r) == 0;
			r->n_out = sizeof(r->out.header) + r->out.header.length;
		}
		done = outcome(r, SSL_write(r->tls, &r->out, (int)r->n_out));
		if (done <= 0)
			return done == 0;
		r->n_out = 0;
	}
}

static void exchange(struct relay *r)
{
	for (;;) {
		struct pollfd fds[] = {{.fd = r->wire}, {.fd = r->packets}};

		ERR_clear_error();
		r->wire_wants = 0;
		/* Outward first: our side may have ended, and its last words wait. */
		if (!move_out(r) || !move_in(r))
			return;
		fds[0].events = r->wire_wants;
		fds[1].events = (r->n_out || r->flush_due || r->our_end ? 0 : POLLIN) |
				(r->packets_full ? POLLOUT : 0);
		/* A side that has ended shows so all the time, also when that must wait. */
		fds[0].fd = fds[0].events ? r->wire : -1;
		fds[1].fd = fds[1].events ? r->packets : -1;
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
	}
}

/*
 * The agent says the last word, its refusals and the exit status. Closing while the host still
 * sends would reset the connection and take those words with it, so the host closes first.
 */
static void let_host_close(struct relay *r)
{
	const uint64_t end = loop_now() + LINGER_TIME;
	struct pollfd p = {.fd = r->wire, .events = POLLIN};
	uint64_t now;
	ssize_t n = 1;

	shutdown(r->wire, SHUT_WR);
	while (n && (now = loop_now()) < end) {
		if (poll(&p, 1, (int)((end - now) / 1000000) + 1) <= 0)
			return;
		n = recv(r->wire, r->in, sizeof(r->in), MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return;
	}
}

/* What both ends sign (RFC 9266, section 4.2), to our side. */
static bool tell_binding(struct relay *r)
{
	static const char label[] = "EXPORTER-Channel-Binding";
	uint8_t binding[SESSION_BINDING];

	return SSL_export_keying_material(r->tls, binding, sizeof(binding), label,
		       sizeof(label) - 1, NULL, 0, 0) == 1 &&
	       session_send(r->packets, SESSION_BOUND, 0, binding, sizeof(binding), 0) == 0;
}

/* In a process of its own, until either side ends. */
static void serve(bool agent, int wire, int packets)
{
	struct relay *r = calloc(1, sizeof(*r));

	signal(SIGPIPE, SIG_IGN);
	/* Meant for the command, or for our side, with which it ends. */
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (!r || relay_confine(wire, packets))
		return;
	r->agent = agent;
	r->wire = wire;
	r->packets = packets;
	r->tls = make_tls(r);
	if (!r->tls)
		lost(r, "cannot begin TLS");
	else if (shake_hands(r) && tell_binding(r)) {
		exchange(r);
		SSL_shutdown(r->tls);
		flush(r);
	}
	if (agent)
		let_host_close(r);
}

int relay_start(bool agent, int wire, int *packets, pid_t *pid)
{
	int pair[2], err = 0;

	if (fcntl(wire, F_SETFL, O_NONBLOCK) < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		err = -errno;
		close(wire);
		return err;
	}
	/* Loads libcrypto's tables and its random numbers while that is possible. */
	OPENSSL_init_ssl(0, NULL);
	*pid = fork();
	if (*pid < 0)
		err = -errno;
	if (*pid == 0) {
		serve(agent, wire, pair[1]);
		_exit(0);
	}
	close(wire);
	close(pair[1]);
	if (err)
		close(pair[0]);
	else
		*packets = pair[0];
	return err;
}
