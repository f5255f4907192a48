/*
 * settings.c - see settings.h.
 */
#include "settings.h"

#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSIONS      64
#define SESSIONS_MOST 4096
#define BLANKS	      " \t\r\n"

static int add_key(struct settings *s, const char *fingerprint)
{
	void *more = realloc(s->host_keys, (s->n_host_keys + 1) * sizeof(*s->host_keys));

	if (!more)
		return -ENOMEM;
	s->host_keys = more;
	strcpy(s->host_keys[s->n_host_keys++], fingerprint);
	return 0;
}

/* The first word of a line, without comments; NULL: there is none. */
static char *first_word(char *line, char **rest)
{
	line[strcspn(line, "#")] = 0;
	return strtok_r(line, BLANKS, rest);
}

static int add_keys_of_file(struct settings *s, const char *path)
{
	FILE *file = fopen(path, "re");
	char *line = NULL, *rest, *word, fingerprint[SESSION_FINGERPRINT];
	unsigned before = s->n_host_keys;
	size_t room = 0;
	int err = 0;

	if (!file) {
		agent_log(LOG_ERR, "%s: %m", path);
		return -errno;
	}
	while (!err && getline(&line, &room, file) >= 0) {
		word = first_word(line, &rest);
		if (word && !session_fingerprint_parse(word, fingerprint)) {
			agent_log(LOG_ERR, "%s: '%.80s' is no fingerprint (sha256:...)", path, word);
			err = -EINVAL;
		} else if (word) {
			err = add_key(s, fingerprint);
		}
	}
	free(line);
	fclose(file);
	if (!err && s->n_host_keys == before) {
		agent_log(LOG_ERR, "%s: has no fingerprint of a host", path);
		err = -EINVAL;
	}
	return err;
}

/* Returns 0, or -EINVAL: the line is not understood. */
static int take_line(struct settings *s, const char *word, const char *value)
{
	char fingerprint[SESSION_FINGERPRINT], *end;
	unsigned long n;

	if (!value)
		return -EINVAL;
	if (strcmp(word, "require-host-key") == 0) {
		if (value[0] == '/')
			return add_keys_of_file(s, value);
		return session_fingerprint_parse(value, fingerprint) ? add_key(s, fingerprint)
								     : -EINVAL;
	}
	if (strcmp(word, "sessions") == 0) {
		n = strtoul(value, &end, 10);
		if (*end || n < 1 || n > SESSIONS_MOST)
			return -EINVAL;
		s->sessions = (unsigned)n;
		return 0;
	}
	return -EINVAL;
}

int settings_read(struct settings *s, const char *path)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	unsigned number = 0;
	size_t room = 0;
	int err = 0;

	*s = (struct settings){.sessions = SESSIONS};
	if (!file && errno == ENOENT)
		return 0;
	if (!file) {
		agent_log(LOG_ERR, "%s: %m", path);
		return -errno;
	}
	while (!err && getline(&line, &room, file) >= 0) {
		char *rest, *word = first_word(line, &rest), *value = NULL;

		number++;
		if (!word)
			continue;
		value = strtok_r(NULL, BLANKS, &rest);
		err = strtok_r(NULL, BLANKS, &rest) ? -EINVAL : take_line(s, word, value);
		if (err)
			agent_log(LOG_ERR, "%s: line %u (%.40s) is not understood", path, number,
				word);
	}
	free(line);
	fclose(file);
	if (err)
		settings_free(s);
	return err;
}

void settings_free(struct settings *s)
{
	free(s->host_keys);
	*s = (struct settings){0};
}
