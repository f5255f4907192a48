/*
 * disk_snapshot.c - partita disk snapshot: VHD sets and their snapshots; see partita-disk(1). A
 * program among others: what changes a set is virtdisk.h's.
 */
#include "cli/disk.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <initguid.h>
#include <virtdisk.h>

#include "base/guid.h"
#include "base/log.h"
#include "base/utf16.h"
#include "disk/vhdset.h"

#define RANGES 256 /* asked for at once */

static const char help[] =
	"Usage: partita disk snapshot new SET IMAGE\n"
	"       partita disk snapshot list SET [--json]\n"
	"       partita disk snapshot take SET [--writeable] [--id GUID]\n"
	"       partita disk snapshot apply SET GUID [--keep]\n"
	"       partita disk snapshot delete SET GUID [--reference]\n"
	"       partita disk snapshot changes SET GUID [--json]\n"
	"\n"
	"Work with a VHD set, a file (.vhds) that names the images of a disk's snapshots and\n"
	"of its present state. 'new' makes a set of a VHDX image, 'take' keeps the present\n"
	"state as a snapshot and prints its GUID, 'apply' goes back to one, 'delete' merges\n"
	"what only it holds into what stands on it, 'changes' shows what changed since.\n"
	"\n"
	"  --writeable  the snapshot may be written\n"
	"  --id GUID    the snapshot's; a new one by default\n"
	"  --keep       keep the present state as another snapshot, and print its GUID\n"
	"  --reference  the GUID stays known to 'changes'; the disk must have been tracked\n"
	"               ('partita disk changes --enable') when the snapshot was taken\n"
	"  --json       for programs: one JSON object\n"
	"  --help       this help\n";

struct arguments {
	const char *path;  /* of the set */
	const char *image; /* for new */
	GUID id;	   /* of the snapshot; zero: not said */
	bool writeable, keep, reference, json;
};

static const struct cli_option options[] = {
	CLI_FLAG("writeable", writeable),
	CLI_VALUE("id", id, GUID, cli_parse_guid),
	CLI_FLAG("keep", keep),
	CLI_FLAG("reference", reference),
	CLI_FLAG("json", json),
	{0},
};

/* ---- Through virtdisk.h --------------------------------------------------------------------- */

static const struct {
	DWORD code;
	const char *text;
} explanations[] = {
	{ERROR_FILE_NOT_FOUND, "No such file or directory"},
	{ERROR_PATH_NOT_FOUND, "No such file or directory"},
	{ERROR_ACCESS_DENIED, "it may not be written"},
	{ERROR_SHARING_VIOLATION, "another program uses it; detach it, or wait until that is done"},
	{ERROR_ALREADY_EXISTS, "it has a snapshot of that GUID already"},
	{ERROR_NOT_FOUND, "it has no such snapshot; 'partita disk snapshot list' shows them"},
	{ERROR_DISK_FULL, "No space left on device"},
	{ERROR_FILE_CORRUPT, "it is not a VHD set, or damaged"},
	{ERROR_VHD_INVALID_TYPE, "it is not a VHD set"},
	{ERROR_VHD_PARENT_VHD_NOT_FOUND, "an image of its chain is not where it was"},
	{ERROR_VHD_CHANGE_TRACKING_DISABLED,
		"changes are not tracked; begin with 'partita disk changes IMAGE --enable'"},
	{ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION,
		"of that GUID nothing is known from which the present state goes on"},
	{ERROR_VHD_CHILD_PARENT_ID_MISMATCH, "an image of its chain was changed"},
};

static int explain(const char *path, DWORD code)
{
	for (size_t i = 0; i < sizeof(explanations) / sizeof(explanations[0]); i++)
		if (explanations[i].code == code) {
			log_error("%s: %s", path, explanations[i].text);
			return CLI_FAILURE;
		}
	log_error("%s: error %#x of the disk library", path, (unsigned)code);
	return CLI_FAILURE;
}

static DWORD open_set(const char *path, bool read_only, HANDLE *set)
{
	VIRTUAL_STORAGE_TYPE type = {
		VIRTUAL_STORAGE_TYPE_DEVICE_VHDSET, VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT};
	OPEN_VIRTUAL_DISK_PARAMETERS how = {
		.Version = OPEN_VIRTUAL_DISK_VERSION_2, .Version2 = {.ReadOnly = read_only}};
	uint16_t *wide = utf16_from_utf8(path, NULL);
	DWORD code = ERROR_NOT_ENOUGH_MEMORY;

	if (wide)
		code = OpenVirtualDisk(&type, wide, VIRTUAL_DISK_ACCESS_NONE,
			OPEN_VIRTUAL_DISK_FLAG_NONE, &how, set);
	free(wide);
	return code;
}

