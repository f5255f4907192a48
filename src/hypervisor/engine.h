/*
 * engine.h - what the room asks of the thing that executes guest instructions.
 *
 * Two engines stand behind this table: software (the processor in src/x86) and kvm. Both speak of
 * registers in struct x86_state, of exits in struct x86_exit and of callbacks in struct x86_ops
 * (x86/x86.h), so that nothing above knows which one runs. The local APIC, the SynIC, timers and
 * all MSRs that the engine does not own are the room's and come to it through vp_ops.
 *
 * Threads: as in x86.h. map and unmap exclude each other and are called with the memory lock held.
 */
#ifndef PARTITA_HYPERVISOR_ENGINE_H
#define PARTITA_HYPERVISOR_ENGINE_H

#include "x86/x86.h"

struct partition;
struct vp;

/* What an engine can do, asked once for a partition. */
struct engine_info {
	struct x86_features features; /* of its processor */
	bool intel;		      /* the guest sees GenuineIntel, otherwise AuthenticAMD */
	uint32_t signature;	      /* CPUID leaf 1 EAX */
	bool cpuid_exits;	      /* ops->cpuid is called for every CPUID */
	bool exception_exits;	      /* exceptions can be intercepted */
	unsigned physical_bits;
	const uint8_t *hypercall_code; /* what the hypercall page holds, ending in RET */
	unsigned hypercall_code_size;
};

struct engine {
	const char *name;
	/* Is it usable here? 0, or a negative errno. */
	int (*probe)(void);
	void (*info)(struct engine_info *info);
	/* machine: opaque. Returns NULL when it cannot be had. */
	void *(*machine_create)(unsigned vps);
	void (*machine_destroy)(void *machine);
	int (*map)(void *machine, uint64_t gpa, void *host, uint64_t size, unsigned flags);
	int (*unmap)(void *machine, uint64_t gpa, uint64_t size);
	/* Somebody other than a vp wrote guest memory. */
	void (*written)(void *machine, uint64_t gpa, uint64_t size);

	/* A processor in power-on state; ctx of all callbacks is @ctx. */
	void *(*vp_create)(
		void *machine, unsigned index, const struct x86_ops *ops, struct vp *ctx);
	void (*vp_destroy)(void *vp);
	void (*vp_reset)(void *vp, bool init);
	/* The registers; valid until the next run. After changing them call vp_changed. */
	struct x86_state *(*vp_state)(void *vp);
	void (*vp_changed)(void *vp);
	void (*vp_run)(void *vp, struct x86_exit *exit);
	/* Any thread. */
	void (*vp_stop)(void *vp);
	void (*vp_interrupt)(void *vp);
	void (*vp_nmi)(void *vp);
	/* Owner only. */
	void (*vp_request_window)(void *vp);
	void (*vp_intercept_exceptions)(void *vp, uint64_t bitmap);
	void (*vp_inject)(void *vp, unsigned type, uint8_t vector, bool has_error, uint32_t error,
		uint64_t parameter, unsigned length);
	uint32_t (*vp_translate)(
		void *vp, uint64_t gva, unsigned access, unsigned cpl, uint64_t *gpa);
	/* NULL: virtual processors keep their own TLBs, nobody else can flush them. */
	void (*flush)(void *machine, void *caller, uint64_t mask, bool global, const uint64_t *gva,
		unsigned count);
	uint64_t (*vp_instructions)(void *vp);
};

extern const struct engine engine_software;
extern const struct engine engine_kvm;

/*
 * engine_choose - the engine that @name says: "software", "kvm", "auto" or NULL (auto).
 * Returns NULL with *why (a static text) when it is not to be had.
 */
const struct engine *engine_choose(const char *name, const char **why);
/* What the environment asks for: PARTITA_ENGINE, or NULL. */
const char *engine_wanted(void);

#endif
