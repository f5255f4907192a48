/*
 * translate.c - guest memory as the client reaches it: mapping, WHvTranslateGva, reading and
 * writing a few bytes.
 */
#include "hypervisor/partition.h"

#include <errno.h>
#include <string.h>

#define FLAGS_MAP                                                                                  \
	(WHvMapGpaRangeFlagRead | WHvMapGpaRangeFlagWrite | WHvMapGpaRangeFlagExecute |            \
		WHvMapGpaRangeFlagTrackDirtyPages)
#define FLAGS_TRANSLATE                                                                            \
	(WHvTranslateGvaFlagValidateRead | WHvTranslateGvaFlagValidateWrite |                      \
		WHvTranslateGvaFlagValidateExecute | WHvTranslateGvaFlagPrivilegeExempt |          \
		WHvTranslateGvaFlagSetPageTableBits | WHvTranslateGvaFlagEnforceSmap |             \
		WHvTranslateGvaFlagOverrideSmap)

#define PF_PRESENT  1u
#define PF_RESERVED 8u

static HRESULT from_errno(int err)
{
	switch (err) {
	case 0:
		return S_OK;
	case -ENOMEM:
		return E_OUTOFMEMORY;
	case -ENOENT:
		return WHV_E_GPA_RANGE_NOT_FOUND;
	default:
		return E_INVALIDARG;
	}
}

HRESULT WINAPI WHvMapGpaRange(WHV_PARTITION_HANDLE Partition, VOID *SourceAddress,
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, UINT64 SizeInBytes, WHV_MAP_GPA_RANGE_FLAGS Flags)
{
	struct partition *p = partition_ready(Partition);
	unsigned rights = 0;

	if (!p || ((unsigned)Flags & ~FLAGS_MAP))
		return E_INVALIDARG;
	if (Flags & WHvMapGpaRangeFlagTrackDirtyPages)
		return HRESULT_FROM_WIN32(ERROR_NOT_SUPPORTED);
	if (GuestAddress + SizeInBytes < GuestAddress ||
		GuestAddress + SizeInBytes > 1ull << p->prop.physical_width)
		return E_INVALIDARG;
	rights |= Flags & WHvMapGpaRangeFlagRead ? X86_MAP_READ : 0;
	rights |= Flags & WHvMapGpaRangeFlagWrite ? X86_MAP_WRITE : 0;
	rights |= Flags & WHvMapGpaRangeFlagExecute ? X86_MAP_EXEC : 0;
	return from_errno(memory_map(&p->memory, GuestAddress, SourceAddress, SizeInBytes, rights));
}

HRESULT WINAPI WHvMapGpaRange2(WHV_PARTITION_HANDLE Partition, HANDLE Process, VOID *SourceAddress,
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, UINT64 SizeInBytes, WHV_MAP_GPA_RANGE_FLAGS Flags)
{
	/* Only the calling process's memory can back a guest here. */
	if (Process && Process != INVALID_HANDLE_VALUE)
		return HRESULT_FROM_WIN32(ERROR_NOT_SUPPORTED);
	return WHvMapGpaRange(Partition, SourceAddress, GuestAddress, SizeInBytes, Flags);
}

HRESULT WINAPI WHvUnmapGpaRange(
	WHV_PARTITION_HANDLE Partition, WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, UINT64 SizeInBytes)
{
	struct partition *p = partition_ready(Partition);

	return p ? from_errno(memory_unmap(&p->memory, GuestAddress, SizeInBytes)) : E_INVALIDARG;
}

static WHV_TRANSLATE_GVA_RESULT_CODE result_of(uint32_t fault)
{
	if (!(fault & X86_TRANSLATE_FAULT))
		return WHvTranslateGvaResultSuccess;
	if (!(fault & PF_PRESENT))
		return WHvTranslateGvaResultPageNotPresent;
	return fault & PF_RESERVED ? WHvTranslateGvaResultInvalidPageTableFlags
				   : WHvTranslateGvaResultPrivilegeViolation;
}

/* Translate as each of the accesses asked for; a read where none is. */
static uint32_t translate(struct vp *vp, uint64_t gva, unsigned flags, uint64_t *gpa)
{
	static const struct {
		unsigned flag, access;
	} accesses[] = {
		{WHvTranslateGvaFlagValidateWrite, X86_ACCESS_WRITE},
		{WHvTranslateGvaFlagValidateExecute, X86_ACCESS_EXEC},
		{WHvTranslateGvaFlagValidateRead, X86_ACCESS_READ},
	};
	unsigned cpl = flags & WHvTranslateGvaFlagPrivilegeExempt ? 0 : vp_state(vp)->cpl;
	bool any = false;

	for (unsigned i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
		uint32_t fault;

		if (!(flags & accesses[i].flag))
			continue;
		fault = vp->engine->vp_translate(vp->engine_vp, gva, accesses[i].access, cpl, gpa);
		if (fault)
			return fault;
		any = true;
	}
	return any ? 0 : vp->engine->vp_translate(vp->engine_vp, gva, X86_ACCESS_READ, cpl, gpa);
}

