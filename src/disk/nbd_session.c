/*
 * nbd_session.c - the transmission phase of one client: requests come in, run on the disk's queue
 * many at once, and are answered as they finish.
 *
 * One thread does it all, waiting for the socket, the queue and the end. The data of reads and
 * writes moves between the socket and a request's buffer without another copy, but for what arrives
 * together with a request's head. A client that does not read its answers, or asks for more than
 * its share of memory, is not listened to until it does. Facts: "The NBD protocol", chapter
 * "Transmission".
 */
#include "disk/nbd_session.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define QUEUE_DEPTH	64
#define IN_ROOM		16384u
#define BUFFER_ALIGN	4096u
#define BUFFER_KEPT	(256u << 10) /* a larger one is given back with its request */
#define CACHE_STEP	(1u << 20)   /* bytes that NBD_CMD_CACHE reads at once */
#define MAX_DESCRIPTORS 1024u	     /* of one NBD_CMD_BLOCK_STATUS */
#define REPLIES_AT_ONCE 32
#define LAST_WORDS_MS	5000 /* for a client to take its answers, when the server stops */

struct session;

/* From its head's arrival until its answer is sent. */
struct request {
	struct disk_request disk;
	struct iovec iov;
	struct session *session;
	struct request *next; /* in the list of free ones, or of replies */
	uint64_t cookie;
	uint64_t end; /* of the range, in bytes */
	uint16_t flags, type;
	uint32_t length;
	uint32_t error; /* NBD_E..., 0: none */
	uint8_t *buffer;
	size_t room; /* of the buffer, in bytes */
	union {
		struct nbd_simple_reply simple;
		struct nbd_structured_reply structured;
	} head;
	size_t head_length, payload_length; /* the payload is in the buffer */
};

struct session {
	const struct nbd_export *x;
	struct nbd_terms terms;
	struct disk_queue *queue;
	int fd, stop;
	uint32_t sector; /* bytes */

	uint8_t in[IN_ROOM]; /* what came and was not taken yet: from in_head to in_tail */
	size_t in_head, in_tail;
	struct request *taking; /* whose data is coming; without a buffer if nobody wants it */
	uint32_t taking_left;	/* bytes of it */
	bool stalled;		/* what is in must wait until an answer is sent */

	struct request *replies, **replies_end;
	size_t sent;	    /* bytes of the first reply */
	size_t held;	    /* bytes of all buffers */
	unsigned in_flight; /* requests that the disk has */
	bool ending;	    /* no more is taken in */
	bool gone;	    /* nobody hears us */
	struct request *unused;
	struct request requests[NBD_MAX_REQUESTS];
};

/* ---- Buffers --------------------------------------------------------------------------------- */

static void drop_buffer(struct session *s, struct request *r)
{
	free(r->buffer);
	s->held -= r->room;
	r->buffer = NULL;
	r->room = 0;
}

/* Returns false when the client holds as much as it may, or memory is short. */
static bool reserve(struct session *s, struct request *r, size_t length)
{
	size_t room = (length + BUFFER_ALIGN - 1) & ~(size_t)(BUFFER_ALIGN - 1);

	if (r->room >= length)
		return true;
	drop_buffer(s, r);
	for (struct request *u = s->unused; u && s->held + room > NBD_MAX_HELD; u = u->next)
		drop_buffer(s, u);
	if (s->held + room > NBD_MAX_HELD)
		return false;
	r->buffer = aligned_alloc(BUFFER_ALIGN, room);
	if (!r->buffer)
		return false;
	r->room = room;
	s->held += room;
	return true;
}

static void release(struct session *s, struct request *r)
{
	if (r->room > BUFFER_KEPT)
		drop_buffer(s, r);
	r->next = s->unused;
	s->unused = r;
	s->stalled = false;
}

/* ---- Answers --------------------------------------------------------------------------------- */

static uint32_t wire_error(int err)
{
	switch (-err) {
	case 0:
		return 0;
	case EPERM:
	case EACCES:
	case EROFS:
	case EBADF:
		return NBD_EPERM;
	case ENOMEM:
		return NBD_ENOMEM;
	case EINVAL:
		return NBD_EINVAL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return NBD_ENOSPC;
	case ENOTSUP:
		return NBD_ENOTSUP;
	default:
		return NBD_EIO;
	}
}

