/*
 * log.h - what the agent tells the guest's administrator, facility authpriv.
 */
#ifndef PARTITA_GUEST_LOG_H
#define PARTITA_GUEST_LOG_H

#include <stdbool.h>
#include <syslog.h>

/*
 * log_open - from now on agent_log() works, in this process and in those it forks.
 *
 * Where standard error is the journal's stream that is what is used: the journal knows that it is
 * the service's. Of a message through syslog's socket it finds that out when it reads it, and then a
 * login's process that said why it refused may be gone. Elsewhere it is syslog(3).
 * @to_stderr: say it on standard error, too.
 */
void log_open(bool to_stderr);

/* agent_log - as syslog(3): @priority is LOG_ERR and its like, %m is errno's text. One line. */
__attribute__((format(printf, 2, 3))) void agent_log(int priority, const char *format, ...);

#endif
