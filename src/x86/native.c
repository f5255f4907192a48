/*
 * native.c - makes and keeps the thunks that native.h describes.
 *
 * Thunks live in an arena (arena.h). They hold no absolute address, so equal instructions give
 * equal bytes, and the bytes themselves are the key under which a thunk is found again. A thunk is
 * never changed or freed before the machine is.
 *
 * Bounds: what the emitters let through is some 40 thousand distinct thunks (about 150 combinations
 * of opcode, operands and REX.W with 256 immediates, a thousand without) of at most 96 bytes, half
 * of that on average; the arena and the table have room for them all, whatever a guest does.
 * Pages are only taken when they are written.
 *
 * Facts: Intel SDM vol. 2A chapter 2 (encoding), System V AMD64 ABI (rdi, rsi, rdx, rcx).
 */
#include "x86/native.h"

#include "x86/arena.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES (4u << 20)
#define TABLE_SIZE  (1u << 16)
#define THUNK_ALIGN 16u
#define THUNK_MAX   96u

struct thunk_entry {
	uint32_t hash;
	uint32_t where; /* offset in the arena / THUNK_ALIGN, plus 1; 0: free */
	uint32_t size;
};

struct x86_native {
	pthread_mutex_t lock; /* of all below but features, which never changes */
	struct x86_arena arena;
	uint32_t used; /* bytes of the arena */
	uint32_t count;
	struct thunk_entry *table;
	struct x86_features features;
};

/* ---- The arena ------------------------------------------------------------------------------ */

struct x86_native *x86_native_create(void)
{
	struct x86_native *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->table = calloc(TABLE_SIZE, sizeof(*n->table));
	if (!n->table || x86_arena_create(&n->arena, ARENA_BYTES, "partita-thunks")) {
		free(n->table);
		free(n);
		return NULL;
	}
	pthread_mutex_init(&n->lock, NULL);
	x86_features(&n->features);
	return n;
}

void x86_native_destroy(struct x86_native *n)
{
	if (!n)
		return;
	x86_arena_destroy(&n->arena);
	pthread_mutex_destroy(&n->lock);
	free(n->table);
	free(n);
}

const struct x86_features *x86_native_features(const struct x86_native *n)
{
	return &n->features;
}

/* They came with the Pentium Pro; since 4.1 Zydis has a set of their own for them (Debian 13). */
static bool is_fcomi(ZydisMnemonic mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_FCOMI || mnemonic == ZYDIS_MNEMONIC_FCOMIP ||
	       mnemonic == ZYDIS_MNEMONIC_FUCOMI || mnemonic == ZYDIS_MNEMONIC_FUCOMIP;
}

bool x86_native_has(const struct x86_native *n, const ZydisDecodedInstruction *insn)
{
	const struct x86_features *f = &n->features;

	if (is_fcomi(insn->mnemonic))
		return (f->leaf1_edx & 1) && (f->leaf1_edx & (1u << 15));
	switch (insn->meta.isa_set) {
	case ZYDIS_ISA_SET_PENTIUMMMX:
		return f->leaf1_edx & (1u << 23);
	case ZYDIS_ISA_SET_SSE:
	case ZYDIS_ISA_SET_SSEMXCSR:
		return f->leaf1_edx & (1u << 25);
	case ZYDIS_ISA_SET_SSE2:
	case ZYDIS_ISA_SET_SSE2MMX:
		return f->leaf1_edx & (1u << 26);
	case ZYDIS_ISA_SET_SSE3:
	case ZYDIS_ISA_SET_SSE3X87:
		return f->leaf1_ecx & (1u << 0);
	case ZYDIS_ISA_SET_SSSE3:
	case ZYDIS_ISA_SET_SSSE3MMX:
		return f->leaf1_ecx & (1u << 9);
	case ZYDIS_ISA_SET_SSE4:
		return f->leaf1_ecx & (1u << 19);
	case ZYDIS_ISA_SET_SSE42:
		return f->leaf1_ecx & (1u << 20);
	case ZYDIS_ISA_SET_AES:
		return f->leaf1_ecx & (1u << 25);
	case ZYDIS_ISA_SET_PCLMULQDQ:
		return f->leaf1_ecx & (1u << 1);
	case ZYDIS_ISA_SET_X87:
		return f->leaf1_edx & (1u << 0);
	case ZYDIS_ISA_SET_FCMOV:
	case ZYDIS_ISA_SET_PPRO:
		return (f->leaf1_edx & 1) && (f->leaf1_edx & (1u << 15));
	case ZYDIS_ISA_SET_FXSAVE:
	case ZYDIS_ISA_SET_FXSAVE64:
		return f->leaf1_edx & (1u << 24);
	case ZYDIS_ISA_SET_XSAVE:
		return f->leaf1_ecx & (1u << 26);
	case ZYDIS_ISA_SET_XSAVEOPT:
		return f->xsave1_eax & (1u << 0);
	case ZYDIS_ISA_SET_XSAVEC:
		return f->xsave1_eax & (1u << 1);
	default:
		return false;
	}
}