/* The head of a reply in one chunk: @prefix bytes of it belong to the payload. */
static void structured_head(struct request *r, uint16_t type, size_t prefix, size_t data)
{
	struct nbd_structured_reply *head = &r->head.structured;

	head->magic = htobe32(NBD_STRUCTURED_REPLY_MAGIC);
	head->flags = htobe16(NBD_REPLY_FLAG_DONE);
	head->type = htobe16(type);
	head->cookie = r->cookie;
	head->length = htobe32(prefix + data);
	r->head_length = offsetof(struct nbd_structured_reply, offset) + prefix;
	r->payload_length = data;
}

static void simple_head(struct request *r, size_t data)
{
	r->head.simple = (struct nbd_simple_reply){
		.magic = htobe32(NBD_SIMPLE_REPLY_MAGIC),
		.error = htobe32(r->error),
		.cookie = r->cookie,
	};
	r->head_length = sizeof(r->head.simple);
	r->payload_length = data;
}

/* Put the answer in the line; @data: bytes of the buffer that a success carries. */
static void answer(struct request *r, size_t data)
{
	struct session *s = r->session;
	struct nbd_structured_reply *head = &r->head.structured;
	const bool has_payload = r->type == NBD_CMD_READ || r->type == NBD_CMD_BLOCK_STATUS;

	if (r->error)
		data = 0;
	if (!s->terms.structured || !has_payload) {
		simple_head(r, data);
	} else if (r->error) {
		structured_head(r, NBD_REPLY_TYPE_ERROR, sizeof(head->error), 0);
		head->error.code = htobe32(r->error);
		head->error.message_length = 0;
	} else if (r->type == NBD_CMD_READ) {
		structured_head(r, NBD_REPLY_TYPE_OFFSET_DATA, sizeof(head->offset), data);
		head->offset = htobe64(r->disk.offset);
	} else {
		structured_head(r, NBD_REPLY_TYPE_BLOCK_STATUS, sizeof(head->context), data);
		head->context = htobe32(NBD_CONTEXT_ALLOCATION);
	}
	r->next = NULL;
	*s->replies_end = r;
	s->replies_end = &r->next;
}

static void forget_reply(struct session *s)
{
	struct request *r = s->replies;

	s->replies = r->next;
	if (!s->replies)
		s->replies_end = &s->replies;
	s->sent = 0;
	release(s, r);
}

static void was_sent(struct session *s, size_t n)
{
	s->sent += n;
	while (s->replies) {
		size_t length = s->replies->head_length + s->replies->payload_length, rest;

		if (s->sent < length)
			break;
		rest = s->sent - length;
		forget_reply(s);
		s->sent = rest;
	}
}

/* What of the replies is to be sent next. */
static unsigned gather(struct session *s, struct iovec *iov)
{
	size_t skip = s->sent;
	unsigned n = 0;

	for (struct request *r = s->replies; r && n + 2 <= 2 * REPLIES_AT_ONCE; r = r->next) {
		const struct iovec parts[2] = {
			{&r->head, r->head_length}, {r->buffer, r->payload_length}};

		for (int i = 0; i < 2; i++) {
			size_t past = skip < parts[i].iov_len ? skip : parts[i].iov_len;

			skip -= past;
			if (past < parts[i].iov_len)
				iov[n++] = (struct iovec){(uint8_t *)parts[i].iov_base + past,
					parts[i].iov_len - past};
		}
	}
	return n;
}

static void send_replies(struct session *s)
{
	struct iovec iov[2 * REPLIES_AT_ONCE];
	struct msghdr message = {.msg_iov = iov};

	while (s->replies && !s->gone) {
		ssize_t n;

		message.msg_iovlen = gather(s, iov);
		n = sendmsg(s->fd, &message, MSG_NOSIGNAL);
		if (n >= 0)
			was_sent(s, n);
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR)
			s->gone = s->ending = true;
	}
}

/* ---- Commands -------------------------------------------------------------------------------- */

static void submit(struct request *r, enum disk_op op, uint64_t length)
{
	struct session *s = r->session;

	r->disk.op = op;
	r->disk.length = length;
	r->iov = (struct iovec){r->buffer, length};
	r->disk.iov = &r->iov;
	r->disk.n_iov = op == DISK_READ || op == DISK_WRITE;
	s->in_flight++;
	disk_submit(s->queue, s->x->disk, &r->disk);
}

