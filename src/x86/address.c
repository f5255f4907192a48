/*
 * address.c - segmentation of data accesses outside 64-bit mode.
 *
 * Facts: Intel SDM vol. 3A, 5.3 (limits), 5.5 and table 3-1 (types).
 */
#include "x86/mem.h"

#define TYPE_CODE	 0x8
#define TYPE_EXPAND_DOWN 0x4 /* of data */
#define TYPE_WRITABLE	 0x2 /* of data; "readable" of code */

static bool rights_allow(const struct x86_segment *s, bool write)
{
	unsigned type = s->attributes & X86_SEG_TYPE;

	if (s->attributes & X86_SEG_NULL || !(s->attributes & X86_SEG_P))
		return false;
	if (type & TYPE_CODE)
		return !write && (type & TYPE_WRITABLE);
	return !write || (type & TYPE_WRITABLE);
}

/* The offsets that the limit allows: [*first, *last]. */
static void limits(const struct x86_segment *s, uint64_t *first, uint64_t *last)
{
	unsigned type = s->attributes & X86_SEG_TYPE;

	*first = 0;
	*last = s->limit;
	if (!(type & TYPE_CODE) && (type & TYPE_EXPAND_DOWN)) {
		*first = *last + 1;
		*last = s->attributes & X86_SEG_DB ? 0xffffffffu : 0xffffu;
	}
}

uint64_t x86_segment_address(struct x86_vcpu *c, const struct x86_op *o, unsigned seg,
	uint64_t offset, unsigned size, bool write)
{
	const struct x86_segment *s = &c->s.seg[seg];
	uint64_t first, last;

	if (c->mode & X86_MODE_64)
		return offset + c->seg_base[seg];
	limits(s, &first, &last);
	if (((c->mode & X86_MODE_PROT) && !rights_allow(s, write)) || offset < first ||
		offset + size - 1 > last)
		x86_raise_error(c, o, seg == X86_SS ? X86_VEC_SS : X86_VEC_GP, 0);
	return (uint32_t)(offset + s->base);
}

uint64_t x86_segment_room(
	const struct x86_vcpu *c, unsigned seg, uint64_t offset, unsigned size, bool down)
{
	uint64_t first, last;

	if (c->mode & X86_MODE_64)
		return ~0ul;
	limits(&c->s.seg[seg], &first, &last);
	return down ? offset + size - first : last + 1 - offset;
}
