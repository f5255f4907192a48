/*
 * family.c - addresses as programs of AF_HYPERV and AF_VSOCK have them. See family.h.
 */
#include "hvsocket/family.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <linux/vm_sockets.h>

#include "base/guid.h"
#include "hvsocket/places.h"

#define SOCKET_TYPE_MASK 0xf
#define FREE_PORT_MIN	 0x80000000u /* above what anybody listens at */

static int hyperv_family(void)
{
	const char *value = getenv("PARTITA_AF_HYPERV");
	int family = value ? atoi(value) : 0;

	return family > 0 ? family : AF_HYPERV;
}

static bool vsock_is_ours(void)
{
	const char *value = getenv("PARTITA_VSOCK");

	return !value || strcmp(value, "0");
}

bool family_is_ours(int family, int type, int protocol)
{
	if ((type & SOCKET_TYPE_MASK) != SOCK_STREAM)
		return false;
	if (family == AF_VSOCK)
		return !protocol && vsock_is_ours();
	return family == hyperv_family() && (!protocol || protocol == HV_PROTOCOL_RAW);
}

/* ---- Contexts of AF_VSOCK -------------------------------------------------------------------- */

static int read_context(uint32_t cid, GUID *vm)
{
	switch (cid) {
	case VMADDR_CID_ANY:
		*vm = hv_zero;
		return 0;
	case VMADDR_CID_LOCAL:
		*vm = hv_loopback;
		return 0;
	case VMADDR_CID_HOST:
		*vm = hv_parent;
		return 0;
	default:
		return hv_place_find_cid(cid, vm) ? 0 : -ENODEV;
	}
}

static uint32_t context_of(const GUID *vm)
{
	uint32_t cid;

	if (guid_equal(vm, &hv_loopback))
		return VMADDR_CID_LOCAL;
	if (guid_equal(vm, &hv_parent))
		return VMADDR_CID_HOST;
	return hv_is_machine(vm) && hv_place_cid_of(vm, &cid) ? cid : VMADDR_CID_ANY;
}

/* ---- Addresses ------------------------------------------------------------------------------ */

static int read_vsock(const void *name, socklen_t length, struct hv_address *a)
{
	struct sockaddr_vm vm;

	if (length < sizeof(vm))
		return -EINVAL;
	memcpy(&vm, name, sizeof(vm));
	if (vm.svm_family != AF_VSOCK)
		return -EAFNOSUPPORT;
	a->service = vm.svm_port == VMADDR_PORT_ANY ? hv_zero : hv_service_of_port(vm.svm_port);
	return read_context(vm.svm_cid, &a->vm);
}

int family_read(int family, const struct sockaddr *name, socklen_t length, struct hv_address *a)
{
	SOCKADDR_HV hv;

	if (!name)
		return -EFAULT;
	if (family == AF_VSOCK)
		return read_vsock(name, length, a);
	if (length < sizeof(hv))
		return -EINVAL;
	memcpy(&hv, name, sizeof(hv));
	if (hv.Family != family)
		return -EAFNOSUPPORT;
	*a = (struct hv_address){hv.VmId, hv.ServiceId};
	return 0;
}

void family_write(int family, const struct hv_address *a, struct sockaddr *name, socklen_t *length)
{
	SOCKADDR_HV hv = {.Family = family, .VmId = a->vm, .ServiceId = a->service};
	struct sockaddr_vm vm = {.svm_family = AF_VSOCK};
	const void *whole = family == AF_VSOCK ? (const void *)&vm : &hv;
	const socklen_t size = family == AF_VSOCK ? sizeof(vm) : sizeof(hv);

	if (family == AF_VSOCK) {
		vm.svm_cid = context_of(&a->vm);
		if (!hv_port_of_service(&a->service, &vm.svm_port))
			vm.svm_port = VMADDR_PORT_ANY;
	}
	memcpy(name, whole, *length < size ? *length : size);
	*length = size;
}

GUID family_free_service(int family)
{
	uint32_t number = 0;
	GUID service;

	if (family != AF_VSOCK) {
		guid_new(&service);
		return service;
	}
	while (getrandom(&number, sizeof(number), 0) != sizeof(number))
		;
	return hv_service_of_port((number | FREE_PORT_MIN) - (number == UINT32_MAX));
}
