/*
 * hypercall.c - the calling conventions: where a hypercall's input comes from, what makes it
 * malformed, where its result goes.
 *
 * Memory, register ("fast") and XMM forms, 64-bit and 32-bit callers. All input is copied once,
 * before it is looked at. No call takes long enough to need continuation: a rep call does all its
 * reps. Source: TLFS "Hypercall Interface".
 */
#include "hypervisor/hypercall.h"

#include <errno.h>

#define FAST_MAX 112u /* two general registers and six XMM registers */

static const struct hypercall_info calls[] = {
	{HV_CALL_FLUSH_SPACE, false, false, 24, 0, 0, hypercall_flush_space},
	{HV_CALL_FLUSH_LIST, true, false, 24, 8, 0, hypercall_flush_list},
	{HV_CALL_LONG_SPIN_WAIT, false, false, 8, 0, 0, hypercall_long_spin_wait},
	{HV_CALL_SEND_IPI, false, false, 16, 0, 0, hypercall_send_ipi},
	{HV_CALL_FLUSH_SPACE_EX, false, true, 32, 0, 0, hypercall_flush_space_ex},
	{HV_CALL_FLUSH_LIST_EX, true, true, 32, 8, 0, hypercall_flush_list_ex},
	{HV_CALL_SEND_IPI_EX, false, true, 24, 0, 0, hypercall_send_ipi_ex},
	{HV_CALL_POST_MESSAGE, false, false, 256, 0, 0, hypercall_post_message},
	{HV_CALL_SIGNAL_EVENT, false, false, 8, 0, 0, hypercall_signal_event},
	{HV_CALL_QUERY_CAPABILITIES, false, false, 0, 0, 8, hypercall_query_capabilities},
};

/* The registers of a call, whatever the caller's mode. */
struct convention {
	bool wide;
	uint64_t control, input, output;
};

uint64_t hypercall_all_vps(const struct partition *p)
{
	return ~0ull >> (VP_MAX - p->prop.processor_count);
}

enum hv_status hypercall_vp_set(const struct hypercall *h, unsigned offset, uint64_t *mask)
{
	uint64_t format = hypercall_u64(h, offset), banks = hypercall_u64(h, offset + 8);
	uint64_t all = hypercall_all_vps(h->vp->partition);

	switch (format) {
	case HV_VP_SET_ALL:
		*mask = all;
		return HV_STATUS_SUCCESS;
	case HV_VP_SET_SPARSE:
		if (h->var_header != (unsigned)__builtin_popcountll(banks) * 8)
			return HV_STATUS_INVALID_HYPERCALL_INPUT;
		/* There are at most 64 vps: all of them in the first bank. */
		*mask = banks & 1 ? hypercall_u64(h, h->header) & all : 0;
		return HV_STATUS_SUCCESS;
	default:
		return HV_STATUS_INVALID_PARAMETER;
	}
}

static struct convention read_convention(const struct x86_state *s)
{
	const uint64_t *r = s->gpr;

	if ((s->efer & X86_EFER_LMA) && (s->seg[X86_CS].attributes & X86_SEG_L))
		return (struct convention){true, r[X86_RCX], r[X86_RDX], r[X86_R8]};
	return (struct convention){false, r[X86_RDX] << 32 | (uint32_t)r[X86_RAX],
		r[X86_RBX] << 32 | (uint32_t)r[X86_RCX], r[X86_RDI] << 32 | (uint32_t)r[X86_RSI]};
}

static const struct hypercall_info *find_call(uint16_t code)
{
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (calls[i].code == code)
			return &calls[i];
	}
	return NULL;
}

static enum hv_status check_control(const struct hypercall_info *info, struct hypercall *h)
{
	if (h->control & (HV_CALL_RESERVED | HV_CALL_NESTED))
		return HV_STATUS_INVALID_HYPERCALL_INPUT;
	if (info->rep ? h->rep_start >= h->rep_count : h->rep_count || h->rep_start)
		return HV_STATUS_INVALID_HYPERCALL_INPUT;
	if (h->var_header && !info->var_header)
		return HV_STATUS_INVALID_HYPERCALL_INPUT;
	return HV_STATUS_SUCCESS;
}

/* Does a parameter block lie in one page, on an 8-byte boundary? */
static bool well_placed(uint64_t gpa, unsigned size)
{
	return !(gpa & 7) && (gpa & (HV_PAGE_SIZE - 1)) + size <= HV_PAGE_SIZE;
}

static enum hv_status fetch_fast(
	struct hypercall *h, const struct x86_state *s, const struct convention *c, unsigned size)
{
	if (size > FAST_MAX)
		return HV_STATUS_INVALID_HYPERCALL_INPUT;
	memcpy(h->input, &c->input, 8);
	memcpy(h->input + 8, &c->output, 8);
	memcpy(h->input + 16, s->fx.xmm, FAST_MAX - 16);
	return HV_STATUS_SUCCESS;
}

