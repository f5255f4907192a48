/*
 * control.h - how others ask things of a machine that runs: a socket for whoever may open it.
 *
 * A client connects, sends one request and gets one reply, each a JSON object in one line of at
 * most CONTROL_LINE bytes; then the machine closes the connection. Descriptors that a request needs
 * come with its first byte (SCM_RIGHTS), in the order in which the request names them.
 *
 *   {"command": "id"}
 *       reply {"id": "<VM ID>", "cid": 3}, by which Hyper-V sockets know it; cid 0: none
 *   {"command": "attach-disk", "paths": ["/d/child.avhdx", "/d/base.vhdx"], "dvd": false,
 *    "read-only": false, "controller": 0, "lun": 3}         descriptors: those of the paths
 *       reply {"controller": 0, "lun": 3}; without "lun" the next free one is taken. With "dvd", a
 *       medium is put into the drive at the LUN, or with a new drive where there is none; with
 *       "force": true although the guest has locked the drive
 *   {"command": "detach-disk", "path": "/d/child.avhdx"}    or "controller" and "lun"
 *       reply {"controller": 0, "lun": 3}; of a DVD drive it takes the medium out, as above with
 *       "force"
 *   {"command": "resize-disk", "path": "/d/child.avhdx", "size": 4294967296}    bytes; or
 *    "controller" and "lun"; with "more": true, so many more bytes than it has
 *       reply {"before": 2147483648, "size": 4294967296}; never so small that data is lost
 *   {"command": "disks"}
 *       reply {"disks": [{"path": ..., "controller": ..., "lun": ..., "dvd": ...}, ...]};
 *       one at an IDE controller has "ide": "CONTROLLER.LOCATION" instead of controller and LUN
 *   those of the integration services: see services.h
 * A request that fails: {"error": "one line for people"}.
 *
 * What waits for the guest is answered later. Lines with {"progress": ...} may come before the
 * reply; a client that closes its side, or goes on talking, cancels its request.
 */
#ifndef PARTITA_WORKER_CONTROL_H
#define PARTITA_WORKER_CONTROL_H

#define CONTROL_LINE 65536u
#define CONTROL_FDS  250u /* less than PASS_MOST */

struct control;
struct control_client;
struct json_object;
struct machine;

/* A request that is being answered. */
struct control_request {
	const struct json_object *json;
	int *fds; /* a handler sets those that it takes to -1 */
	unsigned n_fds;
	struct json_object *reply; /* an object, empty at first */
	struct control_client *client;
};

/* control_error - reply with an error, one line. Returns -1. */
int control_error(struct control_request *r, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * control_defer - answer a request after its handler has returned; the request itself is gone then.
 * gone(ctx) is called when the client goes away before it got its answer. All of this is the main
 * thread's. Returns the client, for the functions below; NULL: an error was replied, since too many
 * wait.
 */
struct control_client *control_defer(struct control_request *r, void (*gone)(void *ctx), void *ctx);
/* control_progress - send a deferred client a line; *line is put. What it does not take is lost. */
void control_progress(struct control_client *c, struct json_object *line);
/* control_answer - send the reply, which is put; the client is gone, gone() is not called. */
void control_answer(struct control_client *c, struct json_object *reply);

/* control_create - serve @fd, a listening socket that stays the caller's, on the machine's loop. */
struct control *control_create(struct machine *m, int fd);
void control_destroy(struct control *c);

/* disks.c: the commands about disks. */
void disks_attach_request(struct machine *m, struct control_request *r);
void disks_detach_request(struct machine *m, struct control_request *r);
void disks_resize_request(struct machine *m, struct control_request *r);
void disks_list_request(struct machine *m, struct control_request *r);

#endif
