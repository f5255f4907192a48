/*
 * gate.h - how native code (compile.h) leaves to functions in C: by jumps at the beginning of its
 * arena, since the functions may be too far away. All are given the vcpu in RDI and, in RSI, an
 * operation; some more, as said. All of the guest's state is in the vcpu.
 */
#ifndef PARTITA_X86_GATE_H
#define PARTITA_X86_GATE_H

#include <stdint.h>

enum x86_gate {
	X86_GATE_ZERO,	 /* to linear address 0. The first: what is at offset 0 */
	X86_GATE_ENTRY,	 /* RSI: the first operation of a block that is not to be entered */
	X86_GATE_OFFSET, /* EDX: in the page, to go on at */
	X86_GATE_LINK,	 /* RSI: a LINK; EDX: offset of the displacement of the jump that took it */
	X86_GATE_RETURN, /* RSI: a call; EDX: offset of what it noted for its return */
	X86_GATE_CROSS,	 /* RSI: a branch; RDX: its target; ECX: offset of its jump's displacement;
			    R8D: of the number of the target's page; R9: what does it instead */
	X86_GATES
};

#define X86_GATE_BYTES 16u
/* Where X86_GATE_CROSS is to put the number of a page. */
#define X86_NO_PAGE 0xffffffffu

/* x86_gates_put - writes them all, at the beginning of the arena: X86_GATES * X86_GATE_BYTES. */
void x86_gates_put(uint8_t *write);

#endif
