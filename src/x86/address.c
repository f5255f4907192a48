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

static bool limit_allows(const struct x86_segment *s, uint64_t offset, unsigned size)
{
	uint64_t last = offset + size - 1;
	unsigned type = s->attributes & X86_SEG_TYPE;

	if (!(type & TYPE_CODE) && (type & TYPE_EXPAND_DOWN))
		return offset > s->limit &&
		       last <= (s->attributes & X86_SEG_DB ? 0xffffffffu : 0xffffu);
	return last <= s->limit;
}

uint64_t x86_segment_address(struct x86_vcpu *c, const struct x86_op *o, unsigned seg,
	uint64_t offset, unsigned size, bool write)
{
	const struct x86_segment *s = &c->s.seg[seg];

	if (c->mode & X86_MODE_64)
		return offset + c->seg_base[seg];
	if (((c->mode & X86_MODE_PROT) && !rights_allow(s, write)) ||
		!limit_allows(s, offset, size))
		x86_raise_error(c, o, seg == X86_SS ? X86_VEC_SS : X86_VEC_GP, 0);
	return (uint32_t)(offset + s->base);
}
