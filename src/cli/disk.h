/*
 * disk.h - what the commands of partita disk (partita-disk(1)) have in common: the engine and the
 * images they work with, a line for whatever goes wrong, and for what takes its time a progress
 * bar and an end when the user wants one.
 *
 * A command is a function in the table of disk.c; its file reads its options, does one thing, and
 * returns the exit status: 0, CLI_FAILURE, or CLI_USAGE_ERROR before anything was touched.
 */
#ifndef PARTITA_CLI_DISK_H
#define PARTITA_CLI_DISK_H

#include "cli/cli.h"
#include "disk/disk.h"

int cli_disk_attach(int argc, char **argv);
int cli_disk_changes(int argc, char **argv);
int cli_disk_attach_to(int argc, char **argv);
int cli_disk_check(int argc, char **argv);
int cli_disk_compact(int argc, char **argv);
int cli_disk_compare(int argc, char **argv);
int cli_disk_convert(int argc, char **argv);
int cli_disk_create(int argc, char **argv);
int cli_disk_detach(int argc, char **argv);
int cli_disk_detach_from(int argc, char **argv);
int cli_disk_info(int argc, char **argv);
int cli_disk_map(int argc, char **argv);
int cli_disk_merge(int argc, char **argv);
int cli_disk_metadata(int argc, char **argv);
int cli_disk_mirror(int argc, char **argv);
int cli_disk_resize(int argc, char **argv);
int cli_disk_resize_in(int argc, char **argv);
int cli_disk_serve(int argc, char **argv);
int cli_disk_set(int argc, char **argv);
int cli_disk_snapshot(int argc, char **argv);

/* ---- A job: one run of a command ------------------------------------------------------------ */

struct cli_watch;

struct cli_job {
	struct disk_engine *engine;
	struct disk_progress progress;
	struct disk_problem problem;
	struct cli_watch *watch;
};

/*
 * cli_job_begin - make the engine. @doing ("converting") names what the bar shows on a terminal;
 * NULL: no bar. Signals that end a program set progress.cancel from here on; a second one ends it
 * at once. False: said why.
 */
bool cli_job_begin(struct cli_job *job, const char *doing);
/*
 * cli_job_end - take the bar away and end the engine; its disks are closed. Returns @status; but
 * when it is a failure because a signal cancelled the job, ends the process with that signal.
 */
int cli_job_end(struct cli_job *job, int status);
/*
 * cli_job_fail - say what went wrong with @path, @err being a negative errno. Returns CLI_FAILURE.
 */
int cli_job_fail(struct cli_job *job, const char *path, int err);
/* cli_job_open - NULL: said why. @flags: enum disk_open_flags. */
struct disk *cli_job_open(
	struct cli_job *job, const char *path, unsigned flags, enum disk_format format);
/* cli_job_close - close @d (NULL is allowed), and say if that fails. Returns @status or
 * CLI_FAILURE. */
int cli_job_close(struct cli_job *job, struct disk *d, int status);

/* ---- A service: a disk that others use until they or a signal end it ------------------------ */

struct cli_service {
	struct disk_engine *engine;
	struct disk *disk;
	struct disk_problem problem;
	int signals; /* descriptor of those that end a program */
};

/*
 * cli_service_begin - open the image. Signals that end a program only make cli_service_wait()
 * return from here on. False: said why.
 */
bool cli_service_begin(
	struct cli_service *s, const char *path, bool read_only, enum disk_format format);
/* cli_service_wait - until @fd is readable (false) or a signal came (true). */
bool cli_service_wait(struct cli_service *s, int fd);
/* cli_service_close - close the image, if it is open. 0, or a negative errno: something is lost. */
int cli_service_close(struct cli_service *s);
/* cli_service_fail - say what went wrong with @path. Returns CLI_FAILURE. */
int cli_service_fail(struct cli_service *s, const char *path, int err);
/* cli_service_end - close the image and end the engine. Returns @status or CLI_FAILURE. */
int cli_service_end(struct cli_service *s, const char *path, int status);

/* ---- Words and numbers ---------------------------------------------------------------------- */

/* Values of options (cli_take), into an enum disk_format, uint32_t, uint64_t, uint32_t, unsigned,
 * GUID. */
bool cli_parse_format(const char *option, const char *text, void *format);
bool cli_parse_sector(const char *option, const char *text, void *bytes);
bool cli_parse_option_bytes(const char *option, const char *text, void *bytes);
bool cli_parse_block_size(const char *option, const char *text, void *bytes);
bool cli_parse_parallel(const char *option, const char *text, void *n);
bool cli_parse_guid(const char *option, const char *text, void *id);
/* "10G", or with *@more "+5G". */
bool cli_parse_new_size(const char *text, uint64_t *bytes, bool *more);

/* Where *@format is DISK_FORMAT_ANY, the one that the ending of a new file's name asks for. */
bool cli_settle_format(const char *path, enum disk_format *format);
/* "VHDX", "vhdx", and "dynamic". */
const char *cli_format_name(enum disk_format format);
const char *cli_format_word(enum disk_format format);
const char *cli_kind_name(enum disk_kind kind);

/* Room for a size as text, its end included. */
#define CLI_SIZE_TEXT 64
/* cli_size - "10 GiB", or "1.5 TiB"; returns @text. */
const char *cli_size(uint64_t bytes, char text[CLI_SIZE_TEXT]);
/* cli_exact_size - "10 GiB (10737418240 bytes)"; returns @text. */
const char *cli_exact_size(uint64_t bytes, char text[CLI_SIZE_TEXT]);

struct json_object;
/*
 * cli_show_range - one range of a disk, in bytes, into the JSON array, or NULL: as a line of a table
 * that cli_show_range_titles() begins.
 */
void cli_show_range(struct json_object *array, uint64_t offset, uint64_t length);
void cli_show_range_titles(void);
/* cli_print_json - to stdout, in lines; frees @o. */
void cli_print_json(struct json_object *o);

#endif
