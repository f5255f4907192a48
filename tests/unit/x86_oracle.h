/*
 * x86_oracle.h - the host processor as the judge of the software processor.
 *
 * A case is one short piece of code with random registers, flags, x87/SSE state and memory. It is
 * executed natively, in a thunk, and by a vcpu at CPL 3 at the same addresses; what both leave
 * behind must be equal. Cases are made from templates, which give an encoding the way the Intel SDM
 * (vol. 2) writes it; a quarter of them is 32-bit code, which compatibility mode runs.
 */
#ifndef PARTITA_TESTS_X86_ORACLE_H
#define PARTITA_TESTS_X86_ORACLE_H

#include "x86/x86.h"

/* Memory, at the same addresses on the host and in the guest; what surrounds it is not mapped. */
#define ORACLE_DATA	 0x10000000u
#define ORACLE_DATA_SIZE 0x4000u
#define ORACLE_CODE	 0x10100000u
#define ORACLE_CODE_SIZE 0x1000u
/* Where the code of a case starts. */
#define ORACLE_START	(ORACLE_CODE + 0x400u)
#define ORACLE_CODE_MAX 64u
/* Operands are placed in here, so that an access some way off still meets memory. */
#define ORACLE_TARGET	   (ORACLE_DATA + 0x1000u)
#define ORACLE_TARGET_SIZE 0x2000u

struct oracle_random {
	uint64_t state;
};

struct oracle_state {
	uint64_t gpr[16];
	uint64_t rflags;
	uint64_t rip;
	struct x86_fx fx __attribute__((aligned(64)));
};

/* What an execution left behind. */
struct oracle_outcome {
	struct oracle_state state;
	int vector; /* the exception that ended it, or -1 */
	uint32_t error;
	uint64_t address; /* #PF only */
	uint8_t data[ORACLE_DATA_SIZE];
};

struct oracle_template;

struct oracle_case {
	const struct oracle_template *template;
	uint8_t code[ORACLE_CODE_MAX];
	unsigned length;
	struct oracle_state in;
	uint8_t data[ORACLE_DATA_SIZE];
	/* What the encoder chose. */
	unsigned size; /* of the operand, in bytes */
	unsigned reg;  /* ModRM.reg with REX.R, or the register in the opcode */
	unsigned rm;   /* ModRM.rm with REX.B, when it is a register */
	bool memory;   /* there is a memory operand */
	bool lock;
	bool address32;	 /* has an address-size prefix */
	uint64_t target; /* its address */
	uint8_t imm;	 /* the last immediate byte */
	uint16_t used;	 /* registers that address memory: bit n for gpr[n] */
	bool bits32;	 /* 32-bit code, in compatibility mode */
	/* What is not compared. */
	uint64_t undefined_flags;
	bool undefined; /* the result as a whole */
	struct {
		uint64_t at;
		unsigned size;
	} ignore[2]; /* memory */
};

/* How a template may be encoded. */
#define O8	  0x00000001u /* operand sizes, chosen with 66h and REX.W */
#define O16	  0x00000002u
#define O32	  0x00000004u
#define O64	  0x00000008u
#define OV	  (O16 | O32 | O64)
#define D64	  0x00000010u /* 64 bits without REX.W: PUSH, POP, near branches */
#define MEM_ONLY  0x00000020u /* ModRM names memory only */
#define REG_ONLY  0x00000040u /* ModRM names a register only */
#define LOCKABLE  0x00000080u /* may carry LOCK when it names memory */
#define ALIGNED	  0x00000100u /* needs its memory aligned to 16 bytes */
#define BITS	  0x00000200u /* ModRM.reg is a bit offset that moves the memory operand */
#define F32	  0x00000400u /* what the operands hold: floats, doubles, extended reals */
#define F64	  0x00000800u
#define F80	  0x00001000u
#define BCD	  0x00002000u
#define PLAIN	  0x00004000u /* no optional prefixes: the emitted bytes are exact */
#define LEGACY	  0x00008000u /* exists in 32-bit code only */
#define LONG	  0x00200000u /* exists in 64-bit code only */
#define WIDE	  0x00400000u /* large or several operands: which byte faults first varies */
#define FENCED	  0x00010000u /* x87: a WAIT follows, so that an exception shows */
#define ALIGNED64 0x00020000u /* needs its memory aligned to 64 bytes */
#define REP_OK	  0x00040000u /* may carry F3h or F2h (string instructions) */
#define DEGRADES  0x00080000u /* without its feature it is another instruction, not #UD */
#define CONTROL	  0x00100000u /* x87/SSE control words may unmask exceptions */

