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

/* ---- Registers of the address width (16, 32 or 64 bits) ------------------------------------- */

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

/* ---- Elements ------------------------------------------------------------------------------- */

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

/* ---- Runs ----------------------------------------------------------------------------------- */

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

/* ---- The instructions ----------------------------------------------------------------------- */

enum string {
	MOVS,
	STOS,
	LODS,
	CMPS,
	SCAS,
	STRINGS,
};

/* The source is at rSI in segment o->seg, the destination at rDI in ES. */
INLINE bool has_source(enum string kind)
{
	return kind == MOVS || kind == LODS || kind == CMPS;
}

INLINE bool has_destination(enum string kind)
{
	return kind != LODS;
}

INLINE bool writes(enum string kind)
{
	return kind == MOVS || kind == STOS;
}

INLINE bool compares(enum string kind)
{
	return kind == CMPS || kind == SCAS;
}

/* Linear addresses of the operands that @kind has. */
struct operands {
	uint64_t from, to;
};

INLINE struct operands locate(
	struct x86_vcpu *c, const struct x86_op *o, enum string kind, unsigned size, unsigned width)
{
	struct operands at = {0};

	if (has_source(kind))
		at.from = element(c, o, width, o->seg, get(c, X86_RSI, width), size, false);
	if (has_destination(kind))
		at.to = element(c, o, width, X86_ES, get(c, X86_RDI, width), size, writes(kind));
	return at;
}

INLINE void move_on(struct x86_vcpu *c, enum string kind, unsigned width, int64_t bytes)
{
	if (has_source(kind))
		advance(c, X86_RSI, width, bytes);
	if (has_destination(kind))
		advance(c, X86_RDI, width, bytes);
}

INLINE int64_t step(const struct x86_vcpu *c, unsigned size)
{
	return goes_down(c) ? -(int64_t)size : (int64_t)size;
}

/* One element, wherever it is. */
INLINE void one(struct x86_vcpu *c, const struct x86_op *o, enum string kind, unsigned size,
	struct operands at)
{
	uint64_t left;

	switch (kind) {
	case MOVS:
		return store(c, o, at.to, size, load(c, o, at.from, size));
	case STOS:
		return store(c, o, at.to, size, c->s.gpr[X86_RAX]);
	case LODS:
		return set_accumulator(c, size, load(c, o, at.from, size));
	case CMPS:
		left = load(c, o, at.from, size);
		c->fl = compare(left, load(c, o, at.to, size), size);
		return;
	default:
		c->fl = compare(c->s.gpr[X86_RAX], load(c, o, at.to, size), size);
	}
}

/* A comparison that ends when ZF is @until. */
#define HOST_COMPARE(insn, ...)                                                                    \
	do {                                                                                       \
		if (until)                                                                         \
			HOST_SIZED(size, "repne " insn, X86_ASM_SAVE_FLAGS, __VA_ARGS__);          \
		else                                                                               \
			HOST_SIZED(size, "repe " insn, X86_ASM_SAVE_FLAGS, __VA_ARGS__);           \
	} while (0)

/*
 * Up to @n elements by the host's instruction; returns how many. LODS reads every one, as a
 * device's register may want, though only the last stays.
 */
INLINE uint64_t run_on_host(struct x86_vcpu *c, enum string kind, bool until, unsigned size,
	const void *src, void *dst, uint64_t n)
{
	const bool down = goes_down(c);
	uint64_t left = n, acc = c->s.gpr[X86_RAX];

	switch (kind) {
	case MOVS:
		HOST_SIZED(size, "rep movs", "", "+D"(dst), "+S"(src), "+c"(left) :);
		return n;
	case STOS:
		HOST_SIZED(size, "rep stos", "", "+D"(dst), "+c"(left) : "a"(acc));
		return n;
	case LODS:
		HOST_SIZED(size, "rep lods", "", "+S"(src), "+c"(left), "+a"(acc) :);
		c->s.gpr[X86_RAX] = acc;
		return n;
	case CMPS:
		HOST_COMPARE("cmps", "+D"(dst), "+S"(src), "+c"(left), "=&a"(acc) :);
		break;
	default:
		HOST_COMPARE("scas", "+D"(dst), "+c"(left), "+a"(acc) :);
	}
	c->fl = (uint16_t)acc;
	return n - left;
}

