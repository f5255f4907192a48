/*
 * miss.S - what C cannot say: how a block is entered, and how one of its operations calls the slow
 * path of a memory access.
 *
 * mem.h calls the *_keep functions from inline assembly as if they were one instruction: only RAX
 * changes, and only where there is a result. The stack is aligned here, as the caller had no reason
 * to; callers are built without a red zone. XMM registers are the caller's clobbers.
 */
	.macro keep name, target, result
	.globl \name
	.hidden \name
	.type \name, @function
\name:
	push %rbp
	mov %rsp, %rbp
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %rax
	and $-16, %rsp
	call \target
	.if \result
	mov %rax, -72(%rbp)
	.endif
	lea -72(%rbp), %rsp
	pop %rax
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rdx
	pop %rcx
	pop %rbp
	ret
	.size \name, . - \name
	.endm

	.text
	keep x86_load_miss_keep, x86_load_slow, 1
	keep x86_store_miss_keep, x86_store_slow, 0
	keep x86_rmw_miss_keep, x86_rmw_slow, 1
	keep x86_rmw_rest_keep, x86_rmw_finish, 0

/*
 * x86_enter - from C into the operations of a block: RBX, RBP and R12 to R15 are kept for the
 * caller, as compiled blocks (compile.h) do not keep them. rdi: vcpu, rsi: operation, whose function
 * is its first field.
 */
	.globl x86_enter
	.hidden x86_enter
	.type x86_enter, @function
x86_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	sub $8, %rsp
	call *(%rsi)
	add $8, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.size x86_enter, . - x86_enter

	.section .note.GNU-stack, "", @progbits
