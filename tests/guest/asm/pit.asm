; pit.asm - interrupts the way a PC had them first: the PIT through the PIC pair, wired to LINT0,
; with the local APIC left alone. Counts ten ticks, waiting for each with HLT.
%include "pc.inc"

PIC1		equ 0x20
PIC2		equ 0xa0
PIC_EOI		equ 0x20
VECTOR		equ 0x20
PIT_CHANNEL0	equ 0x40
PIT_CONTROL	equ 0x43
TICK		equ 11932		; 100 Hz
TICKS		equ 10
CODE		equ 0x08

start:
	lgdt [gdt_pointer]
	jmp CODE:.flushed
.flushed:
	mov eax, on_tick
	mov [idt + VECTOR * 8], ax
	mov word [idt + VECTOR * 8 + 2], CODE
	mov word [idt + VECTOR * 8 + 4], 0x8e00
	shr eax, 16
	mov [idt + VECTOR * 8 + 6], ax
	lidt [idt_pointer]

	mov al, 0x11			; ICW1: edge, cascade, ICW4
	out PIC1, al
	out PIC2, al
	mov al, VECTOR			; ICW2
	out PIC1 + 1, al
	mov al, VECTOR + 8
	out PIC2 + 1, al
	mov al, 4			; ICW3
	out PIC1 + 1, al
	mov al, 2
	out PIC2 + 1, al
	mov al, 1			; ICW4: 8086
	out PIC1 + 1, al
	out PIC2 + 1, al
	mov al, 0xfe			; IRQ0 alone
	out PIC1 + 1, al
	mov al, 0xff
	out PIC2 + 1, al

	mov al, 0x34			; channel 0, both bytes, rate generator
	out PIT_CONTROL, al
	mov al, TICK & 0xff
	out PIT_CHANNEL0, al
	mov al, TICK >> 8
	out PIT_CHANNEL0, al

.wait:
	sti
	hlt
	cli
	cmp dword [ticks], TICKS
	jb .wait
	mov esi, text
	jmp print

on_tick:
	push eax
	inc dword [ticks]
	mov al, PIC_EOI
	out PIC1, al
	pop eax
	iret

	section .data
	align 8
gdt:	dq 0
	dq 0x00cf9a000000ffff
	dq 0x00cf92000000ffff
gdt_pointer:
	dw gdt_pointer - gdt - 1
	dd gdt
idt_pointer:
	dw 256 * 8 - 1
	dd idt
ticks:	dd 0
text:	db "ten ticks", 10, 0

	section .bss
	align 8
idt:	resq 256
