/*
 * settings.h - what the guest's administrator says in agent.conf: a word and its value a line, '#'
 * begins a comment.
 *
 *   require-host-key sha256:...   only hosts with this key may connect; may be given more than once
 *   require-host-key /a/file      the same, for each line of the file, which begins with one
 *   sessions 64                   how many there may be at once
 */
#ifndef PARTITA_GUEST_SETTINGS_H
#define PARTITA_GUEST_SETTINGS_H

#include "session/key.h"

struct settings {
	char (*host_keys)[SESSION_FINGERPRINT];
	unsigned n_host_keys;
	unsigned sessions;
};

/*
 * settings_read - from the file at @path; a file that is not there says nothing. Returns 0, or a
 * negative errno after the line that is wrong was logged: an agent that does not understand who may
 * come lets nobody in.
 */
int settings_read(struct settings *s, const char *path);
void settings_free(struct settings *s);

#endif
