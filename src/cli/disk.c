/*
 * disk.c - partita disk: the table of its commands. See partita-disk(1).
 */
#include "cli/disk.h"

static const char intro[] =
	"Work with virtual hard disks: VHD, VHDX and raw images, alone or in chains.";

static const struct cli_command commands[] = {
	{"create", "make a new disk", cli_disk_create},
	{"info", "show what a disk is", cli_disk_info},
	{"check", "look for damage, and repair it", cli_disk_check},
	{"convert", "copy a disk into another format or kind", cli_disk_convert},
	{"resize", "make a disk larger or smaller", cli_disk_resize},
	{"compact", "give back the space that a disk's file does not need", cli_disk_compact},
	{"merge", "merge a differencing disk into its parent", cli_disk_merge},
	{"mirror", "copy a disk while it is in use", cli_disk_mirror},
	{"compare", "tell whether two disks have the same contents", cli_disk_compare},
	{"map", "show where a disk's data is", cli_disk_map},
	{"changes", "keep track of what is written to a disk", cli_disk_changes},
	{"snapshot", "make a VHD set, take and apply its snapshots", cli_disk_snapshot},
	{"metadata", "list, read, set and delete user metadata", cli_disk_metadata},
	{"set", "change a disk's parent path, ID or physical sector size", cli_disk_set},
	{"attach", "make a disk a block device of this host", cli_disk_attach},
	{"detach", "end that", cli_disk_detach},
	{"attach-to", "give a machine that runs another disk", cli_disk_attach_to},
	{"detach-from", "take a disk away from a machine that runs", cli_disk_detach_from},
	{"resize-in", "give a disk of a machine that runs another size", cli_disk_resize_in},
	{"serve", "let NBD clients use a disk", cli_disk_serve},
	{0},
};

int cli_disk(int argc, char **argv)
{
	return cli_choose(commands, "partita disk", intro, argc, argv);
}
