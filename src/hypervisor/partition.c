/*
 * partition.c - creating, setting up, resetting and deleting partitions; their time.
 */
#include "hypervisor/partition.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct partition *partition_from(WHV_PARTITION_HANDLE handle)
{
	struct partition *p = handle;

	return p && p->magic == PARTITION_MAGIC ? p : NULL;
}

struct partition *partition_ready(WHV_PARTITION_HANDLE handle)
{
	struct partition *p = partition_from(handle);

	return p && p->ready ? p : NULL;
}

bool partition_claim_vps(struct partition *p)
{
	for (unsigned i = 0; i < VP_MAX; i++) {
		struct vp *vp = partition_vp(p, i);

		if (!vp || vp_claim(vp))
			continue;
		while (i--) {
			vp = partition_vp(p, i);
			if (vp)
				vp_release(vp);
		}
		return false;
	}
	pthread_mutex_lock(&p->timers.still);
	return true;
}

void partition_release_vps(struct partition *p)
{
	pthread_mutex_unlock(&p->timers.still);
	for (unsigned i = 0; i < VP_MAX; i++) {
		struct vp *vp = partition_vp(p, i);

		if (vp)
			vp_release(vp);
	}
}

struct partition *partition_new(const struct engine *engine)
{
	struct partition *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->engine = engine;
	engine->info(&p->info);
	if (memory_init(&p->memory))
		goto no_memory;
	if (ports_init(&p->ports))
		goto no_ports;
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->msr_lock, NULL);
	pthread_mutex_init(&p->timers.still, NULL);
	properties_init(&p->prop, engine, &p->info);
	p->magic = PARTITION_MAGIC;
	return p;
no_ports:
	memory_free(&p->memory);
no_memory:
	free(p);
	return NULL;
}

HRESULT WINAPI WHvCreatePartition(WHV_PARTITION_HANDLE *Partition)
{
	const char *wanted = engine_wanted(), *why = NULL;
	const struct engine *engine = engine_choose(wanted, &why);

	if (!Partition)
		return E_POINTER;
	*Partition = NULL;
	if (!engine) {
		log_error("PARTITA_ENGINE=%s: %s", wanted, why);
		return WHV_E_UNSUPPORTED_HYPERVISOR_CONFIG;
	}
	*Partition = partition_new(engine);
	return *Partition ? S_OK : E_OUTOFMEMORY;
}

static HRESULT setup(struct partition *p)
{
	if (p->ready)
		return HRESULT_FROM_WIN32(ERROR_INVALID_STATE);
	if (!p->prop.processor_count)
		return WHV_E_INVALID_PARTITION_CONFIG;
	p->machine = p->engine->machine_create(p->prop.processor_count);
	if (!p->machine)
		return E_OUTOFMEMORY;
	p->memory.engine = p->engine;
	p->memory.machine = p->machine;
	p->apic = p->prop.apic_mode != WHvX64LocalApicEmulationModeNone;
	clock_start(&p->clock, p->prop.clock_frequency);
	cpuid_setup(p);
	if (timers_start(p)) {
		p->engine->machine_destroy(p->machine);
		p->machine = NULL;
		return E_OUTOFMEMORY;
	}
	p->ready = true;
	return S_OK;
}

HRESULT WINAPI WHvSetupPartition(WHV_PARTITION_HANDLE Partition)
{
	struct partition *p = partition_from(Partition);
	HRESULT hr;

	if (!p)
		return E_INVALIDARG;
	pthread_mutex_lock(&p->lock);
	hr = setup(p);
	pthread_mutex_unlock(&p->lock);
	return hr;
}

/* All vps are claimed. */
static void reset(struct partition *p)
{
	clock_start(&p->clock, p->prop.clock_frequency);
	p->guest_os_id = 0;
	p->hypercall = 0;
	p->reference_tsc = 0;
	p->tsc_invariant = 0;
	for (unsigned i = 0; i < p->prop.processor_count; i++) {
		struct vp *vp = partition_vp(p, i);

		if (vp)
			vp_reset(vp);
	}
	/* As documented, time is frozen until a vp runs. */
	clock_suspend(&p->clock);
}

HRESULT WINAPI WHvResetPartition(WHV_PARTITION_HANDLE Partition)
{
	struct partition *p = partition_ready(Partition);
	HRESULT hr = S_OK;

	if (!p)
		return E_INVALIDARG;
	pthread_mutex_lock(&p->lock);
	if (partition_claim_vps(p)) {
		reset(p);
		partition_release_vps(p);
	} else {
		hr = HRESULT_FROM_WIN32(ERROR_INVALID_STATE);
	}
	pthread_mutex_unlock(&p->lock);
	return hr;
}

HRESULT WINAPI WHvDeletePartition(WHV_PARTITION_HANDLE Partition)
{
	struct partition *p = partition_from(Partition);

	if (!p)
		return E_INVALIDARG;
	p->magic = 0;
	timers_stop(p);
	for (unsigned i = 0; i < VP_MAX; i++) {
		struct vp *vp = partition_vp(p, i);

		if (vp)
			vp_free(vp);
		if (p->deleted[i])
			vp_free(p->deleted[i]);
	}
	if (p->machine)
		p->engine->machine_destroy(p->machine);
	ports_free(&p->ports);
	memory_free(&p->memory);
	properties_free(&p->prop);
	pthread_mutex_destroy(&p->lock);
	pthread_mutex_destroy(&p->msr_lock);
	pthread_mutex_destroy(&p->timers.still);
	free(p);
	return S_OK;
}

HRESULT WINAPI WHvSuspendPartitionTime(WHV_PARTITION_HANDLE Partition)
{
	struct partition *p = partition_ready(Partition);
	HRESULT hr = S_OK;

	if (!p)
		return E_INVALIDARG;
	pthread_mutex_lock(&p->lock);
	if (partition_claim_vps(p)) {
		clock_suspend(&p->clock);
		partition_release_vps(p);
	} else {
		hr = WHV_E_INVALID_VP_STATE;
	}
	pthread_mutex_unlock(&p->lock);
	return hr;
}

HRESULT WINAPI WHvResumePartitionTime(WHV_PARTITION_HANDLE Partition)
{
	struct partition *p = partition_ready(Partition);
	HRESULT hr = S_OK;
	int64_t moved;

	if (!p)
		return E_INVALIDARG;
	pthread_mutex_lock(&p->lock);
	if (!p->clock.suspended) {
		/* Another thread was first. */
	} else if (partition_claim_vps(p)) {
		moved = clock_resume(&p->clock);
		for (unsigned i = 0; i < p->prop.processor_count; i++) {
			struct vp *vp = partition_vp(p, i);

			if (vp) {
				vp_state(vp)->tsc_offset += (uint64_t)moved;
				vp_changed(vp);
			}
		}
		partition_release_vps(p);
	} else {
		hr = WHV_E_INVALID_VP_STATE;
	}
	pthread_mutex_unlock(&p->lock);
	return hr;
}
