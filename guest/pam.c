/*
 * pam.c - see pam.h; pam(3), pam_conv(3).
 *
 * Whether a user exists must not be seen from outside: for one who does not, PAM is asked all the
 * same, and a password is hashed, which PAM leaves out then. The caller makes the answers come at
 * the same time.
 */
#include "pam.h"

#include <crypt.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "login.h"
#include "session/message.h"

#define SERVICE "partita"

/* ---- The conversation ------------------------------------------------------------------------ */

/* What the user typed, which the caller frees; NULL: the host does not answer. */
static char *ask(struct login_pam *p, bool shown, const char *prompt)
{
	struct session_message m;
	char *answer = NULL;

	if (session_send_text(p->packets, SESSION_PROMPT,
		    shown ? SESSION_PROMPT_SHOWN : SESSION_PROMPT_HIDDEN, prompt) == 0 &&
		login_receive(p->packets, &m, p->deadline) > 0 && m.header.type == SESSION_ANSWER)
		answer = strdup((const char *)m.payload);
	explicit_bzero(&m, sizeof(m));
	p->answered = loop_now();
	p->host_gone = !answer;
	return answer;
}

static bool converse(struct login_pam *p, const struct pam_message *m, struct pam_response *r)
{
	switch (m->msg_style) {
	case PAM_PROMPT_ECHO_OFF:
	case PAM_PROMPT_ECHO_ON:
		r->resp = ask(p, m->msg_style == PAM_PROMPT_ECHO_ON, m->msg);
		return r->resp;
	case PAM_TEXT_INFO:
	case PAM_ERROR_MSG:
		return session_send_text(p->packets, SESSION_NOTE,
			       m->msg_style == PAM_ERROR_MSG ? SESSION_NOTE_ERROR
							     : SESSION_NOTE_INFO,
			       m->msg) == 0;
	default:
		return false;
	}
}

static int conversation(
	int n, const struct pam_message **messages, struct pam_response **responses, void *ctx)
{
	struct login_pam *p = ctx;
	struct pam_response *all;
	int i;

	if (n <= 0 || n > PAM_MAX_NUM_MSG || p->host_gone)
		return PAM_CONV_ERR;
	all = calloc((size_t)n, sizeof(*all));
	if (!all)
		return PAM_BUF_ERR;
	for (i = 0; i < n && converse(p, messages[i], &all[i]); i++)
		;
	if (i == n) {
		*responses = all;
		return PAM_SUCCESS;
	}
	for (i = 0; i < n; i++)
		if (all[i].resp) {
			explicit_bzero(all[i].resp, strlen(all[i].resp));
			free(all[i].resp);
		}
	free(all);
	return PAM_CONV_ERR;
}

/* PAM's own delay would tell by its length what took place: login.c has one for all. */
static void no_delay(int result, unsigned microseconds, void *ctx)
{
}

/* ---- The steps ------------------------------------------------------------------------------- */

static enum login_outcome outcome(const struct login_pam *p, int result, enum login_outcome refused)
{
	if (result == PAM_SUCCESS)
		return LOGIN_ACCEPTED;
	if (p->host_gone)
		return LOGIN_HOST_GONE;
	switch (result) {
	case PAM_ABORT:
	case PAM_BUF_ERR:
	case PAM_OPEN_ERR:
	case PAM_SYMBOL_ERR:
		return LOGIN_FAILED;
	default:
		return refused;
	}
}

static int start(struct login_pam *p, const char *user, const char *confdir, const char *peer)
{
	const struct pam_conv conv = {.conv = conversation, .appdata_ptr = p};
	int result = confdir ? pam_start_confdir(SERVICE, user, &conv, confdir, &p->pam)
			     : pam_start(SERVICE, user, &conv, &p->pam);

	if (result != PAM_SUCCESS) {
		p->pam = NULL;
		return result;
	}
	result = pam_set_item(p->pam, PAM_FAIL_DELAY, (const void *)no_delay);
	if (result == PAM_SUCCESS)
		result = pam_set_item(p->pam, PAM_RHOST, peer);
	if (result == PAM_SUCCESS)
		result = pam_set_item(p->pam, PAM_TTY, SERVICE);
	return result;
}

/* May he log in, and is his password new enough? Otherwise PAM has him choose another. */
static int check_account(struct login_pam *p)
{
	int result = pam_acct_mgmt(p->pam, PAM_DISALLOW_NULL_AUTHTOK);

	return result == PAM_NEW_AUTHTOK_REQD ? pam_chauthtok(p->pam, PAM_CHANGE_EXPIRED_AUTHTOK)
					      : result;
}

/* As long as the password of one who does exist takes. */
static void hash_something(void)
{
	struct crypt_data *data = calloc(1, sizeof(*data));
	char salt[CRYPT_GENSALT_OUTPUT_SIZE];

	if (data && crypt_gensalt_rn(NULL, 0, NULL, 0, salt, sizeof(salt)))
		crypt_r("no such user", salt, data);
	free(data);
}

enum login_outcome login_pam_prove(struct login_pam *p, const char *user, const char *confdir,
	const char *peer, struct account *account, const char **reason)
{
	bool known = account_find(account, user);
	enum login_outcome o;
	const void *name = NULL;
	int result = start(p, user, confdir, peer);

	o = outcome(p, result, LOGIN_FAILED);
	if (o == LOGIN_ACCEPTED) {
		result = pam_authenticate(p->pam, PAM_DISALLOW_NULL_AUTHTOK);
		o = outcome(p, result, LOGIN_WRONG);
	}
	if (!known && o != LOGIN_FAILED && o != LOGIN_HOST_GONE) {
		hash_something();
		result = PAM_USER_UNKNOWN;
		o = LOGIN_WRONG;
	}
	if (o == LOGIN_ACCEPTED) {
		result = check_account(p);
		o = outcome(p, result, LOGIN_BARRED);
	}
	/* A module may have made him another; this account is the one that was asked for. */
	if (o == LOGIN_ACCEPTED && (pam_get_item(p->pam, PAM_USER, &name) != PAM_SUCCESS || !name ||
					   strcmp(name, account->name) != 0)) {
		result = PAM_PERM_DENIED;
		o = LOGIN_BARRED;
	}
	*reason = pam_strerror(p->pam, result);
	if (o != LOGIN_ACCEPTED) {
		if (known)
			account_free(account);
		if (p->pam)
			pam_end(p->pam, result);
		p->pam = NULL;
	}
	return o;
}

int login_pam_open(
	struct login_pam *p, const struct account *account, const char *tty, const char **reason)
{
	int result = PAM_SUCCESS;

	*reason = "cannot set its groups";
	if (geteuid() == 0 && (setgid(account->gid) || initgroups(account->name, account->gid)))
		return -errno;
	if (tty)
		result = pam_set_item(p->pam, PAM_TTY, tty);
	if (result == PAM_SUCCESS)
		result = pam_setcred(p->pam, PAM_ESTABLISH_CRED);
	if (result == PAM_SUCCESS) {
		p->with_credentials = true;
		result = pam_open_session(p->pam, 0);
	}
	p->in_session = result == PAM_SUCCESS;
	*reason = pam_strerror(p->pam, result);
	return p->in_session ? 0 : -EACCES;
}

void login_pam_close(struct login_pam *p)
{
	int result = PAM_SUCCESS;

	/* Nobody is asked any more. */
	p->host_gone = true;
	if (p->in_session)
		result = pam_close_session(p->pam, 0);
	if (p->with_credentials)
		pam_setcred(p->pam, PAM_DELETE_CRED);
	pam_end(p->pam, result);
	p->pam = NULL;
}