struct code {
	uint8_t bytes[THUNK_MAX];
	unsigned n;
	unsigned insn, insn_end; /* where in bytes the guest's instruction is */
};

static uint32_t hash_of(const struct code *k)
{
	uint32_t h = 2166136261u;

	for (unsigned i = 0; i < k->n; i++)
		h = (h ^ k->bytes[i]) * 16777619u;
	return h;
}

/* What was written down for the guest's instruction is that very instruction. */
static bool faithful(const struct code *k, const ZydisDecodedInstruction *insn)
{
	ZydisDecodedInstruction again;
	ZydisDecoder d;

	ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	return ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(
		       &d, NULL, k->bytes + k->insn, k->insn_end - k->insn, &again)) &&
	       again.length == k->insn_end - k->insn && again.mnemonic == insn->mnemonic &&
	       again.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
}

/* The thunk with these bytes, made if there is none yet. */
static const void *intern(
	struct x86_native *n, const struct code *k, const ZydisDecodedInstruction *insn)
{
	uint32_t hash = hash_of(k), i = hash % TABLE_SIZE;
	const uint8_t *found = NULL;

	pthread_mutex_lock(&n->lock);
	for (; n->table[i].where; i = (i + 1) % TABLE_SIZE) {
		const struct thunk_entry *e = &n->table[i];
		size_t at = (size_t)(e->where - 1) * THUNK_ALIGN;

		if (e->hash == hash && e->size == k->n &&
			!memcmp(n->arena.write + at, k->bytes, k->n)) {
			found = n->arena.exec + at;
			goto out;
		}
	}
	if (n->used + k->n <= ARENA_BYTES && n->count < TABLE_SIZE * 3 / 4 && faithful(k, insn)) {
		memcpy(n->arena.write + n->used, k->bytes, k->n);
		n->table[i] = (struct thunk_entry){hash, n->used / THUNK_ALIGN + 1, k->n};
		n->count++;
		found = n->arena.exec + n->used;
		n->used += (k->n + THUNK_ALIGN - 1) & ~(THUNK_ALIGN - 1);
	}
out:
	pthread_mutex_unlock(&n->lock);
	return found;
}

/* ---- Writing code --------------------------------------------------------------------------- */