enum oracle_feature {
	ALWAYS,
	SSE3,
	PCLMUL,
	SSSE3,
	CX16,
	SSE41,
	SSE42,
	MOVBE,
	POPCNT,
	AES,
	XSAVE,
	LZCNT,
	BMI1,
	LAHF,
	FSGSBASE,
	XSAVEOPT,
	XSAVEC,
	SHA,
	ADX,
	RDPID,
};

/* What templates call the flags. */
#define CF X86_FLAG_CF
#define PF X86_FLAG_PF
#define AF X86_FLAG_AF
#define ZF X86_FLAG_ZF
#define SF X86_FLAG_SF
#define OF X86_FLAG_OF

struct oracle_template {
	const char *name;
	/*
	 * The encoding: prefixes and opcode bytes in hexadecimal, then /r, /0 to /7, +r (register
	 * in the opcode), ib, iw, iz (two or four bytes by operand size), iv (by operand size), mo
	 * (an address). NULL: adjust() emits everything.
	 */
	const char *code;
	uint32_t how;
	uint32_t undefined; /* flags the SDM leaves undefined */
	enum oracle_feature feature;
	/* Changes the case after it was made: operands that make sense, further code. */
	void (*adjust)(struct oracle_case *c, struct oracle_random *r);
};

/* A table of templates with a name: one test. */
struct oracle_family {
	const char *name;
	const struct oracle_template *templates;
	unsigned count;
};

/* clang-format off */
#define ORACLE_FAMILY(name_, table) { name_, table, sizeof(table) / sizeof((table)[0]) }
/* clang-format on */

extern const struct oracle_family oracle_integer[];
extern const unsigned oracle_integer_count;
extern const struct oracle_family oracle_flow[];
extern const unsigned oracle_flow_count;
extern const struct oracle_family oracle_sse[];
extern const unsigned oracle_sse_count;
extern const struct oracle_family oracle_x87[];
extern const unsigned oracle_x87_count;

/* x86_oracle.c */
bool oracle_feature_in(const struct x86_features *f, enum oracle_feature feature);

/* x86_oracle_random.c */
uint64_t oracle_random(struct oracle_random *r);
/* A number below @n. */
unsigned oracle_below(struct oracle_random *r, unsigned n);
/* True once in @n times. */
bool oracle_once_in(struct oracle_random *r, unsigned n);
/* Values at which instructions are likely to be wrong. */
uint64_t oracle_integer_value(struct oracle_random *r);
void oracle_fill(struct oracle_random *r, uint32_t how, void *to, unsigned size);
void oracle_real80(struct oracle_random *r, uint8_t to[10]);

/* x86_oracle_encode.c: make a random case of a template. */
void oracle_make(struct oracle_case *c, const struct oracle_template *t, struct oracle_random *r);
void oracle_emit(struct oracle_case *c, const void *bytes, unsigned count);
void oracle_emit8(struct oracle_case *c, uint8_t byte);
void oracle_emit32(struct oracle_case *c, uint32_t value);
/* The operand's bytes in the case's memory. */
uint8_t *oracle_memory(struct oracle_case *c, uint64_t address);

/* x86_oracle_host.c: execute natively. */
void oracle_host_init(void);
/* Takes the signals of the current test, from cmocka too. */
void oracle_host_catch(void);
void oracle_host_run(const struct oracle_case *c, struct oracle_outcome *out);
bool oracle_host_has(enum oracle_feature feature);

/* x86_oracle_guest.c: execute in a vcpu. */
void oracle_guest_init(void);
void oracle_guest_run(const struct oracle_case *c, struct oracle_outcome *out);
bool oracle_guest_has(enum oracle_feature feature);
void oracle_guest_destroy(void);

#endif
