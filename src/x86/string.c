/*
 * string.c - MOVS CMPS SCAS LODS STOS, alone and repeated.
 *
 * A repeated instruction goes over its operands in runs: as many elements as lie in one page and
 * within the segment, done by the host's own repeated instruction on the host's addresses, so that
 * overlapping operands, flags and speed are those of a processor. An element that crosses a page,
 * misses the TLB or belongs to a device goes alone through the slow path. After each run the
 * registers are exact: a fault, an interrupt or a single-step trap between two runs resumes
 * where it stopped.
 *
 * Facts: Intel SDM vol. 2, the instructions' pages and "REP/REPE/REPZ/REPNE/REPNZ".
 */
#include "x86/mem.h"
#include "x86/translate.h"

#define INLINE static inline __attribute__((always_inline))

/* ---- Registers of the address width (16, 32 or 64 bits) ------------------------------------------ */

INLINE uint64_t get(const struct x86_vcpu *c, enum x86_gpr r, unsigned width)
{
	uint64_t v = c->s.gpr[r];

	return width == 64 ? v : width == 32 ? (uint32_t)v : (uint16_t)v;
}

INLINE void advance(struct x86_vcpu *c, enum x86_gpr r, unsigned width, int64_t by)
{
	if (width == 64)
		c->s.gpr[r] += (uint64_t)by;
	else if (width == 32)
		c->s.gpr[r] = (uint32_t)(c->s.gpr[r] + (uint64_t)by);
	else
		X86_REG(c, X86_R(r), uint16_t) += (uint16_t)by;
}

INLINE bool goes_down(const struct x86_vcpu *c)
{
	return c->rflags & X86_FLAG_DF;
}

/* Linear address of an element, its segment's limit and rights checked. */
INLINE uint64_t element(struct x86_vcpu *c, const struct x86_op *o, unsigned width, unsigned seg,
	uint64_t offset, unsigned size, bool write)
{
	if (width == 64)
		return offset + c->seg_base[seg];
	return x86_segment_address(c, o, seg, offset, size, write);
}

/* ---- Elements ---------------------------------------------------------------------------------- */

INLINE uint64_t load(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size)
{
	switch (size) {
	case 1:
		return x86_load8(c, o, va);
	case 2:
		return x86_load16(c, o, va);
	case 4:
		return x86_load32(c, o, va);
	default:
		return x86_load64(c, o, va);
	}
}

INLINE void store(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size, uint64_t value)
{
	switch (size) {
	case 1:
		return x86_store8(c, o, va, (uint8_t)value);
	case 2:
		return x86_store16(c, o, va, (uint16_t)value);
	case 4:
		return x86_store32(c, o, va, (uint32_t)value);
	default:
		return x86_store64(c, o, va, value);
	}
}

INLINE void set_accumulator(struct x86_vcpu *c, unsigned size, uint64_t value)
{
	switch (size) {
	case 1:
		X86_REG(c, X86_R(X86_RAX), uint8_t) = (uint8_t)value;
		break;
	case 2:
		X86_REG(c, X86_R(X86_RAX), uint16_t) = (uint16_t)value;
		break;
	default:
		c->s.gpr[X86_RAX] = value;
	}
}

#define COMPARE(suffix, modifier)                                                                  \
	asm("cmp" suffix " %" modifier "2, %" modifier "1" X86_ASM_SAVE_FLAGS                      \
	    : "=&a"(fl)                                                                            \
	    : "r"(a), "r"(b)                                                                       \
	    : "cc")

/* The flags of @a - @b. */
INLINE uint16_t compare(uint64_t a, uint64_t b, unsigned size)
{
	uint16_t fl;

	switch (size) {
	case 1:
		COMPARE("b", "b");
		break;
	case 2:
		COMPARE("w", "w");
		break;
	case 4:
		COMPARE("l", "k");
		break;
	default:
		COMPARE("q", "q");
	}
	return fl;
}

/* ---- Runs -------------------------------------------------------------------------------------- */

/*
 * How many of @n elements at @offset of @seg, whose linear address is @va, can be done in one run;
 * 0: the first crosses a page.
 */
