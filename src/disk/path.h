/*
 * path.h - the paths by which a differencing disk names its parent: as Windows writes them.
 */
#ifndef PARTITA_DISK_PATH_H
#define PARTITA_DISK_PATH_H

/*
 * disk_path_locators - what @child shall store of @parent: *@relative from the child's folder
 * (".\base.vhd", "..\bases\base.vhd"), *@absolute ("\srv\vms\base.vhd"). The parent exists; of the
 * child, the folder. UTF-8, separated by backslashes; the caller frees both. Returns 0 or a
 * negative errno.
 */
int disk_path_locators(const char *child, const char *parent, char **relative, char **absolute);

#endif