/* The next piece of what a client wants to have in the cache. */
static void submit_cache(struct request *r)
{
	uint64_t left = r->end - r->disk.offset;

	submit(r, DISK_READ, left < CACHE_STEP ? left : CACHE_STEP);
}

static void request_done(struct disk_request *d)
{
	struct request *r = (struct request *)d;
	const bool changes = d->op == DISK_UNMAP || d->op == DISK_ZERO;

	r->session->in_flight--;
	r->error = wire_error(d->result);
	if (!r->error && changes && r->flags & NBD_CMD_FLAG_FUA) {
		submit(r, DISK_FLUSH, 0);
		return;
	}
	if (!r->error && r->type == NBD_CMD_CACHE) {
		d->offset += d->length;
		if (d->offset < r->end) {
			submit_cache(r);
			return;
		}
	}
	answer(r, r->type == NBD_CMD_READ ? r->length : 0);
}

/* The extents of the range, as many as there is room for. Returns how many, or an error. */
static int describe(struct request *r, struct nbd_block_descriptor *to, unsigned room)
{
	uint64_t at = r->disk.offset;
	unsigned n = 0;

	while (at < r->end && n < room) {
		enum disk_where where;
		int64_t run = disk_extent(r->session->x->disk, at, r->end, UINT_MAX, &where);

		if (run <= 0)
			return run < 0 ? (int)run : -EIO;
		to[n++] = (struct nbd_block_descriptor){
			.length = htobe32(run),
			.flags = htobe32(where == DISK_ZEROS ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0),
		};
		at += run;
	}
	return n;
}

static void block_status(struct request *r)
{
	struct session *s = r->session;
	const unsigned room = r->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : MAX_DESCRIPTORS;
	int n;

	/* What waits for the disk itself must not have others wait for requests of this thread. */
	while (s->in_flight)
		disk_queue_run(s->queue, true);
	n = describe(r, (struct nbd_block_descriptor *)r->buffer, room);
	if (n < 0)
		r->error = wire_error(n);
	answer(r, n < 0 ? 0 : n * sizeof(struct nbd_block_descriptor));
}