INLINE uint64_t run_length(const struct x86_vcpu *c, unsigned width, bool down, unsigned seg,
	uint64_t offset, uint64_t va, unsigned size, uint64_t n)
{
	uint64_t in_page = va & ~X86_PAGE_MASK, room;

	if (width != 64) {
		uint64_t end = width == 32 ? 1ul << 32 : 1ul << 16; /* where offsets wrap */
		uint64_t segment = x86_segment_room(c, seg, offset, size, down);

		room = down ? offset + size : end - offset;
		room = segment < room ? segment : room;
		n = room / size < n ? room / size : n;
	}
	if (unlikely(in_page + size > X86_PAGE_SIZE))
		return 0;
	room = down ? in_page + size : X86_PAGE_SIZE - in_page;
	return room / size < n ? room / size : n;
}

/* A run at the head of which a step is wanted is one element long. */
INLINE uint64_t run_limit(struct x86_vcpu *c, uint64_t n)
{
	return unlikely(atomic_load_explicit(&c->attention, memory_order_relaxed)) ? 1 : n;
}

/* Leave between two runs, with RIP at the instruction, when something wants attention. */
#define ATTEND_BETWEEN_RUNS                                                                        \
	if (unlikely(atomic_load_explicit(&c->attention, memory_order_relaxed))) {                 \
		c->instructions--;                                                                 \
		return x86_end_at(c, o, x86_op_rip(c, o));                                         \
	}

/* The host's repeated instruction, in the direction of the guest's DF. */
#define HOST(insn, after, ...)                                                                     \
	do {                                                                                       \
		if (likely(!down))                                                                 \
			asm volatile(insn after : __VA_ARGS__ : "memory", "cc");                   \
		else                                                                               \
			asm volatile("std\n\t" insn "\n\tcld" after : __VA_ARGS__ : "memory",      \
				     "cc");                                                        \
	} while (0)

/* The same for an instruction with a suffix for its size. */
#define HOST_SIZED(size, insn, after, ...)                                                         \
	do {                                                                                       \
		switch (size) {                                                                    \
		case 1:                                                                            \
			HOST(insn "b", after, __VA_ARGS__);                                        \
			break;                                                                     \
		case 2:                                                                            \
			HOST(insn "w", after, __VA_ARGS__);                                        \
			break;                                                                     \
		case 4:                                                                            \
			HOST(insn "l", after, __VA_ARGS__);                                        \
			break;                                                                     \
		default:                                                                           \
			HOST(insn "q", after, __VA_ARGS__);                                        \
		}                                                                                  \
	} while (0)

/* The source of the current operation: segment o->seg at rSI; the destination: ES at rDI. */
#define FROM get(c, X86_RSI, width)
#define TO   get(c, X86_RDI, width)

INLINE void rep_movs(struct x86_vcpu *c, const struct x86_op *o, unsigned size, unsigned width)
{
	const bool down = goes_down(c);
	const int64_t step = down ? -(int64_t)size : (int64_t)size;
	uint64_t n;

	while ((n = get(c, X86_RCX, width))) {
		uint64_t from = element(c, o, width, o->seg, FROM, size, false);
		uint64_t to = element(c, o, width, X86_ES, TO, size, true);
		uint64_t run = run_length(c, width, down, o->seg, FROM, from, size, run_limit(c, n));
		void *src, *dst;

		run = run_length(c, width, down, X86_ES, TO, to, size, run);
		src = x86_host_r(c, from, size);
		dst = x86_host_w(c, to, size);
		if (likely(run && src && dst)) {
			uint64_t left = run;

			HOST_SIZED(size, "rep movs", "", "+D"(dst), "+S"(src), "+c"(left) :);
		} else {
			run = 1;
			store(c, o, to, size, load(c, o, from, size));
		}
		advance(c, X86_RSI, width, (int64_t)run * step);
		advance(c, X86_RDI, width, (int64_t)run * step);
		advance(c, X86_RCX, width, -(int64_t)run);
		if (run == n)
			break;
		ATTEND_BETWEEN_RUNS
	}
	NEXT;
}

