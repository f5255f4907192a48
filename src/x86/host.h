/*
 * host.h - writes instructions of the host: an assembler of just what compile.c and its recipes
 * use.
 *
 * It appends to a buffer. When that is full it goes on counting and writes nothing; whoever owns
 * the buffer looks at x86_host_full() once, at the end. Registers are numbered as in their
 * encoding; sizes are in bytes (1, 2, 4, 8).
 *
 * Facts: Intel SDM vol. 2A chapter 2 (encoding), vol. 2 (opcodes).
 */
#ifndef PARTITA_X86_HOST_H
#define PARTITA_X86_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum x86_host_reg {
	HOST_RAX,
	HOST_RCX,
	HOST_RDX,
	HOST_RBX,
	HOST_RSP,
	HOST_RBP,
	HOST_RSI,
	HOST_RDI,
	HOST_R8,
	HOST_R9,
	HOST_R10,
	HOST_R15 = 15,
	HOST_REGS,
	HOST_NONE = HOST_REGS,
};

struct x86_host {
	uint8_t *code;
	size_t size, n; /* bytes: of the buffer, appended */
};

/* [base + (index << scale) + disp]; base and index may be HOST_NONE. */
struct x86_host_mem {
	uint8_t base, index;
	uint8_t scale;
	int32_t disp;
};

/*
 * Opcodes: one byte, or 0x0f00 + the second byte, or HOST_F3 or HOST_66 and that. Of a pair
 * of opcodes for bytes and for words the one for words is given, HOST_SIZED marks it, and a size of
 * 1 takes the one before it.
 */
#define HOST_SIZED 0x10000u
#define HOST_F3	   0x20000u
#define HOST_66	   0x80000u
#define HOST_LOCK  0x40000u

#define HOST_MOV_STORE	 (HOST_SIZED | 0x89) /* r/m, r */
#define HOST_MOV_LOAD	 (HOST_SIZED | 0x8b) /* r, r/m */
#define HOST_MOV_IMM	 (HOST_SIZED | 0xc7) /* r/m, imm; /0 */
#define HOST_LEA	 0x8d
#define HOST_TEST	 (HOST_SIZED | 0x85) /* r/m, r */
#define HOST_GROUP1_IMM8 0x83		     /* ADD OR ADC SBB AND SUB XOR CMP r/m, imm8 */
#define HOST_GROUP1_IMM	 0x81		     /* the same, imm32 */
#define HOST_GROUP1_BYTE 0x80		     /* of bytes */
#define HOST_GROUP2_IMM	 (HOST_SIZED | 0xc1) /* shifts r/m, imm8 */
#define HOST_GROUP2_CL	 (HOST_SIZED | 0xd3) /* shifts r/m, cl */
#define HOST_GROUP3	 (HOST_SIZED | 0xf7) /* TEST imm, NOT, NEG */
#define HOST_GROUP4	 (HOST_SIZED | 0xff) /* INC, DEC, JMP r/m (/4) */
#define HOST_XCHG	 (HOST_SIZED | 0x87)
#define HOST_XADD	 (HOST_SIZED | 0x0fc1)
#define HOST_CMPXCHG	 (HOST_SIZED | 0x0fb1)
#define HOST_MOVZX(size) ((size) == 1 ? 0x0fb6u : 0x0fb7u)
#define HOST_MOVSX(size) ((size) == 1 ? 0x0fbeu : (size) == 2 ? 0x0fbfu : 0x63u)
#define HOST_CMOV(cc)	 (0x0f40u + (cc))
#define HOST_SET(cc)	 (0x0f90u + (cc))
#define HOST_IMUL_REG	 0x0faf /* r, r/m */
#define HOST_IMUL_IMM	 0x69	/* r, r/m, imm */
#define HOST_NOP	 0x90
#define HOST_RET	 0xc3
#define HOST_CQO	 0x99	/* x86_host_plain() */
#define HOST_BSWAP	 0x0f	/* ModRM.reg 1: what looks like ModRM is the second opcode byte */
#define HOST_BT_IMM	 0x0fba /* /4 BT, /5 BTS, /6 BTR, /7 BTC */
#define HOST_BT_REG(n)	 (0x0f83u + 8u * (n)) /* by the same numbers; r/m, r */
#define HOST_SCAN(code)	 (0x0f00u | (code) | ((code) == HOST_POPCNT ? HOST_F3 : 0))

