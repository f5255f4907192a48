; triple.asm - a guest that triple-faults: an exception without an interrupt table. RAX and the
; bytes at RIP are for the test to find in the line that says so.
%include "pc.inc"

start:
	mov esi, text
	call print
	lidt [no_table]
	mov eax, 0xdeadbeef
	ud2
	jmp $

	section .rodata
no_table:	dw 0
		dd 0
text:		db "about to fault", 10, 0
