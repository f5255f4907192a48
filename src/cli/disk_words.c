/*
 * disk_words.c - the words and numbers of the disk commands, read and written: see disk.h.
 */
#include "cli/disk.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/guid.h"
#include "base/log.h"
#include "disk/operations.h"

static const struct {
	const char *word, *name;
	enum disk_format format;
	const char *endings[4];
} formats[] = {
	{"vhdx", "VHDX", DISK_FORMAT_VHDX, {".vhdx", ".avhdx"}},
	{"vhd", "VHD", DISK_FORMAT_VHD, {".vhd", ".avhd"}},
	{"raw", "raw", DISK_FORMAT_RAW, {".raw", ".img"}},
};

#define N_FORMATS (sizeof(formats) / sizeof(formats[0]))

bool cli_parse_format(const char *option, const char *text, void *format)
{
	for (size_t i = 0; i < N_FORMATS; i++)
		if (strcasecmp(text, formats[i].word) == 0) {
			*(enum disk_format *)format = formats[i].format;
			return true;
		}
	log_error("%s %s: there are vhdx, vhd and raw", option, text);
	return false;
}

bool cli_settle_format(const char *path, enum disk_format *format)
{
	const char *slash = strrchr(path, '/');
	const char *ending = strrchr(slash ? slash : path, '.');

	for (size_t i = 0; ending && i < N_FORMATS && *format == DISK_FORMAT_ANY; i++)
		for (size_t j = 0; formats[i].endings[j]; j++)
			if (strcasecmp(ending, formats[i].endings[j]) == 0)
				*format = formats[i].format;
	if (*format == DISK_FORMAT_ANY)
		log_error("%s: the name does not tell the format; give --format vhdx, vhd or raw",
			path);
	return *format != DISK_FORMAT_ANY;
}

const char *cli_format_name(enum disk_format format)
{
	for (size_t i = 0; i < N_FORMATS; i++)
		if (formats[i].format == format)
			return formats[i].name;
	return "unknown";
}

const char *cli_format_word(enum disk_format format)
{
	for (size_t i = 0; i < N_FORMATS; i++)
		if (formats[i].format == format)
			return formats[i].word;
	return "unknown";
}

const char *cli_kind_name(enum disk_kind kind)
{
	return kind == DISK_FIXED ? "fixed" : kind == DISK_DYNAMIC ? "dynamic" : "differencing";
}

bool cli_parse_new_size(const char *text, uint64_t *bytes, bool *more)
{
	*more = *text == '+';
	if (!cli_parse_bytes(text + *more, bytes) && *bytes)
		return true;
	log_error("%s: give a size such as 10G, 512M or 1.5T, or a growth such as +5G", text);
	return false;
}

bool cli_parse_sector(const char *option, const char *text, void *bytes)
{
	uint64_t n;

	if (cli_parse_bytes(text, &n) || (n != 512 && n != 4096)) {
		log_error("%s %s: sectors are 512 or 4096 bytes", option, text);
		return false;
	}
	*(uint32_t *)bytes = n;
	return true;
}

bool cli_parse_option_bytes(const char *option, const char *text, void *bytes)
{
	if (!cli_parse_bytes(text, bytes))
		return true;
	log_error("%s %s: give a size such as 10G, 512M, 1.5T or a number of bytes", option, text);
	return false;
}

bool cli_parse_block_size(const char *option, const char *text, void *bytes)
{
	uint64_t n;

	if (cli_parse_bytes(text, &n) || n < 512 || n > UINT32_MAX || n & (n - 1)) {
		log_error("%s %s: give a power of two such as 2M", option, text);
		return false;
	}
	*(uint32_t *)bytes = n;
	return true;
}

bool cli_parse_parallel(const char *option, const char *text, void *n)
{
	return cli_take_number(option, text, 1, DISK_PARALLEL_MAX, n);
}

bool cli_parse_guid(const char *option, const char *text, void *id)
{
	if (guid_parse(text, id))
		return true;
	log_error("%s %s: give a GUID such as 01234567-89ab-cdef-0123-456789abcdef", option, text);
	return false;
}

const char *cli_size(uint64_t bytes, char text[CLI_SIZE_TEXT])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned unit = 0;
	double value = bytes;

	for (; value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
		value /= 1024;
	snprintf(text, CLI_SIZE_TEXT, "%.*f %s",
		value == (uint64_t)value ? 0
		: value < 10		 ? 2
					 : 1,
		value, units[unit]);
	return text;
}

const char *cli_exact_size(uint64_t bytes, char text[CLI_SIZE_TEXT])
{
	size_t n;

	cli_size(bytes, text);
	n = strlen(text);
	if (bytes >= 1024)
		snprintf(text + n, CLI_SIZE_TEXT - n, " (%" PRIu64 " bytes)", bytes);
	return text;
}

void cli_print_json(struct json_object *o)
{
	puts(json_object_to_json_string_ext(
		o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}