INLINE void rep_stos(struct x86_vcpu *c, const struct x86_op *o, unsigned size, unsigned width)
{
	const bool down = goes_down(c);
	const int64_t step = down ? -(int64_t)size : (int64_t)size;
	uint64_t n;

	while ((n = get(c, X86_RCX, width))) {
		uint64_t to = element(c, o, width, X86_ES, TO, size, true);
		uint64_t run = run_length(c, width, down, X86_ES, TO, to, size, run_limit(c, n));
		void *dst = x86_host_w(c, to, size);

		if (likely(run && dst)) {
			uint64_t left = run;

			HOST_SIZED(size, "rep stos", "",
				"+D"(dst), "+c"(left) : "a"(c->s.gpr[X86_RAX]));
		} else {
			run = 1;
			store(c, o, to, size, c->s.gpr[X86_RAX]);
		}
		advance(c, X86_RDI, width, (int64_t)run * step);
		advance(c, X86_RCX, width, -(int64_t)run);
		if (run == n)
			break;
		ATTEND_BETWEEN_RUNS
	}
	NEXT;
}

/* Every element is read, as a device's register may want, though only the last stays. */
INLINE void rep_lods(struct x86_vcpu *c, const struct x86_op *o, unsigned size, unsigned width)
{
	const bool down = goes_down(c);
	const int64_t step = down ? -(int64_t)size : (int64_t)size;
	uint64_t n;

	while ((n = get(c, X86_RCX, width))) {
		uint64_t from = element(c, o, width, o->seg, FROM, size, false);
		uint64_t run = run_length(c, width, down, o->seg, FROM, from, size, run_limit(c, n));
		void *src = x86_host_r(c, from, size);

		if (likely(run && src)) {
			uint64_t left = run;

			HOST_SIZED(size, "rep lods", "",
				"+S"(src), "+c"(left), "+a"(c->s.gpr[X86_RAX]) :);
		} else {
			run = 1;
			set_accumulator(c, size, load(c, o, from, size));
		}
		advance(c, X86_RSI, width, (int64_t)run * step);
		advance(c, X86_RCX, width, -(int64_t)run);
		if (run == n)
			break;
		ATTEND_BETWEEN_RUNS
	}
	NEXT;
}

/*
 * The comparisons end when ZF is @until. A fault in the middle finds the flags of the last
 * comparison, as on the processors that do not restore those from before the instruction.
 */
INLINE void rep_cmps(struct x86_vcpu *c, const struct x86_op *o, unsigned size, unsigned width,
	bool until)
{
	const bool down = goes_down(c);
	const int64_t step = down ? -(int64_t)size : (int64_t)size;
	uint64_t n;

	while ((n = get(c, X86_RCX, width))) {
		uint64_t from = element(c, o, width, o->seg, FROM, size, false);
		uint64_t to = element(c, o, width, X86_ES, TO, size, false);
		uint64_t run = run_length(c, width, down, o->seg, FROM, from, size, run_limit(c, n));
		const void *src, *dst;
		uint16_t fl;

		run = run_length(c, width, down, X86_ES, TO, to, size, run);
		src = x86_host_r(c, from, size);
		dst = x86_host_r(c, to, size);
		if (likely(run && src && dst)) {
			uint64_t left = run;

			if (until)
				HOST_SIZED(size, "repne cmps", X86_ASM_SAVE_FLAGS,
					"+D"(dst), "+S"(src), "+c"(left), "=&a"(fl) :);
			else
				HOST_SIZED(size, "repe cmps", X86_ASM_SAVE_FLAGS,
					"+D"(dst), "+S"(src), "+c"(left), "=&a"(fl) :);
			run -= left;
		} else {
			uint64_t a = load(c, o, from, size);

			run = 1;
			fl = compare(a, load(c, o, to, size), size);
		}
		advance(c, X86_RSI, width, (int64_t)run * step);
		advance(c, X86_RDI, width, (int64_t)run * step);
		advance(c, X86_RCX, width, -(int64_t)run);
		c->fl = fl;
		if (run == n || !(fl & X86_FL_ZF) == !until)
			break;
		ATTEND_BETWEEN_RUNS
	}
	NEXT;
}