static void print_id(const GUID *id)
{
	char text[GUID_TEXT];

	puts(guid_format(id, text));
}

/* Each of these is a verb, and returns the exit status. */

static int take(struct arguments *a)
{
	TAKE_SNAPSHOT_VHDSET_PARAMETERS p = {.Version = TAKE_SNAPSHOT_VHDSET_VERSION_1};
	HANDLE set;
	DWORD code = open_set(a->path, false, &set);

	if (code)
		return explain(a->path, code);
	if (guid_is_zero(&a->id))
		guid_new(&a->id);
	p.Version1.SnapshotId = a->id;
	code = TakeSnapshotVhdSet(set, &p,
		a->writeable ? TAKE_SNAPSHOT_VHDSET_FLAG_WRITEABLE
			     : TAKE_SNAPSHOT_VHDSET_FLAG_NONE);
	CloseHandle(set);
	if (code)
		return explain(a->path, code);
	print_id(&a->id);
	return 0;
}

/* Whether a snapshot may be written decides how it is applied. */
static int is_writeable(const struct arguments *a, bool *writeable)
{
	const struct vhdset_snapshot *s;
	struct disk_problem problem = {0};
	struct vhdset *set;
	int err = vhdset_open(a->path, false, &set, &problem);

	if (err) {
		log_error("%s", disk_problem_text(&problem, a->path, err));
		return CLI_FAILURE;
	}
	s = vhdset_find(set, &a->id);
	if (s)
		*writeable = s->writeable;
	vhdset_close(set);
	return s ? 0 : explain(a->path, ERROR_NOT_FOUND);
}

static int apply(struct arguments *a)
{
	APPLY_SNAPSHOT_VHDSET_PARAMETERS p = {.Version = APPLY_SNAPSHOT_VHDSET_VERSION_1};
	bool writeable;
	HANDLE set;
	DWORD code;

	if (is_writeable(a, &writeable))
		return CLI_FAILURE;
	code = open_set(a->path, false, &set);
	if (code)
		return explain(a->path, code);
	p.Version1.SnapshotId = a->id;
	if (a->keep)
		guid_new(&p.Version1.LeafSnapshotId);
	code = ApplySnapshotVhdSet(set, &p,
		writeable ? APPLY_SNAPSHOT_VHDSET_FLAG_WRITEABLE : APPLY_SNAPSHOT_VHDSET_FLAG_NONE);
	CloseHandle(set);
	if (code)
		return explain(a->path, code);
	if (a->keep)
		print_id(&p.Version1.LeafSnapshotId);
	return 0;
}

static int delete (struct arguments *a)
{
	DELETE_SNAPSHOT_VHDSET_PARAMETERS p = {.Version = DELETE_SNAPSHOT_VHDSET_VERSION_1};
	HANDLE set;
	DWORD code = open_set(a->path, false, &set);

	if (code)
		return explain(a->path, code);
	p.Version1.SnapshotId = a->id;
	code = DeleteSnapshotVhdSet(set, &p,
		a->reference ? DELETE_SNAPSHOT_VHDSET_FLAG_PERSIST_RCT
			     : DELETE_SNAPSHOT_VHDSET_FLAG_NONE);
	CloseHandle(set);
	return code ? explain(a->path, code) : 0;
}

static DWORD show_changes(HANDLE set, const GUID *id, struct json_object *array)
{
	QUERY_CHANGES_VIRTUAL_DISK_RANGE ranges[RANGES];
	GET_VIRTUAL_DISK_INFO info = {.Version = GET_VIRTUAL_DISK_INFO_SIZE};
	ULONG room = sizeof(info), n;
	ULONG64 at = 0, processed;
	char text[GUID_TEXT];
	uint16_t *wide = utf16_from_utf8(guid_format(id, text), NULL);
	DWORD code = wide ? GetVirtualDiskInformation(set, &room, &info, NULL)
			  : ERROR_NOT_ENOUGH_MEMORY;

	for (; !code && at < info.Size.VirtualSize; at += processed) {
		n = RANGES;
		code = QueryChangesVirtualDisk(set, wide, at, info.Size.VirtualSize - at,
			QUERY_CHANGES_VIRTUAL_DISK_FLAG_NONE, ranges, &n, &processed);
		if (!code && !array && !at)
			cli_show_range_titles();
		for (ULONG i = 0; !code && i < n; i++)
			cli_show_range(array, ranges[i].ByteOffset, ranges[i].ByteLength);
	}
	free(wide);
	return code;
}

