/*
 * hypercall_flush.c - HvCallFlushVirtualAddressSpace, HvCallFlushVirtualAddressList and their Ex
 * forms: drop cached translations of other virtual processors.
 *
 * The address space is not looked at: what is flushed is flushed for all of them, which the
 * TLFS allows. Source: TLFS "Virtual MMU".
 */
#include "hypervisor/hypercall.h"

/* From so many pages on everything is flushed instead. */
#define PAGES_MAX 64u

#define AT_FLAGS    8u
#define AT_MASK	    16u
#define FLAGS_SPACE (HV_FLUSH_ALL_PROCESSORS | HV_FLUSH_ALL_SPACES | HV_FLUSH_NON_GLOBAL_ONLY)
#define FLAGS_LIST  (HV_FLUSH_ALL_PROCESSORS | HV_FLUSH_ALL_SPACES)

static void flush(const struct hypercall *h, uint64_t mask, bool global, const uint64_t *pages,
	unsigned count)
{
	struct vp *vp = h->vp;

	vp->synthetic_counters.VirtualMmuHypercallsCount++;
	if (mask)
		vp->engine->flush(
			vp->partition->machine, vp->engine_vp, mask, global, pages, count);
}

/* The processors a non-Ex call names. */
static uint64_t simple_mask(const struct hypercall *h)
{
	uint64_t all = hypercall_all_vps(h->vp->partition);

	if (hypercall_u64(h, AT_FLAGS) & HV_FLUSH_ALL_PROCESSORS)
		return all;
	return hypercall_u64(h, AT_MASK) & all;
}

static enum hv_status extended_mask(const struct hypercall *h, uint64_t *mask)
{
	enum hv_status status = hypercall_vp_set(h, AT_MASK, mask);

	if (hypercall_u64(h, AT_FLAGS) & HV_FLUSH_ALL_PROCESSORS)
		*mask = hypercall_all_vps(h->vp->partition);
	return status;
}

static enum hv_status flush_space(struct hypercall *h, uint64_t mask)
{
	uint64_t flags = hypercall_u64(h, AT_FLAGS);

	if (!h->vp->engine->flush)
		return HV_STATUS_INVALID_HYPERCALL_CODE;
	if (flags & ~FLAGS_SPACE)
		return HV_STATUS_INVALID_PARAMETER;
	flush(h, mask, !(flags & HV_FLUSH_NON_GLOBAL_ONLY), NULL, 0);
	return HV_STATUS_SUCCESS;
}

/* Each element is a page address whose low 12 bits say how many pages follow it. */
static enum hv_status flush_list(struct hypercall *h, uint64_t mask)
{
	unsigned list = h->header + h->var_header, count = 0;
	uint64_t pages[PAGES_MAX];

	if (!h->vp->engine->flush)
		return HV_STATUS_INVALID_HYPERCALL_CODE;
	if (hypercall_u64(h, AT_FLAGS) & ~FLAGS_LIST)
		return HV_STATUS_INVALID_PARAMETER;
	for (unsigned i = h->rep_start; i < h->rep_count && count <= PAGES_MAX; i++) {
		uint64_t range = hypercall_u64(h, list + i * 8);
		uint64_t first = range & ~0xFFFull, more = range & 0xFFF;

		if (count + more + 1 > PAGES_MAX) {
			count = PAGES_MAX + 1;
			break;
		}
		for (uint64_t page = 0; page <= more; page++)
			pages[count++] = first + page * HV_PAGE_SIZE;
	}
	if (count > PAGES_MAX)
		flush(h, mask, true, NULL, 0);
	else
		flush(h, mask, true, pages, count);
	h->rep_done = h->rep_count;
	return HV_STATUS_SUCCESS;
}

enum hv_status hypercall_flush_space(struct hypercall *h)
{
	return flush_space(h, simple_mask(h));
}

enum hv_status hypercall_flush_list(struct hypercall *h)
{
	return flush_list(h, simple_mask(h));
}

enum hv_status hypercall_flush_space_ex(struct hypercall *h)
{
	uint64_t mask;
	enum hv_status status = extended_mask(h, &mask);

	return status == HV_STATUS_SUCCESS ? flush_space(h, mask) : status;
}

enum hv_status hypercall_flush_list_ex(struct hypercall *h)
{
	uint64_t mask;
	enum hv_status status = extended_mask(h, &mask);

	return status == HV_STATUS_SUCCESS ? flush_list(h, mask) : status;
}