INLINE void rep_scas(struct x86_vcpu *c, const struct x86_op *o, unsigned size, unsigned width,
	bool until)
{
	const bool down = goes_down(c);
	const int64_t step = down ? -(int64_t)size : (int64_t)size;
	uint64_t n;

	while ((n = get(c, X86_RCX, width))) {
		uint64_t to = element(c, o, width, X86_ES, TO, size, false);
		uint64_t run = run_length(c, width, down, X86_ES, TO, to, size, run_limit(c, n));
		const void *dst = x86_host_r(c, to, size);
		uint64_t acc = c->s.gpr[X86_RAX];
		uint16_t fl;

		if (likely(run && dst)) {
			uint64_t left = run;

			if (until)
				HOST_SIZED(size, "repne scas", X86_ASM_SAVE_FLAGS,
					"+D"(dst), "+c"(left), "+a"(acc) :);
			else
				HOST_SIZED(size, "repe scas", X86_ASM_SAVE_FLAGS,
					"+D"(dst), "+c"(left), "+a"(acc) :);
			run -= left;
			fl = (uint16_t)acc;
		} else {
			run = 1;
			fl = compare(acc, load(c, o, to, size), size);
		}
		advance(c, X86_RDI, width, (int64_t)run * step);
		advance(c, X86_RCX, width, -(int64_t)run);
		c->fl = fl;
		if (run == n || !(fl & X86_FL_ZF) == !until)
			break;
		ATTEND_BETWEEN_RUNS
	}
	NEXT;
}

/* ---- Alone ------------------------------------------------------------------------------------- */

INLINE void step(struct x86_vcpu *c, enum x86_gpr r, unsigned size, unsigned width)
{
	advance(c, r, width, goes_down(c) ? -(int64_t)size : (int64_t)size);
}

INLINE void one_movs(struct x86_vcpu *c, const struct x86_op *o, unsigned size, unsigned width)
{
	uint64_t from = element(c, o, width, o->seg, FROM, size, false);
	uint64_t to = element(c, o, width, X86_ES, TO, size, true);

	store(c, o, to, size, load(c, o, from, size));
	step(c, X86_RSI, size, width);
	step(c, X86_RDI, size, width);
	NEXT;
}

INLINE void one_stos(struct x86_vcpu *c, const struct x86_op *o, unsigned size, unsigned width)
{
	store(c, o, element(c, o, width, X86_ES, TO, size, true), size, c->s.gpr[X86_RAX]);
	step(c, X86_RDI, size, width);
	NEXT;
}

INLINE void one_lods(struct x86_vcpu *c, const struct x86_op *o, unsigned size, unsigned width)
{
	set_accumulator(c, size, load(c, o, element(c, o, width, o->seg, FROM, size, false), size));
	step(c, X86_RSI, size, width);
	NEXT;
}

INLINE void one_cmps(struct x86_vcpu *c, const struct x86_op *o, unsigned size, unsigned width)
{
	uint64_t from = element(c, o, width, o->seg, FROM, size, false);
	uint64_t to = element(c, o, width, X86_ES, TO, size, false);
	uint64_t a = load(c, o, from, size);

	c->fl = compare(a, load(c, o, to, size), size);
	step(c, X86_RSI, size, width);
	step(c, X86_RDI, size, width);
	NEXT;
}

INLINE void one_scas(struct x86_vcpu *c, const struct x86_op *o, unsigned size, unsigned width)
{
	uint64_t to = element(c, o, width, X86_ES, TO, size, false);

	c->fl = compare(c->s.gpr[X86_RAX], load(c, o, to, size), size);
	step(c, X86_RDI, size, width);
	NEXT;
}

/* ---- Emitting ---------------------------------------------------------------------------------- */

/*
 * The functions above for one size of element, as operations of a block: with 64-bit addresses, and
 * with the width in o->x.
 */
#define OPERATION(name, ...)                                                                       \
	X86_OP(name)                                                                               \
	{                                                                                          \
		return __VA_ARGS__;                                                                \
	}
