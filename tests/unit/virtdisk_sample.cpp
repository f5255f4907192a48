// virtdisk_sample.cpp - a C++ program as one writes it for Windows, compiled against the same
// headers and linked with the library that programs get: it makes a disk, a child, waits for an
// operation with progress, and prints what it finds. The first failure ends it with status 1.
#include <windows.h>

#include <initguid.h>
#include <virtdisk.h>

#include <cstdio>
#include <cstdlib>
#include <string>

static void check(const char *what, DWORD status)
{
	if (status == ERROR_SUCCESS)
		return;
	std::printf("%s: 0x%x\n", what, status);
	std::exit(1);
}

static HANDLE createDisk(PCWSTR path, ULONGLONG size, PCWSTR parent)
{
	VIRTUAL_STORAGE_TYPE type = {
		VIRTUAL_STORAGE_TYPE_DEVICE_VHDX, VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT};
	CREATE_VIRTUAL_DISK_PARAMETERS parameters = {};
	HANDLE disk = INVALID_HANDLE_VALUE;

	parameters.Version = CREATE_VIRTUAL_DISK_VERSION_2;
	parameters.Version2.MaximumSize = size;
	parameters.Version2.BlockSizeInBytes = CREATE_VIRTUAL_DISK_PARAMETERS_DEFAULT_BLOCK_SIZE;
	parameters.Version2.ParentPath = parent;
	check("CreateVirtualDisk",
		CreateVirtualDisk(&type, path, VIRTUAL_DISK_ACCESS_NONE, nullptr,
			CREATE_VIRTUAL_DISK_FLAG_NONE, 0, &parameters, nullptr, &disk));
	return disk;
}

static void waitFor(HANDLE disk, OVERLAPPED &overlapped, DWORD status)
{
	VIRTUAL_DISK_PROGRESS progress = {};

	if (status != ERROR_IO_PENDING)
		check("starting", status);
	do
		check("GetVirtualDiskOperationProgress",
			GetVirtualDiskOperationProgress(disk, &overlapped, &progress));
	while (progress.OperationStatus == ERROR_IO_PENDING &&
		WaitForSingleObject(overlapped.hEvent, 100) == WAIT_TIMEOUT);
	check("waiting", WaitForSingleObject(overlapped.hEvent, INFINITE));
	check("GetVirtualDiskOperationProgress",
		GetVirtualDiskOperationProgress(disk, &overlapped, &progress));
	check("operation", progress.OperationStatus);
	if (progress.CurrentValue != progress.CompletionValue)
		check("progress", ERROR_IO_INCOMPLETE);
}

int main()
{
	char folder[] = "/tmp/partita-sample-XXXXXX";

	if (!mkdtemp(folder))
		return 1;
	std::u16string base, child;
	for (const char *c = folder; *c; c++)
		base += char16_t(*c);
	child = base + u"/child.vhdx";
	base += u"/base.vhdx";

	CloseHandle(createDisk(base.c_str(), 64ull << 20, nullptr));
	HANDLE disk = createDisk(child.c_str(), 0, base.c_str());

	GET_VIRTUAL_DISK_INFO info = {};
	ULONG size = sizeof(info);
	info.Version = GET_VIRTUAL_DISK_INFO_SIZE;
	check("GetVirtualDiskInformation", GetVirtualDiskInformation(disk, &size, &info, nullptr));
	if (info.Size.VirtualSize != 64ull << 20)
		check("VirtualSize", ERROR_INVALID_DATA);

	OVERLAPPED overlapped = {};
	overlapped.hEvent = CreateEvent(nullptr, TRUE, FALSE, nullptr);
	MERGE_VIRTUAL_DISK_PARAMETERS merge = {};
	merge.Version = MERGE_VIRTUAL_DISK_VERSION_1;
	merge.Version1.MergeDepth = MERGE_VIRTUAL_DISK_DEFAULT_MERGE_DEPTH;
	waitFor(disk, overlapped,
		MergeVirtualDisk(disk, MERGE_VIRTUAL_DISK_FLAG_NONE, &merge, &overlapped));
	CloseHandle(overlapped.hEvent);
	CloseHandle(disk);

	VIRTUAL_STORAGE_TYPE type = {
		VIRTUAL_STORAGE_TYPE_DEVICE_UNKNOWN, VIRTUAL_STORAGE_TYPE_VENDOR_UNKNOWN};
	check("OpenVirtualDisk",
		OpenVirtualDisk(&type, base.c_str(),
			VIRTUAL_DISK_ACCESS_MASK(VIRTUAL_DISK_ACCESS_GET_INFO),
			OPEN_VIRTUAL_DISK_FLAG_NO_PARENTS | OPEN_VIRTUAL_DISK_FLAG_CACHED_IO,
			nullptr, &disk));
	CloseHandle(disk);
	return std::system((std::string("rm -r ") + folder).c_str()) != 0;
}
