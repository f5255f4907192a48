/*
 * hypercall.h - one hypercall on its way: its input copied out of guest memory or registers, its
 * output before it goes back. The families (flush, IPI, messages) see nothing else of it.
 *
 * Source: TLFS "Hypercall Interface".
 */
#ifndef PARTITA_HYPERVISOR_HYPERCALL_H
#define PARTITA_HYPERVISOR_HYPERCALL_H

#include "hypervisor/partition.h"

#include <string.h>

struct hypercall {
	struct vp *vp;
	uint64_t control; /* the hypercall input value */
	unsigned rep_count, rep_start, rep_done;
	unsigned var_header; /* bytes after the fixed header */
	unsigned header;     /* bytes of the fixed header */
	bool to_client;	     /* set by a family: let the client handle it */
	uint8_t output[16];
	uint8_t input[HV_PAGE_SIZE] __attribute__((aligned(8)));
};

struct hypercall_info {
	uint16_t code;
	bool rep;
	bool var_header;  /* takes a variable-size header */
	uint16_t header;  /* bytes */
	uint16_t element; /* bytes of a rep element */
	uint16_t output;  /* bytes */
	enum hv_status (*run)(struct hypercall *h);
};

/* A field of the input; offset is within what the table promised. */
static inline uint64_t hypercall_u64(const struct hypercall *h, unsigned offset)
{
	uint64_t value;

	memcpy(&value, h->input + offset, sizeof(value));
	return value;
}

static inline uint32_t hypercall_u32(const struct hypercall *h, unsigned offset)
{
	uint32_t value;

	memcpy(&value, h->input + offset, sizeof(value));
	return value;
}

/*
 * hypercall_vp_set - the HV_VP_SET at @offset of the fixed header, its banks in the variable one,
 * as a mask of vp indices.
 */
enum hv_status hypercall_vp_set(const struct hypercall *h, unsigned offset, uint64_t *mask);
/* All vps of the partition. */
uint64_t hypercall_all_vps(const struct partition *p);

/* hypercall_flush.c */
enum hv_status hypercall_flush_space(struct hypercall *h);
enum hv_status hypercall_flush_list(struct hypercall *h);
enum hv_status hypercall_flush_space_ex(struct hypercall *h);
enum hv_status hypercall_flush_list_ex(struct hypercall *h);
/* hypercall_ipi.c */
enum hv_status hypercall_send_ipi(struct hypercall *h);
enum hv_status hypercall_send_ipi_ex(struct hypercall *h);
enum hv_status hypercall_long_spin_wait(struct hypercall *h);
/* hypercall_message.c */
enum hv_status hypercall_post_message(struct hypercall *h);
enum hv_status hypercall_signal_event(struct hypercall *h);
enum hv_status hypercall_query_capabilities(struct hypercall *h);

#endif
