// header.cpp - hvsocket.h in C++, beside the C library's own, with the GUIDs from libhvsocket.
#include <sys/socket.h>

#include <hvsocket.h>

#include <cstdio>

int main()
{
	SOCKADDR_HV a = {};
	socklen_t length = sizeof(a);
	int s = socket(AF_HYPERV, SOCK_STREAM, HV_PROTOCOL_RAW);
	ULONG timeout = 1000;

	a.Family = AF_HYPERV;
	a.VmId = HV_GUID_WILDCARD;
	a.ServiceId = HV_GUID_VSOCK_TEMPLATE;
	a.ServiceId.Data1 = 5999;
	if (setsockopt(s, HV_PROTOCOL_RAW, HVSOCKET_CONNECT_TIMEOUT,
		    reinterpret_cast<const char *>(&timeout), sizeof(timeout)) ||
		bind(s, reinterpret_cast<sockaddr *>(&a), sizeof(a)) ||
		getsockname(s, reinterpret_cast<sockaddr *>(&a), &length)) {
		std::perror("header");
		return 1;
	}
	return a.ServiceId.Data1 == 5999 && IsEqualGUID(a.VmId, HV_GUID_ZERO) ? 0 : 1;
}
