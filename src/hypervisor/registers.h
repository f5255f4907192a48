/*
 * registers.h - the registers of the API that are not the processor core's.
 */
#ifndef PARTITA_HYPERVISOR_REGISTERS_H
#define PARTITA_HYPERVISOR_REGISTERS_H

#include "hypervisor/partition.h"

/* *value is zero on entry. WHV_E_INVALID_VP_REGISTER_NAME: there is no such register. */
HRESULT register_msr_get(struct vp *vp, WHV_REGISTER_NAME name, WHV_REGISTER_VALUE *value);
HRESULT register_msr_set(struct vp *vp, WHV_REGISTER_NAME name, const WHV_REGISTER_VALUE *value);

#endif
