/*
 * registers.c - a virtual processor's registers: as the kernel's entry wants them, and as a line
 * for people when it cannot go on.
 */
#include "worker/machine.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

/*
 * The first processor's local APIC as firmware leaves it, in virtual wire mode (MultiProcessor
 * specification 1.4, 3.6.2.2): enabled, the PIC at LINT0, NMI at LINT1.
 */
#define SPURIOUS_ENABLED 0x1ffu
#define LINT0_EXTINT	 0x700u
#define LINT1_NMI	 0x400u

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static WHV_REGISTER_VALUE segment(const struct boot_segment *s)
{
	return (WHV_REGISTER_VALUE){.Segment = {
					    .Base = s->base,
					    .Limit = s->limit,
					    .Selector = s->selector,
					    .Attributes = s->attributes,
				    }};
}

static WHV_REGISTER_VALUE table(const struct boot_table *t)
{
	return (WHV_REGISTER_VALUE){.Table = {.Limit = t->limit, .Base = t->base}};
}

static WHV_REGISTER_VALUE value64(uint64_t value)
{
	return (WHV_REGISTER_VALUE){.Reg64 = value};
}

HRESULT registers_enter(WHV_PARTITION_HANDLE partition, const struct boot_state *s)
{
	const struct {
		WHV_REGISTER_NAME name;
		WHV_REGISTER_VALUE value;
	} set[] = {
		/* Control registers first: what segments and RIP may hold depends on the mode. */
		{WHvX64RegisterEfer, value64(s->efer)},
		{WHvX64RegisterCr4, value64(s->cr4)},
		{WHvX64RegisterCr3, value64(s->cr3)},
		{WHvX64RegisterCr0, value64(s->cr0)},
		{WHvX64RegisterCs, segment(&s->cs)},
		{WHvX64RegisterDs, segment(&s->data)},
		{WHvX64RegisterEs, segment(&s->data)},
		{WHvX64RegisterFs, segment(&s->data)},
		{WHvX64RegisterGs, segment(&s->data)},
		{WHvX64RegisterSs, segment(&s->data)},
		{WHvX64RegisterTr, segment(&s->tr)},
		{WHvX64RegisterLdtr, segment(&s->ldtr)},
		{WHvX64RegisterGdtr, table(&s->gdtr)},
		{WHvX64RegisterIdtr, table(&s->idtr)},
		{WHvX64RegisterRax, value64(s->rax)},
		{WHvX64RegisterRbx, value64(s->rbx)},
		{WHvX64RegisterRcx, value64(0)},
		{WHvX64RegisterRdx, value64(0)},
		{WHvX64RegisterRsi, value64(s->rsi)},
		{WHvX64RegisterRdi, value64(0)},
		{WHvX64RegisterRbp, value64(0)},
		{WHvX64RegisterRsp, value64(s->rsp)},
		{WHvX64RegisterApicSpurious, value64(SPURIOUS_ENABLED)},
		{WHvX64RegisterApicLvtLint0, value64(LINT0_EXTINT)},
		{WHvX64RegisterApicLvtLint1, value64(LINT1_NMI)},
		{WHvX64RegisterRip, value64(s->rip)},
		{WHvX64RegisterRflags, value64(s->rflags)},
	};
	WHV_REGISTER_NAME names[COUNT(set)];
	WHV_REGISTER_VALUE values[COUNT(set)];

	for (size_t i = 0; i < COUNT(set); i++) {
		names[i] = set[i].name;
		values[i] = set[i].value;
	}
	return WHvSetVirtualProcessorRegisters(partition, 0, names, COUNT(set), values);
}

/* The instruction's bytes in hex, as far as they can be read. */
static void code_bytes(
	WHV_PARTITION_HANDLE partition, uint32_t vp, uint64_t gva, char *text, size_t size)
{
	static const WHV_ACCESS_GPA_CONTROLS controls = {.CacheType = WHvCacheTypeWriteBack};
	size_t used = 0;

	for (unsigned i = 0; i < 16; i++) {
		WHV_TRANSLATE_GVA_RESULT result;
		WHV_GUEST_PHYSICAL_ADDRESS gpa;
		uint8_t byte;

		if (FAILED(WHvTranslateGva(partition, vp, gva + i,
			    WHvTranslateGvaFlagPrivilegeExempt, &result, &gpa)) ||
			result.ResultCode != WHvTranslateGvaResultSuccess ||
			FAILED(WHvReadGpaRange(partition, vp, gpa, controls, &byte, sizeof(byte))))
			break;
		used += snprintf(text + used, size - used, " %02x", byte);
	}
	if (!used)
		snprintf(text, size, " cannot be read");
}

void registers_report(
	WHV_PARTITION_HANDLE partition, const char *machine, uint32_t vp, const char *what)
{
	static const struct {
		WHV_REGISTER_NAME name;
		const char *text;
	} shown[] = {
		{WHvX64RegisterRip, "rip"},
		{WHvX64RegisterRflags, "rflags"},
		{WHvX64RegisterRax, "rax"},
		{WHvX64RegisterRbx, "rbx"},
		{WHvX64RegisterRcx, "rcx"},
		{WHvX64RegisterRdx, "rdx"},
		{WHvX64RegisterRsi, "rsi"},
		{WHvX64RegisterRdi, "rdi"},
		{WHvX64RegisterRbp, "rbp"},
		{WHvX64RegisterRsp, "rsp"},
		{WHvX64RegisterR8, "r8"},
		{WHvX64RegisterR9, "r9"},
		{WHvX64RegisterR10, "r10"},
		{WHvX64RegisterR11, "r11"},
		{WHvX64RegisterR12, "r12"},
		{WHvX64RegisterR13, "r13"},
		{WHvX64RegisterR14, "r14"},
		{WHvX64RegisterR15, "r15"},
		{WHvX64RegisterCr0, "cr0"},
		{WHvX64RegisterCr2, "cr2"},
		{WHvX64RegisterCr3, "cr3"},
		{WHvX64RegisterCr4, "cr4"},
		{WHvX64RegisterEfer, "efer"},
		{WHvX64RegisterCs, "cs"},
		{WHvX64RegisterSs, "ss"},
	};
	WHV_REGISTER_NAME names[COUNT(shown)];
	WHV_REGISTER_VALUE values[COUNT(shown)];
	const WHV_X64_SEGMENT_REGISTER *cs = &values[COUNT(shown) - 2].Segment;
	char text[768], bytes[64];
	size_t used = 0;

	for (size_t i = 0; i < COUNT(shown); i++)
		names[i] = shown[i].name;
	if (FAILED(WHvGetVirtualProcessorRegisters(partition, vp, names, COUNT(shown), values))) {
		log_error("%s: processor %u %s; its registers cannot be read", machine, vp, what);
		return;
	}
	for (size_t i = 0; i < COUNT(shown) - 2; i++)
		used += snprintf(text + used, sizeof(text) - used, " %s=%llx", shown[i].text,
			(unsigned long long)values[i].Reg64);
	for (size_t i = COUNT(shown) - 2; i < COUNT(shown); i++)
		used += snprintf(text + used, sizeof(text) - used, " %s=%x/%llx", shown[i].text,
			values[i].Segment.Selector, (unsigned long long)values[i].Segment.Base);
	code_bytes(partition, vp, cs->Long ? values[0].Reg64 : cs->Base + values[0].Reg64, bytes,
		sizeof(bytes));
	log_error("%s: processor %u %s:%s; bytes at rip:%s", machine, vp, what, text, bytes);
}
