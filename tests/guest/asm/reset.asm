; reset.asm - asks for a reset, through the reset register that the FADT names.
%include "pc.inc"

start:
	mov esi, text
	call print
	mov dx, RESET_PORT
	mov al, 6
	out dx, al
	jmp $

	section .rodata
text:	db "about to reset", 10, 0