static enum hv_status fetch_input(struct hypercall *h, const struct hypercall_info *info,
	const struct x86_state *s, const struct convention *c)
{
	unsigned size = info->header + h->var_header + h->rep_count * info->element;

	if (h->control & HV_CALL_FAST)
		return fetch_fast(h, s, c, size);
	if (!size)
		return HV_STATUS_SUCCESS;
	if (size > HV_PAGE_SIZE || !well_placed(c->input, size))
		return HV_STATUS_INVALID_ALIGNMENT;
	if (memory_read(&h->vp->partition->memory, c->input, h->input, size))
		return HV_STATUS_INVALID_ALIGNMENT;
	return HV_STATUS_SUCCESS;
}

/* Where output may go is checked before the call does anything. */
static enum hv_status check_output(
	const struct hypercall *h, const struct hypercall_info *info, const struct convention *c)
{
	int rights;

	if (!info->output)
		return HV_STATUS_SUCCESS;
	if (h->control & HV_CALL_FAST) {
		if (!c->wide || !(h->vp->partition->features & HV_FEATURE_XMM_OUTPUT))
			return HV_STATUS_INVALID_HYPERCALL_INPUT;
		return HV_STATUS_SUCCESS;
	}
	rights = memory_rights(&h->vp->partition->memory, c->output);
	if (!well_placed(c->output, info->output) || rights < 0 || !(rights & X86_MAP_WRITE))
		return HV_STATUS_INVALID_ALIGNMENT;
	return HV_STATUS_SUCCESS;
}

/* Register output begins in the first 16-byte block that input did not use. */
static void store_output(const struct hypercall *h, const struct hypercall_info *info,
	struct x86_state *s, const struct convention *c)
{
	unsigned block = (info->header + h->var_header + 15) / 16;

	if (!(h->control & HV_CALL_FAST)) {
		memory_write(&h->vp->partition->memory, c->output, h->output, info->output);
	} else if (block == 0) {
		memcpy(&s->gpr[X86_RDX], h->output, 8);
		memcpy(&s->gpr[X86_R8], h->output + 8, 8);
	} else {
		memcpy(s->fx.xmm[block - 1], h->output, sizeof(h->output));
	}
}

static enum hv_status run(struct hypercall *h, struct x86_state *s, const struct convention *c)
{
	const struct hypercall_info *info = find_call(HV_CALL_CODE(c->control));
	enum hv_status status;

	if (!info) {
		h->to_client = h->vp->partition->prop.exits.HypercallExit;
		return HV_STATUS_INVALID_HYPERCALL_CODE;
	}
	h->header = info->header;
	status = check_control(info, h);
	if (status != HV_STATUS_SUCCESS)
		return status;
	h->rep_done = h->rep_start;
	status = check_output(h, info, c);
	if (status == HV_STATUS_SUCCESS)
		status = fetch_input(h, info, s, c);
	if (status == HV_STATUS_SUCCESS)
		status = info->run(h);
	if (status == HV_STATUS_SUCCESS && info->output)
		store_output(h, info, s, c);
	return status;
}

static void store_result(
	const struct hypercall *h, struct x86_state *s, const struct convention *c, uint64_t result)
{
	if (!c->wide) {
		s->gpr[X86_RAX] = (uint32_t)result;
		s->gpr[X86_RDX] = (uint32_t)(result >> 32);
		return;
	}
	s->gpr[X86_RAX] = result;
	if (h->rep_done)
		s->gpr[X86_RCX] = (h->control & ~HV_CALL_START_MASK) | (uint64_t)h->rep_done << 48;
}

/* The registers as the client gets them in a hypercall exit. */
static void save_context(struct vp *vp, const struct x86_state *s)
{
	WHV_HYPERCALL_CONTEXT *to = &vp->hypercall;

	memset(to, 0, sizeof(*to));
	to->Rax = s->gpr[X86_RAX];
	to->Rbx = s->gpr[X86_RBX];
	to->Rcx = s->gpr[X86_RCX];
	to->Rdx = s->gpr[X86_RDX];
	to->R8 = s->gpr[X86_R8];
	to->Rsi = s->gpr[X86_RSI];
	to->Rdi = s->gpr[X86_RDI];
	memcpy(to->XmmRegisters, s->fx.xmm, sizeof(to->XmmRegisters));
}

enum x86_answer hypercall_dispatch(struct vp *vp)
{
	struct partition *p = vp->partition;
	struct x86_state *s = vp_state(vp);
	struct convention c;
	struct hypercall h;
	enum hv_status status;

	if (!(p->hypercall & HV_PAGE_ENABLE) || s->cpl || !(s->cr0 & X86_CR0_PE) ||
		(s->rflags & X86_FLAG_VM))
		return X86_FAULT;
	vp->intercepts.Hypercalls.Count++;
	c = read_convention(s);
	h.vp = vp;
	h.control = c.control;
	h.rep_count = HV_CALL_REP_COUNT(c.control);
	h.rep_start = HV_CALL_REP_START(c.control);
	h.rep_done = 0;
	h.var_header = HV_CALL_VARHEAD(c.control) * 8;
	h.header = 0;
	h.to_client = false;
	memset(h.output, 0, sizeof(h.output));
	status = run(&h, s, &c);
	if (h.to_client) {
		save_context(vp, s);
		return X86_EXIT;
	}
	store_result(&h, s, &c, (uint64_t)status | (uint64_t)h.rep_done << 32);
	return X86_DONE;
}