HRESULT WINAPI WHvTranslateGva(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_GUEST_VIRTUAL_ADDRESS Gva, WHV_TRANSLATE_GVA_FLAGS TranslateFlags,
	WHV_TRANSLATE_GVA_RESULT *TranslationResult, WHV_GUEST_PHYSICAL_ADDRESS *Gpa)
{
	bool sound = TranslationResult && Gpa && !((unsigned)TranslateFlags & ~FLAGS_TRANSLATE);
	struct vp *vp;
	HRESULT hr = vp_claim_by_index(Partition, VpIndex, sound, &vp);
	uint64_t gpa = 0;
	uint32_t fault;

	if (FAILED(hr))
		return hr;
	fault = translate(vp, Gva, TranslateFlags, &gpa);
	vp_release(vp);
	memset(TranslationResult, 0, sizeof(*TranslationResult));
	TranslationResult->ResultCode = result_of(fault);
	*Gpa = fault ? 0 : gpa;
	return S_OK;
}

static HRESULT check_access(struct partition *p, uint32_t index, WHV_ACCESS_GPA_CONTROLS controls,
	const void *data, uint32_t size)
{
	if (!p || !data || !size || size > WHV_READ_WRITE_GPA_RANGE_MAX_SIZE)
		return E_INVALIDARG;
	if (controls.Reserved || controls.Reserved1 || controls.InputVtl.AsUINT8)
		return E_INVALIDARG;
	switch (controls.CacheType) {
	case WHvCacheTypeUncached:
	case WHvCacheTypeWriteCombining:
	case WHvCacheTypeWriteThrough:
	case WHvCacheTypeWriteProtected:
	case WHvCacheTypeWriteBack:
		break;
	default:
		return E_INVALIDARG;
	}
	return partition_vp(p, index) ? S_OK : WHV_E_VP_DOES_NOT_EXIST;
}

HRESULT WINAPI WHvReadGpaRange(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, WHV_ACCESS_GPA_CONTROLS Controls, PVOID Data,
	UINT32 DataSizeInBytes)
{
	struct partition *p = partition_ready(Partition);
	HRESULT hr = check_access(p, VpIndex, Controls, Data, DataSizeInBytes);

	if (FAILED(hr))
		return hr;
	return memory_read(&p->memory, GuestAddress, Data, DataSizeInBytes) ? E_ACCESSDENIED : S_OK;
}

HRESULT WINAPI WHvWriteGpaRange(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, WHV_ACCESS_GPA_CONTROLS Controls, const VOID *Data,
	UINT32 DataSizeInBytes)
{
	struct partition *p = partition_ready(Partition);
	HRESULT hr = check_access(p, VpIndex, Controls, Data, DataSizeInBytes);

	if (FAILED(hr))
		return hr;
	return memory_write(&p->memory, GuestAddress, Data, DataSizeInBytes) ? E_ACCESSDENIED
									     : S_OK;
}

static HRESULT advise(
	struct partition *p, const WHV_MEMORY_RANGE_ENTRY *range, WHV_ADVISE_GPA_RANGE_CODE advice)
{
	bool known;

	if (!range->SizeInBytes ||
		((range->GuestAddress | range->SizeInBytes) & (HV_PAGE_SIZE - 1)))
		return E_INVALIDARG;
	known = advice == WHvAdviseGpaRangeCodeUnpin
			? !memory_written(&p->memory, range->GuestAddress, range->SizeInBytes)
			: memory_mapped(&p->memory, range->GuestAddress, range->SizeInBytes);
	return known ? S_OK : WHV_E_GPA_RANGE_NOT_FOUND;
}

HRESULT WINAPI WHvAdviseGpaRange(WHV_PARTITION_HANDLE Partition,
	const WHV_MEMORY_RANGE_ENTRY *GpaRanges, UINT32 GpaRangesCount,
	WHV_ADVISE_GPA_RANGE_CODE Advice, const VOID *AdviceBuffer, UINT32 AdviceBufferSizeInBytes)
{
	struct partition *p = partition_ready(Partition);
	HRESULT hr = S_OK;

	if (!p || !GpaRanges || !GpaRangesCount)
		return E_INVALIDARG;
	if (Advice == WHvAdviseGpaRangeCodePopulate)
		return E_NOTIMPL;
	if ((Advice != WHvAdviseGpaRangeCodePin && Advice != WHvAdviseGpaRangeCodeUnpin) ||
		AdviceBufferSizeInBytes)
		return E_INVALIDARG;
	for (UINT32 i = 0; i < GpaRangesCount && SUCCEEDED(hr); i++)
		hr = advise(p, &GpaRanges[i], Advice);
	return hr;
}
