/*
 * pam.h - proving who somebody is, and opening his session, by PAM (service "partita"); what PAM
 * asks and says goes to the host. Runs as root in the process of one connection.
 */
#ifndef PARTITA_GUEST_PAM_H
#define PARTITA_GUEST_PAM_H

#include <security/pam_appl.h>
#include <stdbool.h>
#include <stdint.h>

#include "account.h"

struct login_pam {
	pam_handle_t *pam;
	int packets;	   /* to the host */
	uint64_t deadline; /* of the login as a whole: loop_now() */
	uint64_t answered; /* when the host last said something: loop_now() */
	bool host_gone;	   /* it did not answer a prompt */
	bool in_session, with_credentials;
};

enum login_outcome {
	LOGIN_ACCEPTED,
	LOGIN_WRONG,  /* no such user, or he could not prove to be that one: not told apart */
	LOGIN_BARRED, /* proven, but the account is locked, expired, or not allowed now */
	LOGIN_FAILED, /* PAM itself does not work here */
	LOGIN_HOST_GONE,
};

/*
 * login_pam_prove - ask until it is clear whether the host's user is @user. On LOGIN_ACCEPTED
 * @account is his, and login_pam_close() is due; otherwise nothing is kept. @confdir: where PAM's
 * services are, NULL for the system's. @reason: where it is not accepted, what PAM says of it, for
 * the log.
 */
enum login_outcome login_pam_prove(struct login_pam *p, const char *user, const char *confdir,
	const char *peer, struct account *account, const char **reason);

/*
 * login_pam_open - begin the session, on the terminal @tty (NULL: none): groups, credentials, PAM's
 * session modules. The process has the user's groups then. Returns 0, or a negative errno; @reason
 * as above.
 */
int login_pam_open(
	struct login_pam *p, const struct account *account, const char *tty, const char **reason);

/* login_pam_close - end what was begun. */
void login_pam_close(struct login_pam *p);

#endif
