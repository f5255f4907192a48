/*
 * hostile.S - how hostile.c comes to run in 64-bit mode: from a PVH entry on the first processor,
 * from a start-up IPI on the second. Memory below 1 GiB is mapped one to one.
 */
#define CR0_PE	 (1 << 0)
#define CR0_PG	 (1 << 31)
#define CR4_PAE	 (1 << 5)
#define MSR_EFER 0xC0000080
#define EFER_LME (1 << 8)
#define CODE32	 0x08
#define DATA	 0x10
#define CODE64	 0x18

	.section .note.pvh, "a", @note
	.align 4
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long _start

	.section .bss
	.align 4096
level4:	.skip 4096
level3:	.skip 4096
level2:	.skip 4096
	.skip 65536
stack:	.skip 65536
second_stack:

	.section .rodata
	.align 8
gdt:	.quad 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
	.quad 0x00af9b000000ffff
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt

	.text
	.code32
	.globl _start
_start:
	mov %ebx, %ebp
	lgdt gdt_pointer
	movl $level3 + 3, level4
	movl $level2 + 3, level3
	mov $level2, %edi
	mov $0x83, %eax /* large pages, written to */
0:	mov %eax, (%edi)
	add $8, %edi
	add $0x200000, %eax
	cmp $0x40000083, %eax
	jne 0b
	mov $stack, %esp
	call long_mode
	ljmp $CODE64, $1f
	.code64
1:	mov %ebp, %edi
	call hostile_main
	jmp .

	.code32
long_mode:
	mov %cr4, %eax
	or $CR4_PAE, %eax
	mov %eax, %cr4
	mov $level4, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov %cr0, %eax
	or $CR0_PG, %eax
	mov %eax, %cr0
	ret

second32:
	mov $DATA, %eax
	mov %eax, %ds
	mov %eax, %ss
	mov $second_stack, %esp
	call long_mode
	ljmp $CODE64, $1f
	.code64
1:	call hostile_second
	jmp .

	/* Copied to a page below 64 KiB, where CS begins. */
	.code16
	.globl trampoline, trampoline_end
trampoline:
	cli
	lgdtl %cs:trampoline_gdt - trampoline
	mov %cr0, %eax
	or $CR0_PE, %al
	mov %eax, %cr0
	ljmpl $CODE32, $second32
	.align 4
trampoline_gdt:
	.word gdt_end - gdt - 1
	.long gdt
trampoline_end:
	.section .note.GNU-stack, "", @progbits
