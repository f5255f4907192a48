/*
 * services_file.c - the registry of services as text (JSON). See services.h for its form.
 */
#include "hvsocket/services_file.h"

#include <errno.h>
#include <json-c/json.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"

#define DEPTH_MAX    6
#define SERVICES_MAX 4096
#define STRINGS_MAX  256 /* of a list in a service */

/* Where the reader is, for messages. */
struct place {
	const char *path;
	unsigned index; /* of the service */
	const char *field;
	char *problem;
};

static bool is_control(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f;
}

__attribute__((format(printf, 2, 3))) static int damaged(
	const struct place *at, const char *format, ...)
{
	char what[200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	snprintf(at->problem, SERVICES_PROBLEM,
		"%.200s: services[%u].%.40s: %s; correct the file, or move it away", at->path,
		at->index, at->field, what);
	/* A field's name may hold anything; a message is one line. */
	for (char *c = at->problem; *c; c++)
		if (is_control(*c))
			*c = '?';
	return -EBADMSG;
}

/* ---- Values --------------------------------------------------------------------------------- */

/* The text of a JSON string that holds no zero byte; NULL: @o is none. */
static const char *text_of(struct json_object *o)
{
	const char *text;

	if (!json_object_is_type(o, json_type_string))
		return NULL;
	text = json_object_get_string(o);
	return strlen(text) == (size_t)json_object_get_string_len(o) ? text : NULL;
}

/* @text, which stays the JSON object's, as a copy in *@to. */
static int keep(const char *text, char **to)
{
	*to = strdup(text);
	return *to ? 0 : -ENOMEM;
}

/*
 * A list of strings, at least @min, as an array with a NULL behind. Where there must be a first, those
 * behind it may be empty: a program's arguments.
 */
static int read_strings(
	const struct place *at, struct json_object *o, unsigned min, char ***strings, unsigned *n)
{
	size_t count;

	if (!json_object_is_type(o, json_type_array))
		return damaged(at, "must be a list of strings in brackets");
	count = json_object_array_length(o);
	if (count < min || count > STRINGS_MAX)
		return damaged(at, "must have %u to %u strings", min, STRINGS_MAX);
	*strings = calloc(count + 1, sizeof(**strings));
	if (!*strings)
		return -ENOMEM;
	for (*n = 0; *n < count; ++*n) {
		const char *text = text_of(json_object_array_get_idx(o, *n));

		if (!text || (!*text && !(min && *n)))
			return damaged(at, "[%u] must be a string", *n);
		if (keep(text, &(*strings)[*n]))
			return -ENOMEM;
	}
	return 0;
}

static uid_t user_id(const char *name)
{
	struct passwd entry, *found = NULL;
	unsigned long id;
	char buffer[4096], *end;

	if (*name >= '0' && *name <= '9') {
		errno = 0;
		id = strtoul(name, &end, 10);
		return *end || errno || id >= (uid_t)-1 ? (uid_t)-1 : (uid_t)id;
	}
	if (getpwnam_r(name, &entry, buffer, sizeof(buffer), &found) || !found)
		return (uid_t)-1;
	return found->pw_uid;
}

static int read_users(const struct place *at, struct json_object *o, struct service_users *u)
{
	int err = read_strings(at, o, 0, &u->names, &u->n);

	if (err)
		return err;
	u->ids = calloc(u->n + 1, sizeof(*u->ids));
	if (!u->ids)
		return -ENOMEM;
	for (unsigned i = 0; i < u->n; i++) {
		u->ids[i] = user_id(u->names[i]);
		u->all |= !strcmp(u->names[i], "*");
	}
	return 0;
}

/* ---- Fields --------------------------------------------------------------------------------- */

static int read_id(const struct place *at, struct json_object *o, struct service *s)
{
	const char *text = text_of(o);

	if (!text || !hv_service_parse(text, &s->id))
		return damaged(at, "must be a GUID or \"vsock:PORT\"");
	return 0;
}

static int read_name(const struct place *at, struct json_object *o, struct service *s)
{
	const char *text = text_of(o);

	if (!text || strlen(text) > SERVICE_NAME_MAX)
		return damaged(at, "must be a string of at most %u bytes", SERVICE_NAME_MAX);
	for (const char *c = text; *c; c++)
		if (is_control(*c))
			return damaged(at, "must be one line, without control characters");
	free(s->name);
	return keep(text, &s->name);
}

static int read_enabled(const struct place *at, struct json_object *o, struct service *s)
{
	if (!json_object_is_type(o, json_type_boolean))
		return damaged(at, "must be true or false");
	s->enabled = json_object_get_boolean(o);
	return 0;
}

static int read_connect(const struct place *at, struct json_object *o, struct service *s)
{
	return read_users(at, o, &s->connect);
}

static int read_serve(const struct place *at, struct json_object *o, struct service *s)
{
	return read_users(at, o, &s->serve);
}

static int read_machines(const struct place *at, struct json_object *o, struct service *s)
{
	char **texts = NULL;
	unsigned n = 0;
	/* An empty list would be all machines where a person means none. */
	int err = read_strings(at, o, 1, &texts, &n);

	s->machines = err ? NULL : calloc(n, sizeof(*s->machines));
	if (!err && !s->machines)
		err = -ENOMEM;
	for (; !err && s->n_machines < n; s->n_machines++)
		if (!guid_parse(texts[s->n_machines], &s->machines[s->n_machines]) ||
			!hv_is_machine(&s->machines[s->n_machines]))
			err = damaged(at, "[%u] must be a machine's ID", s->n_machines);
	for (unsigned i = 0; texts && texts[i]; i++)
		free(texts[i]);
	free(texts);
	return err;
}

static int read_command(const struct place *at, struct json_object *o, struct service *s)
{
	unsigned n;
	int err = read_strings(at, o, 1, &s->command, &n);

	if (!err && s->command[0][0] != '/')
		return damaged(at, "[0] must be an absolute path");
	return err;
}

static int read_socket(const struct place *at, struct json_object *o, struct service *s)
{
	const char *text = text_of(o);

	if (!text || *text != '/')
		return damaged(at, "must be an absolute path");
	return keep(text, &s->socket);
}

static const struct field {
	const char *name;
	bool needed;
	int (*read)(const struct place *at, struct json_object *o, struct service *s);
} fields[] = {
	{"id", true, read_id},
	{"name", true, read_name},
	{"enabled", true, read_enabled},
	{"connect", false, read_connect},
	{"serve", false, read_serve},
	{"machines", false, read_machines},
	{"command", false, read_command},
	{"socket", false, read_socket},
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

/* Fields that nobody knows. */
static int check_names(struct place *at, struct json_object *o)
{
	json_object_object_foreach(o, name, value)
	{
		size_t i = 0;

		(void)value;
		while (i < N_FIELDS && strcmp(fields[i].name, name))
			i++;
		at->field = name;
		if (i == N_FIELDS)
			return damaged(at, "is no field of a service");
	}
	return 0;
}

static int read_service(struct place *at, struct json_object *o, struct service_list *list)
{
	struct service *s = service_list_add(list, &hv_zero);
	struct json_object *value;
	int err;

	at->field = "id";
	if (!s)
		return -ENOMEM;
	if (!json_object_is_type(o, json_type_object))
		return damaged(at, "missing; a service is an object in braces");
	err = check_names(at, o);
	for (const struct field *f = fields; !err && f < fields + N_FIELDS; f++) {
		at->field = f->name;
		if (json_object_object_get_ex(o, f->name, &value))
			err = f->read(at, value, s);
		else if (f->needed)
			err = damaged(at, "missing");
	}
	if (!err && service_list_find(list, &s->id) != s) {
		at->field = "id";
		err = damaged(at, "another service has it already");
	}
	if (!err && s->command && s->socket)
		err = damaged(at, "there is \"command\" already");
	return err;
}

/* ---- The file ------------------------------------------------------------------------------- */

static int read_list(const char *path, struct json_object *root, struct service_list *list,
	char problem[SERVICES_PROBLEM])
{
	struct place at = {.path = path, .problem = problem};
	struct json_object *all = NULL;
	int err = 0;

	/* "services" and nothing beside it. */
	if (!json_object_is_type(root, json_type_object) ||
		!json_object_object_get_ex(root, "services", &all) ||
		!json_object_is_type(all, json_type_array) ||
		json_object_object_length(root) != 1 ||
		json_object_array_length(all) > SERVICES_MAX) {
		snprintf(problem, SERVICES_PROBLEM,
			"%.200s: must be {\"services\": [...]} with at most %u services and "
			"nothing else; correct the file, or move it away",
			path, SERVICES_MAX);
		return -EBADMSG;
	}
	for (; !err && at.index < json_object_array_length(all); at.index++)
		err = read_service(&at, json_object_array_get_idx(all, at.index), list);
	return err;
}

/* Which line of @text has the byte at @offset. */
static unsigned line_of(const char *text, size_t offset)
{
	unsigned line = 1;

	for (size_t i = 0; i < offset; i++)
		line += text[i] == '\n';
	return line;
}

int services_parse(const char *path, const char *text, size_t length, struct service_list *list,
	char problem[SERVICES_PROBLEM])
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
	enum json_tokener_error error;
	struct json_object *root;
	int err;

	*list = (struct service_list){0};
	if (!tokener)
		return -ENOMEM;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tokener, text, length);
	error = json_tokener_get_error(tokener);
	if (error == json_tokener_success) {
		err = read_list(path, root, list, problem);
	} else {
		err = -EBADMSG;
		snprintf(problem, SERVICES_PROBLEM,
			"%.200s: line %u: %s; correct the file, or move it away", path,
			line_of(text, json_tokener_get_parse_end(tokener)),
			error == json_tokener_continue ? "ends too early"
						       : json_tokener_error_desc(error));
	}
	json_object_put(root);
	json_tokener_free(tokener);
	if (err == -ENOMEM)
		snprintf(problem, SERVICES_PROBLEM, "%.200s: %s", path, strerror(ENOMEM));
	return err;
}