#define HOST_MOVAPS_LOAD  0x0f28
#define HOST_MOVAPS_STORE 0x0f29
#define HOST_MOVUPS_LOAD  0x0f10
#define HOST_MOVUPS_STORE 0x0f11
#define HOST_MOVD_LOAD	  (HOST_66 | 0x0f6e) /* the rest of the register becomes zero */
#define HOST_PMOVMSKB	  (HOST_66 | 0x0fd7) /* r32, xmm */
/* x86_host_plain(), of the first eight registers */
#define HOST_PUSH(reg) (0x50u + (reg))
#define HOST_POP(reg)  (0x58u + (reg))

/* Numbers of group 1, of group 2, of group 3 and 4. */
enum { HOST_ADD, HOST_OR, HOST_ADC, HOST_SBB, HOST_AND, HOST_SUB, HOST_XOR, HOST_CMP };
enum { HOST_ROL, HOST_ROR, HOST_RCL, HOST_RCR, HOST_SHL, HOST_SHR, HOST_SAR = 7 };
enum { HOST_NOT = 2, HOST_NEG = 3, HOST_INC = 0, HOST_DEC = 1, HOST_CALL = 2, HOST_JMP = 4 };
enum { HOST_MUL = 4, HOST_IMUL = 5 };		    /* of group 3, too */
enum { HOST_BT = 4, HOST_BTS, HOST_BTR, HOST_BTC }; /* of HOST_BT_IMM */
/* Second opcode bytes of scans; POPCNT has HOST_F3. */
enum { HOST_BSF = 0xbc, HOST_BSR = 0xbd, HOST_POPCNT = 0xb8 };
/* Group 1 with a register: r/m, r and r, r/m. */
#define HOST_GROUP1_STORE(n) (HOST_SIZED | (8u * (n) + 1))
#define HOST_GROUP1_LOAD(n)  (HOST_SIZED | (8u * (n) + 3))

/* Conditions are numbered as the guest's. */
enum { HOST_CC_Z = 4, HOST_CC_NZ = 5 };

static inline bool x86_host_full(const struct x86_host *h)
{
	return h->n > h->size;
}

void x86_host_byte(struct x86_host *h, uint8_t v);
void x86_host_imm32(struct x86_host *h, int32_t v);
/* An immediate as an operand of @size bytes has it: at most 32 bits. */
void x86_host_imm(struct x86_host *h, unsigned size, uint64_t v);
/* @opcode with ModRM.reg @reg (a register or a group's number) and r/m a register. */
void x86_host_rr(struct x86_host *h, uint32_t opcode, unsigned size, unsigned reg, unsigned rm);
/* The same with r/m in memory. */
void x86_host_rm(
	struct x86_host *h, uint32_t opcode, unsigned size, unsigned reg, struct x86_host_mem m);
/* mov r64, imm, in the shortest form, and in the longest. Leave flags alone. */
void x86_host_mov_imm(struct x86_host *h, unsigned reg, uint64_t v);
void x86_host_mov_imm64(struct x86_host *h, unsigned reg, uint64_t v);
/* An instruction without operands, of @size. */
void x86_host_plain(struct x86_host *h, uint32_t opcode, unsigned size);
/* Group 1 (ADD ... CMP) of a register and a constant that fits 32 bits, sign-extended. */
void x86_host_alu_imm(struct x86_host *h, unsigned op, unsigned size, unsigned reg, int32_t v);
/* jcc rel32 to be filled in by x86_host_here(); returns where. @cc 16: jmp. */
size_t x86_host_jump(struct x86_host *h, unsigned cc);
/* jmp rel32, or jcc rel8, to what was or will be appended at @at. */
void x86_host_jump_back(struct x86_host *h, size_t at);
void x86_host_jump_short(struct x86_host *h, unsigned cc, size_t at);
/* The four bytes before @at are @v. */
void x86_host_put32(struct x86_host *h, size_t at, uint32_t v);
/* The jump at @at goes to what is appended next. */
void x86_host_here(struct x86_host *h, size_t at);
#define HOST_ALWAYS 16u

#endif
