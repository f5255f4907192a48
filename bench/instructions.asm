; instructions.asm - a program whose instructions are counted, for bench/boot: loads, stores,
; arithmetic, shifts, calls and branches in about the mix that compiled code has. Between the words
; COUNT-BEGIN and COUNT-END it executes as many instructions as it says.

	bits 64

SYS_WRITE	equ 1
SYS_EXIT	equ 60
STDOUT		equ 1

ROUNDS		equ 20000000
PER_ROUND	equ 30			; in the loop below, with those of the function

%macro say 2
	mov eax, SYS_WRITE
	mov edi, STDOUT
	lea rsi, [rel %1]
	mov edx, %2
	syscall
%endmacro

%defstr COUNT_TEXT %eval(ROUNDS * PER_ROUND)

	section .text
	global _start
_start:
	say text_begin, text_begin_end - text_begin
	mov ecx, ROUNDS
	lea rbx, [rel table]
	xor edi, edi
	align 16
.round:
	mov rax, [rbx + rdi * 8]	; 1
	add rax, rcx
	mov rdx, rax
	shr rdx, 3
	xor rax, rdx
	mov [rbx + rdi * 8], rax
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
	push rax			; 12
	call mix			; 13, and five there: 18
	pop rdx
	add rax, rdx
	lea rdx, [rax + rdi * 2 + 7]
	cmp rdx, rax
	sbb rsi, rsi
	and rsi, rdx
	movzx edx, al
	imul edx, edx, 13
	inc edi
	and edi, 255			; 28
	dec ecx
	jnz .round			; 30
	say text_end, text_end_end - text_end
	mov eax, SYS_EXIT
	xor edi, edi
	syscall

	align 16
mix:
	mov rax, [rsp + 8]
	rol rax, 5
	sub rax, 0x61c88647
	not rax
	ret

	section .rodata
text_begin:	db "count ", COUNT_TEXT, 10, "COUNT-BEGIN", 10
text_begin_end:
text_end:	db "COUNT-END", 10
text_end_end:

	section .bss
	align 64
table:	resq 256