static void begin(struct request *r)
{
	if (r->error) {
		answer(r, 0);
		return;
	}
	switch ((enum nbd_command)r->type) {
	case NBD_CMD_READ:
		submit(r, DISK_READ, r->length);
		break;
	case NBD_CMD_WRITE:
		submit(r, DISK_WRITE, r->length);
		break;
	case NBD_CMD_FLUSH:
		submit(r, DISK_FLUSH, 0);
		break;
	case NBD_CMD_TRIM:
		submit(r, DISK_UNMAP, r->length);
		break;
	case NBD_CMD_WRITE_ZEROES:
		submit(r, r->flags & NBD_CMD_FLAG_NO_HOLE ? DISK_ZERO : DISK_UNMAP, r->length);
		break;
	case NBD_CMD_CACHE:
		submit_cache(r);
		break;
	case NBD_CMD_BLOCK_STATUS:
		block_status(r);
		break;
	case NBD_CMD_DISC:
		break;
	}
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* What a command may carry, and whether it changes the disk. */
static const struct {
	uint16_t flags;
	bool known, changes;
} commands[] = {
	[NBD_CMD_READ] = {NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF, true, false},
	[NBD_CMD_WRITE] = {NBD_CMD_FLAG_FUA, true, true},
	[NBD_CMD_FLUSH] = {NBD_CMD_FLAG_FUA, true, false},
	[NBD_CMD_TRIM] = {NBD_CMD_FLAG_FUA, true, true},
	[NBD_CMD_CACHE] = {NBD_CMD_FLAG_FUA, true, false},
	[NBD_CMD_WRITE_ZEROES] = {NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE, true, true},
	[NBD_CMD_BLOCK_STATUS] = {NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE, true, false},
};

/* Why the request cannot be, as an error of the protocol; 0: it can. */
static uint32_t objection(const struct session *s, const struct request *r)
{
	const uint64_t size = disk_size(s->x->disk);

	if (r->type >= sizeof(commands) / sizeof(commands[0]) || !commands[r->type].known ||
		r->flags & ~commands[r->type].flags)
		return NBD_EINVAL;
	if (commands[r->type].changes && s->x->read_only)
		return NBD_EPERM;
	if (r->type == NBD_CMD_FLUSH)
		return r->disk.offset || r->length ? NBD_EINVAL : 0;
	if (!r->length || r->disk.offset % s->sector || r->length % s->sector)
		return NBD_EINVAL;
	if (r->disk.offset > size || r->length > size - r->disk.offset)
		return commands[r->type].changes ? NBD_ENOSPC : NBD_EINVAL;
	if (r->type == NBD_CMD_READ && r->length > NBD_MAX_PAYLOAD)
		return r->flags & NBD_CMD_FLAG_DF ? NBD_EOVERFLOW : NBD_EINVAL;
	if (r->type == NBD_CMD_BLOCK_STATUS && !s->terms.allocation)
		return NBD_EINVAL;
	return 0;
}

static size_t buffer_need(const struct request *r)
{
	switch (r->type) {
	case NBD_CMD_READ:
	case NBD_CMD_WRITE:
		return r->length;
	case NBD_CMD_CACHE:
		return r->length < CACHE_STEP ? r->length : CACHE_STEP;
	case NBD_CMD_BLOCK_STATUS:
		return MAX_DESCRIPTORS * sizeof(struct nbd_block_descriptor);
	default:
		return 0;
	}
}

/* Take a request's head. Returns 1, 0 when it must wait, or a negative errno. */
static int take_head(struct session *s)
{
	struct nbd_request_head head;
	struct request *r = s->unused;

	memcpy(&head, s->in + s->in_head, sizeof(head));
	if (be32toh(head.magic) != NBD_REQUEST_MAGIC)
		return -EPROTO;
	if (be16toh(head.type) == NBD_CMD_DISC) {
		s->ending = true;
		return 0;
	}
	if (be16toh(head.type) == NBD_CMD_WRITE && be32toh(head.length) > NBD_MAX_PAYLOAD)
		return -EPROTO;
	if (!r) {
		s->stalled = true;
		return 0;
	}
	s->unused = r->next;
	r->cookie = head.cookie;
	r->flags = be16toh(head.flags);
	r->type = be16toh(head.type);
	r->length = be32toh(head.length);
	r->disk.offset = be64toh(head.offset);
	r->disk.fua = r->type == NBD_CMD_WRITE && r->flags & NBD_CMD_FLAG_FUA;
	r->error = objection(s, r);
	r->end = r->disk.offset + r->length;
	if (!r->error && !reserve(s, r, buffer_need(r))) {
		/* Whatever is under way gives memory back when it is answered. */
		release(s, r);
		s->stalled = s->in_flight || s->replies;
		return s->stalled ? 0 : -ENOMEM;
	}
	s->in_head += sizeof(head);
	if (r->type == NBD_CMD_WRITE && r->length) {
		s->taking = r;
		s->taking_left = r->length;
	} else {
		begin(r);
	}
	return 1;
}

static void took(struct session *s, size_t n)
{
	struct request *r = s->taking;

	s->taking_left -= n;
	if (s->taking_left)
		return;
	s->taking = NULL;
	begin(r);
}

/* Take what is in. Returns 0 or a negative errno. */
static int take_in(struct session *s)
{
	int more = 1;

	while (more > 0 && !s->ending) {
		size_t there = s->in_tail - s->in_head;

		if (s->taking) {
			size_t n = there < s->taking_left ? there : s->taking_left;

			if (!n)
				break;
			if (!s->taking->error)
				memcpy(s->taking->buffer + s->taking->length - s->taking_left,
					s->in + s->in_head, n);
			s->in_head += n;
			took(s, n);
		} else if (there >= sizeof(struct nbd_request_head)) {
			more = take_head(s);
		} else {
			break;
		}
	}
	return more < 0 ? more : 0;
}

/* Receive what there is: the rest of a request's data to its place, and what follows. */
static void receive(struct session *s)
{
	struct iovec iov[2];
	struct msghdr message = {.msg_iov = iov};
	size_t direct = 0;
	ssize_t n;

	memmove(s->in, s->in + s->in_head, s->in_tail - s->in_head);
	s->in_tail -= s->in_head;
	s->in_head = 0;
	if (s->taking && !s->taking->error) {
		direct = s->taking_left;
		iov[message.msg_iovlen++] =
			(struct iovec){s->taking->buffer + s->taking->length - direct, direct};
	}
	iov[message.msg_iovlen++] = (struct iovec){s->in + s->in_tail, IN_ROOM - s->in_tail};
	n = recvmsg(s->fd, &message, 0);
	if (n == 0) {
		s->ending = true;
	} else if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			s->gone = s->ending = true;
	} else {
		if ((size_t)n < direct)
			direct = n;
		s->in_tail += n - direct;
		if (direct)
			took(s, direct);
	}
}

