/*
 * sizes.h - what macros that make an operation for each operand size paste together: assembler
 * suffixes and operand modifiers, the type a register is written as, the source operand of an
 * operation by the form its name ends in, and rows of such operations.
 */
#ifndef PARTITA_X86_SIZES_H
#define PARTITA_X86_SIZES_H

#include "x86/mem.h"

/* A result is written to a register as this: 32 bits zero-extend. */
#define WRITE_8	 uint8_t
#define WRITE_16 uint16_t
#define WRITE_32 uint64_t
#define WRITE_64 uint64_t

#define SUFFIX_8  "b"
#define SUFFIX_16 "w"
#define SUFFIX_32 "l"
#define SUFFIX_64 "q"

/* Modifiers of an asm operand of 64 bits. */
#define PART_8	"b"
#define PART_16 "w"
#define PART_32 "k"
#define PART_64 "q"

/* The operand at r1, or in memory with a simple or full address. */
#define SOURCE_r(bits) X86_REG(c, o->r1, uint##bits##_t)
#define SOURCE_s(bits) x86_load##bits(c, o, x86_ea_s(c, o))
#define SOURCE_f(bits) x86_load##bits(c, o, x86_ea_f(c, o))

/* Where the operand is: the columns of a table of operations. */
enum x86_form {
	FORM_REGISTER,
	FORM_SIMPLE,
	FORM_FULL,
	FORMS,
};

#define FORM_ROW(name) {name##_r, name##_s, name##_f}
#define SIZE_ROWS(name)                                                                            \
	{FORM_ROW(name##_8), FORM_ROW(name##_16), FORM_ROW(name##_32), FORM_ROW(name##_64)}

#endif