static int changes(struct arguments *a)
{
	struct json_object *o = NULL, *array = NULL;
	char text[GUID_TEXT];
	HANDLE set;
	DWORD code = open_set(a->path, true, &set);

	if (code)
		return explain(a->path, code);
	if (a->json) {
		o = json_object_new_object();
		array = json_object_new_array();
		json_object_object_add(
			o, "since", json_object_new_string(guid_format(&a->id, text)));
		json_object_object_add(o, "changed", array);
	}
	code = show_changes(set, &a->id, array);
	CloseHandle(set);
	if (!code && o)
		cli_print_json(o);
	else
		json_object_put(o);
	return code ? explain(a->path, code) : 0;
}

/* ---- The set's file ------------------------------------------------------------------------- */

/* Only what is a VHDX disk, with all its parents, can be a set's. */
static int new_set(struct arguments *a)
{
	struct disk_info info;
	struct cli_job job;
	struct disk *d;
	int err, status;

	if (!cli_job_begin(&job, NULL))
		return CLI_FAILURE;
	d = cli_job_open(&job, a->image, 0, DISK_FORMAT_VHDX);
	status = d ? 0 : CLI_FAILURE;
	if (d) {
		disk_info(d, &info);
		err = vhdset_create(a->path, a->image, &job.problem);
		status = cli_job_close(&job, d, err ? cli_job_fail(&job, a->path, err) : 0);
	}
	return cli_job_end(&job, status);
}

static struct json_object *list_json(const struct vhdset *set)
{
	struct json_object *o = json_object_new_object(), *all = json_object_new_array(), *one;
	const struct vhdset_reference *r;
	const struct vhdset_snapshot *s;
	char text[GUID_TEXT];

	for (unsigned i = 0; (s = vhdset_at(set, i)); i++) {
		one = json_object_new_object();
		json_object_object_add(
			one, "id", json_object_new_string(guid_format(&s->id, text)));
		json_object_object_add(one, "writeable", json_object_new_boolean(s->writeable));
		json_object_object_add(one, "image", json_object_new_string(s->image));
		json_object_array_add(all, one);
	}
	json_object_object_add(o, "image", json_object_new_string(vhdset_default(set)));
	json_object_object_add(o, "snapshots", all);
	all = json_object_new_array();
	for (unsigned i = 0; (r = vhdset_reference_at(set, i)); i++)
		json_object_array_add(
			all, json_object_new_string(guid_format(&r->id, text)));
	json_object_object_add(o, "references", all);
	return o;
}

static int list(struct arguments *a)
{
	const struct vhdset_reference *r;
	const struct vhdset_snapshot *s;
	struct disk_problem problem = {0};
	struct vhdset *set;
	char text[GUID_TEXT];
	int err = vhdset_open(a->path, false, &set, &problem);

	if (err) {
		log_error("%s", disk_problem_text(&problem, a->path, err));
		return CLI_FAILURE;
	}
	if (a->json) {
		cli_print_json(list_json(set));
	} else {
		for (unsigned i = 0; (s = vhdset_at(set, i)); i++)
			printf("%s  %-9s  %s\n", guid_format(&s->id, text),
				s->writeable ? "writeable" : "fixed", s->image);
		for (unsigned i = 0; (r = vhdset_reference_at(set, i)); i++)
			printf("%s  reference\n", guid_format(&r->id, text));
		printf("%-36s  %-9s  %s\n", "(the present state)", "", vhdset_default(set));
	}
	vhdset_close(set);
	return 0;
}

/* ---- The command ---------------------------------------------------------------------------- */

static const struct verb {
	const char *word, *arguments;
	int n;
	int (*run)(struct arguments *a);
} verbs[] = {
	{"new", "SET and IMAGE", 3, new_set},
	{"list", "SET", 2, list},
	{"take", "SET", 2, take},
	{"apply", "SET and GUID", 3, apply},
	{"delete", "SET and GUID", 3, delete},
	{"changes", "SET and GUID", 3, changes},
};

static const struct verb *find_verb(const char *word, int n)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(word, verbs[i].word) == 0) {
			if (verbs[i].n == n)
				return &verbs[i];
			log_error("disk snapshot %s: give %s; see 'partita disk snapshot --help'",
				word, verbs[i].arguments);
			return NULL;
		}
	log_error("disk snapshot: there are new, list, take, apply, delete and changes, not %s", word);
	return NULL;
}

static const struct cli_syntax syntax = {
	.command = "disk snapshot",
	.help = help,
	.options = options,
	.min = 2,
	.max = 3,
	.arguments = "what to do and the SET",
};

int cli_disk_snapshot(int argc, char **argv)
{
	struct arguments a = {0};
	const struct verb *verb;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	verb = find_verb(argv[optind], argc - optind);
	if (!verb)
		return CLI_USAGE_ERROR;
	a.path = argv[optind + 1];
	if (verb->run == new_set)
		a.image = argv[optind + 2];
	else if (verb->n == 3 && !cli_parse_guid("GUID", argv[optind + 2], &a.id))
		return CLI_USAGE_ERROR;
	return verb->run(&a);
}