#define CODE(k, ...)                                                                               \
	put((k), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void put(struct code *k, const uint8_t *bytes, unsigned n)
{
	/* A thunk that outgrew its bound would be a mistake of ours: never run half of one. */
	if (k->n + n > THUNK_MAX)
		abort();
	memcpy(k->bytes + k->n, bytes, n);
	k->n += n;
}

static void put32(struct code *k, uint32_t v)
{
	put(k, (const uint8_t *)&v, sizeof(v));
}

/* The vcpu is in r8: what follows an instruction whose ModRM byte says [r8 + disp32]. */
#define VCPU(k, field) put32((k), offsetof(struct x86_vcpu, field))

/* ldmxcsr of the default, by way of the red zone. */
static void put_default_mxcsr(struct code *k)
{
	CODE(k, 0xc7, 0x44, 0x24, 0xf8, 0x80, 0x1f, 0x00, 0x00); /* mov dword [rsp-8], 0x1f80 */
	CODE(k, 0x0f, 0xae, 0x54, 0x24, 0xf8);			 /* ldmxcsr [rsp-8] */
}

enum kind {
	KIND_NONE,
	KIND_XMM,
	KIND_MMX,
	KIND_GPR,
	KIND_MEM,
};

/* An operand of the instruction: its kind and what the instruction does to it. */
struct use {
	enum kind kind;
	bool read, written;
};

static enum kind kind_of(const ZydisDecodedOperand *op)
{
	if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
		return KIND_MEM;
	switch (ZydisRegisterGetClass(op->reg.value)) {
	case ZYDIS_REGCLASS_XMM:
		return KIND_XMM;
	case ZYDIS_REGCLASS_MMX:
		return KIND_MMX;
	default:
		return KIND_GPR;
	}
}

static struct use use_of(const ZydisDecodedOperand *op)
{
	return (struct use){
		.kind = kind_of(op),
		.read = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ,
		.written = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE,
	};
}

/* Everything a thunk must know of an SSE or MMX instruction. */
struct shape {
	struct use reg, rm;
	struct use xmm0, rax, rcx, rdx; /* implicit */
	bool flags;
	bool wide; /* REX.W means something */
};

static void shape_of(const struct x86_xlate *t, struct shape *s)
{
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < t->insn.operand_count; i++) {
		const ZydisDecodedOperand *op = &t->op[i];
		ZydisRegister reg = op->reg.value;

		if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG) {
			s->reg = use_of(op);
		} else if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
			s->rm = use_of(op);
		} else if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			if (reg == ZYDIS_REGISTER_XMM0)
				s->xmm0 = use_of(op);
			else if (reg == ZYDIS_REGISTER_EAX || reg == ZYDIS_REGISTER_RAX)
				s->rax = use_of(op);
			else if (reg == ZYDIS_REGISTER_ECX || reg == ZYDIS_REGISTER_RCX)
				s->rcx = use_of(op);
			else if (reg == ZYDIS_REGISTER_EDX || reg == ZYDIS_REGISTER_RDX)
				s->rdx = use_of(op);
			else
				s->flags = true;
		}
		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
			ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR64)
			s->wide = true;
	}
	/* The size of a memory operand may depend on it, too. */
	if (s->rm.kind == KIND_MEM && t->insn.raw.rex.W)
		s->wide = true;
}

/*
 * The guest's instruction on fixed operands: ModRM.reg becomes register 1, ModRM.rm register 2 or
 * [rsi].
 */
static void put_instruction(
	struct code *k, const struct x86_xlate *t, const struct shape *s, bool group)
{
	const ZydisDecodedInstruction *insn = &t->insn;
	uint8_t reg = group ? insn->raw.modrm.reg : 1;

