/*
 * terminal.h - the user's terminal in raw mode, given back whatever happens.
 */
#ifndef PARTITA_BASE_TERMINAL_H
#define PARTITA_BASE_TERMINAL_H

#include <stdbool.h>

/*
 * terminal_raw - if stdin is a terminal that this process may use, make every key arrive as it is
 * typed. With @output, what is written to it is left as it is, too; without, it is post-processed,
 * so that lines of our own end well. It is given back by terminal_restore(), and when a signal such
 * as SIGSEGV ends the process.
 * Returns whether stdin is such a terminal.
 */
bool terminal_raw(bool output);
/* terminal_continued - after SIGCONT: the shell may have changed the terminal; set it again. */
void terminal_continued(void);
/* terminal_restore - give the terminal back. Does nothing when it was not taken. */
void terminal_restore(void);

#endif
