; instructions.asm - a loop whose instructions are counted, for bench/boot: loads, stores,
; arithmetic, shifts, calls and branches in about the mix that compiled code has. Between the words
; "begin" and "end" it executes as many instructions as it says.
%include "pc.inc"

ROUNDS		equ 20000000
PER_ROUND	equ 30			; in the loop below, with the two of the function's end

start:
	mov esi, text_count
	call print
	mov eax, ROUNDS
	mov edx, PER_ROUND
	mul edx
	call print_hex
	mov esi, text_begin
	call print

	mov ecx, ROUNDS
	mov ebx, table
	xor edi, edi
	align 16
.round:
	mov eax, [ebx + edi * 4]	; 1
	add eax, ecx
	mov edx, eax
	shr edx, 3
	xor eax, edx
	mov [ebx + edi * 4], eax
	test eax, 1
	jz .even			; 8
	nop				; both ways are three instructions long
	nop
	jmp .joined
.even:
	nop
	nop
	nop
.joined:
	push eax			; 12
	call mix			; 13, with five in the function: 18
	pop edx
	add eax, edx
	lea edx, [eax + edi * 2 + 7]
	cmp edx, eax
	sbb esi, esi
	and esi, edx
	movzx edx, al
	imul edx, edx, 13
	inc edi
	and edi, 255			; 28
	dec ecx
	jnz .round			; 30

	mov esi, text_end
	jmp print

	align 16
mix:
	mov eax, [esp + 4]
	rol eax, 5
	sub eax, 0x61c88647
	not eax
	ret

	section .rodata
text_count:	db "count ", 0
text_begin:	db 10, "begin", 10, 0
text_end:	db "end", 10, 0

	section .bss
	align 64
table:	resd 256