	k->insn = k->n;
	for (unsigned i = 0; i < insn->raw.prefix_count; i++)
		if (insn->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
			CODE(k, insn->raw.prefixes[i].value);
	if (s->wide)
		CODE(k, 0x48);
	CODE(k, 0x0f);
	if (insn->opcode_map == ZYDIS_OPCODE_MAP_0F38)
		CODE(k, 0x38);
	else if (insn->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
		CODE(k, 0x3a);
	CODE(k, insn->opcode);
	CODE(k, (s->rm.kind == KIND_MEM ? 0x06 : 0xc2) | reg << 3);
	if (insn->raw.imm[0].size)
		CODE(k, (uint8_t)insn->raw.imm[0].value.u);
	k->insn_end = k->n;
}

static void put_loads(struct code *k, const struct shape *s)
{
	if (s->xmm0.read) {
		CODE(k, 0x41, 0x0f, 0x28, 0x80); /* movaps xmm0, [r8+] */
		VCPU(k, s.fx.xmm);
	}
	/*
	 * A register that is only written is loaded too: a scalar result leaves the rest of its
	 * register as it was, and Zydis calls that written.
	 */
	if (s->reg.kind == KIND_XMM)
		CODE(k, 0x0f, 0x28, 0x0f); /* movaps xmm1, [rdi] */
	else if (s->reg.kind == KIND_MMX)
		CODE(k, 0x0f, 0x6f, 0x0f); /* movq mm1, [rdi] */
	else if (s->reg.kind == KIND_GPR)
		CODE(k, 0x48, 0x8b, 0x0f); /* mov rcx, [rdi] */
	if (s->rm.kind == KIND_XMM)
		CODE(k, 0x0f, 0x28, 0x16); /* movaps xmm2, [rsi] */
	else if (s->rm.kind == KIND_MMX)
		CODE(k, 0x0f, 0x6f, 0x16); /* movq mm2, [rsi] */
	else if (s->rm.kind == KIND_GPR)
		CODE(k, 0x48, 0x8b, 0x16); /* mov rdx, [rsi] */
	if (s->rax.read) {
		CODE(k, 0x49, 0x8b, 0x80); /* mov rax, [r8+] */
		VCPU(k, s.gpr[X86_RAX]);
	}
	if (s->rdx.read) {
		CODE(k, 0x49, 0x8b, 0x90); /* mov rdx, [r8+] */
		VCPU(k, s.gpr[X86_RDX]);
	}
}

static void put_stores(struct code *k, const struct shape *s)
{
	if (s->flags) {
		CODE(k, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
		CODE(k, 0x66, 0x41, 0x89, 0x80); /* mov [r8+], ax */
		VCPU(k, fl);
	}
	if (s->rcx.written) {
		CODE(k, 0x49, 0x89, 0x88); /* mov [r8+], rcx */
		VCPU(k, s.gpr[X86_RCX]);
	}
	if (s->xmm0.written) {
		CODE(k, 0x41, 0x0f, 0x29, 0x80); /* movaps [r8+], xmm0 */
		VCPU(k, s.fx.xmm);
	}
	/* Bits 64-79 of the x87 register beneath an MMX register become ones when it is written. */
	if (s->reg.written && s->reg.kind == KIND_XMM)
		CODE(k, 0x0f, 0x29, 0x0f);
	else if (s->reg.written && s->reg.kind == KIND_MMX)
		CODE(k, 0x0f, 0x7f, 0x0f, 0x66, 0xc7, 0x47, 0x08, 0xff, 0xff);
	else if (s->reg.written && s->reg.kind == KIND_GPR)
		CODE(k, 0x48, 0x89, 0x0f);
	if (s->rm.written && s->rm.kind == KIND_XMM)
		CODE(k, 0x0f, 0x29, 0x16);
	else if (s->rm.written && s->rm.kind == KIND_MMX)
		CODE(k, 0x0f, 0x7f, 0x16, 0x66, 0xc7, 0x46, 0x08, 0xff, 0xff);
	else if (s->rm.written && s->rm.kind == KIND_GPR)
		CODE(k, 0x48, 0x89, 0x16);
}

x86_simd_fn x86_native_simd(struct x86_native *n, const struct x86_xlate *t, bool fp)
{
	struct code k = {.n = 0};
	struct shape s;

	shape_of(t, &s);
	CODE(&k, 0x49, 0x89, 0xd0); /* mov r8, rdx */
	put_loads(&k, &s);
	if (fp) {
		CODE(&k, 0x41, 0x0f, 0xae, 0x90); /* ldmxcsr [r8+] */
		VCPU(&k, s.fx.mxcsr);
	}
	/* Without a register in ModRM.reg, that field is part of the opcode. */
	put_instruction(&k, t, &s, s.reg.kind == KIND_NONE);
	if (fp) {
		CODE(&k, 0x41, 0x0f, 0xae, 0x98); /* stmxcsr [r8+] */
		VCPU(&k, s.fx.mxcsr);
		put_default_mxcsr(&k);
	}
	put_stores(&k, &s);
	if (s.reg.kind == KIND_MMX || s.rm.kind == KIND_MMX)
		CODE(&k, 0x0f, 0x77); /* emms */
	CODE(&k, 0xc3);
	return (x86_simd_fn)intern(n, &k, &t->insn);
}

x86_x87_fn x86_native_x87(struct x86_native *n, const struct x86_xlate *t)
{
	const ZydisDecodedInstruction *insn = &t->insn;
	bool memory = insn->raw.modrm.mod != 3,
	     flags = insn->cpu_flags && (insn->cpu_flags->tested || insn->cpu_flags->modified);
	struct code k = {.n = 0};

	CODE(&k, 0x48, 0x0f, 0xae, 0x0f); /* fxrstor64 [rdi] */
	if (flags)
		CODE(&k, 0x0f, 0xb7, 0x01, 0x04, 0x7f,
			0x9e); /* movzx eax, [rcx]; add al, 127; sahf */
	k.insn = k.n;
	CODE(&k, insn->opcode);
	if (memory)
		CODE(&k, 0x06 | insn->raw.modrm.reg << 3); /* [rsi] */
	else
		CODE(&k, 0xc0 | insn->raw.modrm.reg << 3 | insn->raw.modrm.rm);
	k.insn_end = k.n;
	if (flags)
		CODE(&k, 0x9f, 0x0f, 0x90, 0xc0, 0x66, 0x89,
			0x01);		  /* lahf; seto al; mov [rcx], ax */
	CODE(&k, 0x48, 0x0f, 0xae, 0x02); /* fxsave64 [rdx] */
	CODE(&k, 0xdb, 0xe3);		  /* fninit */
	put_default_mxcsr(&k);
	CODE(&k, 0xc3);
	return (x86_x87_fn)intern(n, &k, insn);
}
