/*
 * worker.h - a machine is a process: this room makes one out of the rooms below it.
 *
 * The caller hands over everything opened and checked as far as it can be without a machine;
 * worker_run() assembles partition, memory, chipset and kernel, gives up its privileges and
 * runs until the machine ends.
 */
#ifndef PARTITA_WORKER_WORKER_H
#define PARTITA_WORKER_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <WinHvPlatform.h>

struct disk;
struct disk_engine;

#define WORKER_MAX_PROCESSORS 64
/* A memory size is a multiple of a page, and at least so much. */
#define WORKER_MEMORY_STEP 4096u
#define WORKER_MIN_MEMORY  (2u << 20)

/* What a process tells its parent; see partita(1). */
enum worker_status {
	WORKER_POWERED_OFF = 0, /* the guest powered off, or the user quit */
	WORKER_FAILED = 1,    /* it reset with no restart asked for, crashed, or the host failed */
	WORKER_BAD_INPUT = 2, /* nothing was started */
};

enum worker_engine {
	WORKER_ENGINE_AUTO,
	WORKER_ENGINE_SOFTWARE,
	WORKER_ENGINE_KVM,
};

enum worker_serial {
	WORKER_SERIAL_STDIO,
	WORKER_SERIAL_FILE, /* serial_fd is the file, open for writing */
	WORKER_SERIAL_UNIX, /* serial_fd is a listening socket */
};

#define WORKER_CONTROLLERS 4u
#define WORKER_LUNS	   64u /* of a controller */
/* What is at an IDE controller is a controller to the guest's driver, with the one LUN 0. */
#define WORKER_IDE(controller, location) (WORKER_CONTROLLERS + 2 * (controller) + (location))
#define WORKER_PLACES			 (WORKER_CONTROLLERS + 4u)

/* The Unix sockets at which programs of the host ask for connections to the guest. */
enum worker_socket {
	WORKER_SOCKET_MACHINE, /* at the place that the machine's ID has */
	WORKER_SOCKET_HYBRID,  /* where the user wants one */
	WORKER_SOCKETS,
};

/* A disk or a DVD of the guest. */
struct worker_disk {
	struct disk *disk; /* open; NULL: a DVD drive without a medium */
	bool dvd, read_only;
	unsigned controller, lun; /* a SCSI controller's, or WORKER_IDE() and 0 */
};

/* The integration services, and what people call them. */
enum worker_service {
	WORKER_HEARTBEAT,
	WORKER_TIMESYNC,
	WORKER_SHUTDOWN,
	WORKER_KVP,
	WORKER_VSS,
	WORKER_FCOPY,
	WORKER_SERVICES,
};
extern const char *const worker_service_names[WORKER_SERVICES];

/*
 * Descriptors and strings stay the caller's; they must live as long as the run. The disks and their
 * engine, whose threads are not there yet, become the worker's.
 */
struct worker_config {
	const char *name; /* of the machine, for messages and its guest */
	const char *host_name; /* of this computer, for the guest */
	int kernel_fd;
	const char *kernel_path;
	int initrd_fd; /* -1: none */
	const char *initrd_path;
	const char *cmdline; /* NULL: empty */
	uint64_t memory;     /* bytes: see above */
	unsigned processors; /* 1 to WORKER_MAX_PROCESSORS */
	enum worker_engine engine;
	enum worker_serial serial;
	int serial_fd;
	const char *serial_path;
	bool restart;	    /* start again when the guest resets */
	bool invariant_tsc; /* offer the guest the control that makes its TSC invariant */
	struct disk_engine *disk_engine;
	struct worker_disk *disks;
	unsigned n_disks;
	unsigned disabled_services;	/* a bit for each enum worker_service */
	int control_fd;			/* a listening socket (control.h), -1: none */
	GUID id;			/* of the machine */
	uint32_t cid;			/* its vsock context, 0: none */
	uid_t owner;			/* the user whose machine it is */
	int socket_fds[WORKER_SOCKETS]; /* listening sockets (greeting.h), -1: none */
	int broker_fd;			/* to who finds services of the host (broker.h), -1: none */
	int stats_fd; /* -1: none; gets one "key value" line a figure when the machine ends */
};

/*
 * worker_run - run a machine to its end. To be called once in a process, with no other thread
 * running: signal dispositions, privileges and the terminal belong to the machine from here on
 * (the terminal is given back). Returns the exit status, an enum worker_status, or ends the
 * process by the signal that ended the machine.
 */
int worker_run(const struct worker_config *config);

#endif