#define OPERATIONS(kind, size, width)                                                              \
	OPERATION(movs_##kind##size, one_movs(c, o, size, width))                                  \
	OPERATION(stos_##kind##size, one_stos(c, o, size, width))                                  \
	OPERATION(lods_##kind##size, one_lods(c, o, size, width))                                  \
	OPERATION(cmps_##kind##size, one_cmps(c, o, size, width))                                  \
	OPERATION(scas_##kind##size, one_scas(c, o, size, width))                                  \
	OPERATION(rep_movs_##kind##size, rep_movs(c, o, size, width))                              \
	OPERATION(rep_stos_##kind##size, rep_stos(c, o, size, width))                              \
	OPERATION(rep_lods_##kind##size, rep_lods(c, o, size, width))                              \
	OPERATION(repe_cmps_##kind##size, rep_cmps(c, o, size, width, false))                      \
	OPERATION(repne_cmps_##kind##size, rep_cmps(c, o, size, width, true))                      \
	OPERATION(repe_scas_##kind##size, rep_scas(c, o, size, width, false))                      \
	OPERATION(repne_scas_##kind##size, rep_scas(c, o, size, width, true))

OPERATIONS(a64_, 1, 64)
OPERATIONS(a64_, 2, 64)
OPERATIONS(a64_, 4, 64)
OPERATIONS(a64_, 8, 64)
OPERATIONS(any_, 1, o->x)
OPERATIONS(any_, 2, o->x)
OPERATIONS(any_, 4, o->x)
OPERATIONS(any_, 8, o->x)

enum repeat {
	ALONE,
	REPE, /* or REP: prefix F3 */
	REPNE,
	REPEATS,
};

enum string {
	MOVS,
	STOS,
	LODS,
	CMPS,
	SCAS,
	STRINGS,
};

#define WIDTH_ROWS(name)                                                                           \
	{                                                                                          \
		{name##_any_1, name##_any_2, name##_any_4, name##_any_8},                          \
			{name##_a64_1, name##_a64_2, name##_a64_4, name##_a64_8},                  \
	}
static const x86_op_fn string_ops[STRINGS][REPEATS][2][4] = {
	[MOVS] = {WIDTH_ROWS(movs), WIDTH_ROWS(rep_movs), WIDTH_ROWS(rep_movs)},
	[STOS] = {WIDTH_ROWS(stos), WIDTH_ROWS(rep_stos), WIDTH_ROWS(rep_stos)},
	[LODS] = {WIDTH_ROWS(lods), WIDTH_ROWS(rep_lods), WIDTH_ROWS(rep_lods)},
	[CMPS] = {WIDTH_ROWS(cmps), WIDTH_ROWS(repe_cmps), WIDTH_ROWS(repne_cmps)},
	[SCAS] = {WIDTH_ROWS(scas), WIDTH_ROWS(repe_scas), WIDTH_ROWS(repne_scas)},
};

/* The last of the prefixes F2 and F3 counts. */
static enum repeat repeat_of(const ZydisDecodedInstruction *insn)
{
	enum repeat repeat = ALONE;

	for (unsigned i = 0; i < insn->raw.prefix_count; i++) {
		if (insn->raw.prefixes[i].value == 0xf3)
			repeat = REPE;
		else if (insn->raw.prefixes[i].value == 0xf2)
			repeat = REPNE;
	}
	return repeat;
}

/* The segment of the operand at rSI, which a prefix may choose. */
static uint8_t source_segment(const struct x86_xlate *t)
{
	for (unsigned i = 0; i < t->insn.operand_count; i++) {
		const ZydisDecodedOperand *op = &t->op[i];

		if (x86_is_mem(op) && x86_reg(op->mem.base) == X86_R(X86_RSI))
			return (uint8_t)(op->mem.segment - ZYDIS_REGISTER_ES);
	}
	return X86_DS;
}

static enum string kind_of(uint8_t opcode)
{
	switch (opcode & 0xfe) {
	case 0xa4:
		return MOVS;
	case 0xa6:
		return CMPS;
	case 0xaa:
		return STOS;
	case 0xac:
		return LODS;
	default:
		return SCAS;
	}
}

bool x86_emit_string(struct x86_xlate *t)
{
	unsigned size = t->insn.opcode & 1 ? x86_size_index(t->insn.operand_width) : 0;
	bool wide = t->insn.address_width == 64;
	struct x86_op *o;

	o = x86_emit(
		t, string_ops[kind_of(t->insn.opcode)][repeat_of(&t->insn)][wide][size]);
	o->seg = source_segment(t);
	o->x = (uint8_t)t->insn.address_width;
	return true;
}

#define REGISTER(what)                                                                             \
	table[ZYDIS_MNEMONIC_##what##B] = x86_emit_string;                                         \
	table[ZYDIS_MNEMONIC_##what##W] = x86_emit_string;                                         \
	table[ZYDIS_MNEMONIC_##what##D] = x86_emit_string;                                         \
	table[ZYDIS_MNEMONIC_##what##Q] = x86_emit_string

/* MOVSD and CMPSD name SSE instructions, too: simd.c, registered later, hands those here over. */
void x86_register_string(x86_emit_fn *table)
{
	REGISTER(MOVS);
	REGISTER(STOS);
	REGISTER(LODS);
	REGISTER(CMPS);
	REGISTER(SCAS);
}