/*
 * @until: the ZF that ends a comparison. A fault in the middle finds the flags of the last
 * comparison, as on the processors that do not restore those from before the instruction.
 */
INLINE void repeated(struct x86_vcpu *c, const struct x86_op *o, enum string kind, bool until,
	unsigned size, unsigned width)
{
	const bool down = goes_down(c);
	uint64_t n;

	while ((n = get(c, X86_RCX, width))) {
		struct operands at = locate(c, o, kind, size, width);
		uint64_t run = run_limit(c, n);
		void *src = NULL, *dst = NULL;
		bool direct = true;

		if (has_source(kind)) {
			run = run_length(
				c, width, down, o->seg, get(c, X86_RSI, width), at.from, size, run);
			src = x86_host_r(c, at.from, size);
			direct = src;
		}
		if (has_destination(kind)) {
			run = run_length(
				c, width, down, X86_ES, get(c, X86_RDI, width), at.to, size, run);
			dst = writes(kind) ? x86_host_w(c, at.to, size)
					   : x86_host_r(c, at.to, size);
			direct = direct && dst;
		}
		if (likely(run && direct)) {
			run = run_on_host(c, kind, until, size, src, dst, run);
		} else {
			run = 1;
			one(c, o, kind, size, at);
		}
		move_on(c, kind, width, (int64_t)run * step(c, size));
		advance(c, X86_RCX, width, -(int64_t)run);
		if (run == n || (compares(kind) && !(c->fl & X86_FL_ZF) == !until))
			break;
		ATTEND_BETWEEN_RUNS
	}
	NEXT;
}

INLINE void alone(
	struct x86_vcpu *c, const struct x86_op *o, enum string kind, unsigned size, unsigned width)
{
	one(c, o, kind, size, locate(c, o, kind, size, width));
	move_on(c, kind, width, step(c, size));
	NEXT;
}

/* ---- Emitting ------------------------------------------------------------------------------- */

/*
 * The functions above for one size of element, as operations of a block: with 64-bit addresses, and
 * with the width in o->x.
 */
#define OPERATION(name, ...)                                                                       \
	X86_OP(name)                                                                               \
	{                                                                                          \
		return __VA_ARGS__;                                                                \
	}
#define OPERATIONS(form, size, width)                                                              \
	OPERATION(movs_##form##size, alone(c, o, MOVS, size, width))                               \
	OPERATION(stos_##form##size, alone(c, o, STOS, size, width))                               \
	OPERATION(lods_##form##size, alone(c, o, LODS, size, width))                               \
	OPERATION(cmps_##form##size, alone(c, o, CMPS, size, width))                               \
	OPERATION(scas_##form##size, alone(c, o, SCAS, size, width))                               \
	OPERATION(rep_movs_##form##size, repeated(c, o, MOVS, false, size, width))                 \
	OPERATION(rep_stos_##form##size, repeated(c, o, STOS, false, size, width))                 \
	OPERATION(rep_lods_##form##size, repeated(c, o, LODS, false, size, width))                 \
	OPERATION(repe_cmps_##form##size, repeated(c, o, CMPS, false, size, width))                \
	OPERATION(repne_cmps_##form##size, repeated(c, o, CMPS, true, size, width))                \
	OPERATION(repe_scas_##form##size, repeated(c, o, SCAS, false, size, width))                \
	OPERATION(repne_scas_##form##size, repeated(c, o, SCAS, true, size, width))

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

	o = x86_emit(t, string_ops[kind_of(t->insn.opcode)][repeat_of(&t->insn)][wide][size]);
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
