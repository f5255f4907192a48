; multiboot.asm - what a Multiboot 1 kernel is given: magic, command line, memory, a module; and
; string output to a port, with and without a repeat prefix.
%include "pc.inc"

BOOT_MAGIC	equ 0x2badb002
INFO_MEMORY	equ 1 << 0
INFO_CMDLINE	equ 1 << 2
INFO_MODULES	equ 1 << 3
INFO_MMAP	equ 1 << 6

start:
	cmp eax, BOOT_MAGIC
	jne .bad
	mov ebp, ebx			; the information structure
	mov esi, text_cmdline
	call print
	mov esi, [ebp + 16]
	call print
	mov esi, text_upper
	call print
	mov eax, [ebp + 8]		; KiB above 1 MiB
	call print_hex
	mov esi, text_modules
	call print
	mov eax, [ebp + 20]
	call print_hex
	cmp dword [ebp + 20], 1
	jb .string
	mov esi, text_module
	call print
	mov esi, [ebp + 24]		; module list
	mov ecx, [esi + 4]		; end
	mov esi, [esi]			; start
	sub ecx, esi
	mov dx, COM1
	rep outsb
.string:
	mov esi, text_string
	mov ecx, text_string_end - text_string
	mov dx, COM1
	cld
	rep outsb
	mov esi, text_string
	outsb
	mov esi, text_flags
	call print
	mov eax, [ebp]
	and eax, INFO_MEMORY | INFO_CMDLINE | INFO_MMAP
	call print_hex
	mov esi, text_end
	jmp print
.bad:
	mov esi, text_bad
	jmp print

	section .rodata
text_cmdline:	db "cmdline ", 0
text_upper:	db 10, "upper ", 0
text_modules:	db 10, "modules ", 0
text_module:	db 10, "module ", 0
text_string:	db 10, "string output"
text_string_end:
text_flags:	db "flags ", 0
text_end:	db 10, "end", 10, 0
text_bad:	db "not started by Multiboot", 10, 0
