; hang.asm - never ends by itself: it spins when its command line says so, and halts otherwise. What
; arrives at COM1 comes back.
%include "pc.inc"

LINE_STATUS	equ COM1 + 5

start:
	mov esi, text
	call print
	mov esi, [ebx + 16]
	cmp byte [esi], 's'
	je spin
	cmp byte [esi], 'e'
	je echo
	cli
.halt:
	hlt
	jmp .halt
spin:
	jmp spin
echo:
	mov dx, LINE_STATUS
	in al, dx
	test al, 1
	jz echo
	mov dx, COM1
	in al, dx
	out dx, al
	cmp al, 'q'			; and q ends it
	jne echo
	ret

	section .rodata
text:	db "here", 10, 0