/* ---- The client ------------------------------------------------------------------------------ */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool finished(const struct session *s)
{
	return s->ending && !s->in_flight && (s->gone || !s->replies);
}

/* Wait for something to do, and do what the disk and the end ask for. */
static void wait_for_work(struct session *s, bool *readable, int64_t *last_words)
{
	struct pollfd fds[3] = {
		{.fd = s->fd},
		{.fd = disk_queue_fd(s->queue), .events = POLLIN},
		{.fd = *last_words ? -1 : s->stop, .events = POLLIN},
	};
	int64_t patience = *last_words ? *last_words - now_ms() : -1;

	if (!s->ending && !s->stalled)
		fds[0].events |= POLLIN;
	if (s->replies && !s->gone)
		fds[0].events |= POLLOUT;
	/* Nothing is to be done about a client that hung up, until something must be said to it. */
	if (!fds[0].events)
		fds[0].fd = -1;
	if (*last_words && patience <= 0) {
		s->gone = true;
		patience = -1;
	}
	disk_queue_kick(s->queue);
	if (finished(s) || poll(fds, 3, patience) <= 0)
		return;
	*readable = fds[0].events & POLLIN && fds[0].revents & ~POLLOUT;
	if (fds[1].revents)
		disk_queue_run(s->queue, false);
	if (fds[2].revents) {
		s->ending = true;
		*last_words = now_ms() + LAST_WORDS_MS;
	}
}

static int transmit(struct session *s)
{
	int64_t last_words = 0;
	int result = 0;

	while (!finished(s)) {
		bool readable = false, waits;
		int err;

		wait_for_work(s, &readable, &last_words);
		if (readable && !s->ending)
			receive(s);
		/* An answer that is sent makes room for what had to wait. */
		do {
			err = take_in(s);
			if (err)
				s->gone = s->ending = true;
			waits = s->stalled;
			send_replies(s);
		} while (waits && !s->stalled && !s->ending);
		if (err)
			result = err;
	}
	return result;
}

static struct session *session_create(const struct nbd_export *x, int fd, int stop)
{
	struct session *s = calloc(1, sizeof(*s));
	struct disk_info info;

	if (!s)
		return NULL;
	disk_info(x->disk, &info);
	s->x = x;
	s->fd = fd;
	s->stop = stop;
	s->sector = info.logical_sector;
	s->replies_end = &s->replies;
	for (unsigned i = NBD_MAX_REQUESTS; i-- > 0;) {
		struct request *r = &s->requests[i];

		r->session = s;
		r->disk.done = request_done;
		r->next = s->unused;
		s->unused = r;
	}
	s->queue = disk_queue_create(x->engine, QUEUE_DEPTH);
	if (s->queue)
		return s;
	free(s);
	return NULL;
}

static void session_destroy(struct session *s)
{
	disk_queue_destroy(s->queue);
	for (unsigned i = 0; i < NBD_MAX_REQUESTS; i++)
		free(s->requests[i].buffer);
	free(s);
}

int nbd_serve_client(const struct nbd_export *x, int fd, int stop)
{
	struct nbd_terms terms;
	struct session *s;
	int flags = fcntl(fd, F_GETFL), err;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	err = nbd_handshake(x, fd, stop, &terms);
	if (err)
		return err > 0 ? 0 : err;
	s = session_create(x, fd, stop);
	if (!s)
		return -ENOMEM;
	s->terms = terms;
	err = transmit(s);
	session_destroy(s);
	return err;
}