/* ---- And back ------------------------------------------------------------------------------- */

/* Adds @value, which may be NULL for want of memory, and takes it. */
static bool add(struct json_object *o, const char *name, struct json_object *value)
{
	if (value && !json_object_object_add(o, name, value))
		return true;
	json_object_put(value);
	return false;
}

static bool add_strings(struct json_object *o, const char *name, char *const *strings)
{
	struct json_object *list;

	if (!strings)
		return true;
	list = json_object_new_array();
	for (; list && *strings; strings++)
		if (json_object_array_add(list, json_object_new_string(*strings))) {
			json_object_put(list);
			return false;
		}
	return add(o, name, list);
}

static bool add_machines(struct json_object *o, const struct service *s)
{
	char id[GUID_TEXT], **texts = calloc(s->n_machines + 1, sizeof(*texts));
	bool ok = texts;

	for (unsigned i = 0; ok && i < s->n_machines; i++)
		ok = !keep(guid_format(&s->machines[i], id), &texts[i]);
	ok = ok && add_strings(o, "machines", texts);
	for (unsigned i = 0; texts && texts[i]; i++)
		free(texts[i]);
	free(texts);
	return ok;
}

struct json_object *service_json(const struct service *s)
{
	struct json_object *o = json_object_new_object();
	char id[HV_SERVICE_TEXT];

	if (o && add(o, "id", json_object_new_string(hv_service_format(&s->id, id))) &&
		add(o, "name", json_object_new_string(s->name)) &&
		add(o, "enabled", json_object_new_boolean(s->enabled)) &&
		add_strings(o, "connect", s->connect.names) &&
		add_strings(o, "serve", s->serve.names) && (!s->n_machines || add_machines(o, s)) &&
		add_strings(o, "command", s->command) &&
		(!s->socket || add(o, "socket", json_object_new_string(s->socket))))
		return o;
	json_object_put(o);
	return NULL;
}

char *services_text(const struct service_list *list)
{
	struct json_object *root = json_object_new_object(), *all = json_object_new_array();
	bool ok = root && all;
	char *text = NULL;

	for (unsigned i = 0; ok && i < list->n; i++)
		ok = !json_object_array_add(all, service_json(&list->services[i]));
	if (ok && add(root, "services", all) &&
		asprintf(&text, "%s\n",
			json_object_to_json_string_ext(
				root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
					      JSON_C_TO_STRING_NOSLASHESCAPE)) < 0)
		text = NULL;
	if (!ok)
		json_object_put(all);
	json_object_put(root);
	return text;
}
