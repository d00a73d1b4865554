// A stand-in for what Wine's iphlpapi.dll lacks, and not Windows: adapters with the names that Windows gives them (Wine's
// are those of Linux, of 15 letters at most), adapters that are no hardware, ask DHCP, or were taken by a switch, and whether
// an adapter forwards.
//
// All else is Wine's own, which lies beside it as iphlpapi-of-wine.dll: whoever builds this writes a .def file that
// forwards every other export to it. What Linux does not know is kept in the registry, in three keys with values that are
// named as Linux calls the adapter.
#include <winsock2.h>
#include <ws2ipdef.h>
#include <windows.h>
#include <iphlpapi.h>
#include <netioapi.h>
#include <stdio.h>

#define NAMES L"SOFTWARE\\k8swin stand-ins\\Adapters"
#define DHCP L"SOFTWARE\\k8swin stand-ins\\Dhcp"
#define TAKEN L"SOFTWARE\\k8swin stand-ins\\Taken"

// What the names of all adapters need beyond what Wine asks for.
#define ROOM 8192

static FARPROC of_wine(const char *name) {
    return GetProcAddress(LoadLibraryW(L"iphlpapi-of-wine.dll"), name);
}

// The name that Windows would have for an adapter, if one was given to it.
static int name_of(const WCHAR *linux_name, WCHAR *name, DWORD size) {
    return RegGetValueW(HKEY_LOCAL_MACHINE, NAMES, linux_name, RRF_RT_REG_SZ, NULL, name, &size) == ERROR_SUCCESS;
}

static int has(const WCHAR *key, const WCHAR *linux_name) {
    return RegGetValueW(HKEY_LOCAL_MACHINE, key, linux_name, RRF_RT_REG_SZ, NULL, NULL, NULL) == ERROR_SUCCESS;
}

// Whether Linux has an adapter: Wine goes on listing those that are gone.
static int is_there(const WCHAR *linux_name) {
    WCHAR path[MAX_PATH];
    swprintf(path, MAX_PATH, L"\\\\?\\unix\\proc\\sys\\net\\ipv4\\conf\\%ls", linux_name);
    return GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES;
}

__declspec(dllexport) ULONG WINAPI GetAdaptersAddresses(ULONG family, ULONG flags, void *reserved,
                                                        IP_ADAPTER_ADDRESSES *buffer, ULONG *size) {
    ULONG (WINAPI *wine)(ULONG, ULONG, void *, IP_ADAPTER_ADDRESSES *, ULONG *) = (void *)of_wine("GetAdaptersAddresses");
    ULONG given = *size, wanted = given > ROOM ? given - ROOM : 0;
    ULONG code = wine(family, flags, reserved, wanted ? buffer : NULL, &wanted);
    *size = wanted + ROOM;
    if (code != ERROR_SUCCESS) return code;
    WCHAR *room = (WCHAR *)((char *)buffer + ((given - ROOM) & ~1UL));
    DWORD left = ROOM;
    IP_ADAPTER_ADDRESSES *before = NULL;
    for (IP_ADAPTER_ADDRESSES *adapter = buffer; adapter; adapter = adapter->Next) {
        // IPv4 is not bound to what a switch has taken. The first one is the loopback adapter.
        if (before && (has(TAKEN, adapter->FriendlyName) || !is_there(adapter->FriendlyName))) {
            before->Next = adapter->Next;
            continue;
        }
        before = adapter;
        if (has(DHCP, adapter->FriendlyName)) adapter->Flags |= IP_ADAPTER_DHCP_ENABLED;
        if (!name_of(adapter->FriendlyName, room, left)) continue;
        DWORD length = (DWORD)(wcslen(room) + 1);
        adapter->FriendlyName = room;
        room += length;
        left -= length * sizeof(WCHAR);
    }
    return ERROR_SUCCESS;
}

static void rename_row(MIB_IF_ROW2 *row) {
    WCHAR name[IF_MAX_STRING_SIZE + 1];
    if (!name_of(row->Alias, name, sizeof name)) return;
    wcscpy(row->Alias, name);
    // What a virtual switch brings is called so.
    if (!wcsncmp(name, L"vEthernet (", 11)) row->InterfaceAndOperStatusFlags.HardwareInterface = FALSE;
}

__declspec(dllexport) ULONG WINAPI GetIfEntry2(MIB_IF_ROW2 *row) {
    ULONG (WINAPI *wine)(MIB_IF_ROW2 *) = (void *)of_wine("GetIfEntry2");
    ULONG code = wine(row);
    if (code == ERROR_SUCCESS) rename_row(row);
    return code;
}

__declspec(dllexport) ULONG WINAPI GetIfTable2(MIB_IF_TABLE2 **table) {
    ULONG (WINAPI *wine)(MIB_IF_TABLE2 **) = (void *)of_wine("GetIfTable2");
    ULONG code = wine(table);
    if (code != ERROR_SUCCESS) return code;
    ULONG kept = 0;
    for (ULONG row = 0; row < (*table)->NumEntries; row++) {
        if (!is_there((*table)->Table[row].Alias)) continue;
        (*table)->Table[kept] = (*table)->Table[row];
        rename_row(&(*table)->Table[kept++]);
    }
    (*table)->NumEntries = kept;
    return ERROR_SUCCESS;
}

// Wine's adapters are those of Linux: so is their forwarding.
__declspec(dllexport) ULONG WINAPI GetIpInterfaceEntry(MIB_IPINTERFACE_ROW *row) {
    ULONG (WINAPI *wine)(MIB_IF_ROW2 *) = (void *)of_wine("GetIfEntry2");
    MIB_IF_ROW2 adapter = {0};
    WCHAR path[MAX_PATH];
    char value = '0';
    DWORD read = 0;
    if (row->Family != AF_INET) return ERROR_NOT_FOUND;
    adapter.InterfaceLuid = row->InterfaceLuid;
    adapter.InterfaceIndex = row->InterfaceIndex;
    ULONG code = wine(&adapter);
    if (code != ERROR_SUCCESS) return code;
    swprintf(path, MAX_PATH, L"\\\\?\\unix\\proc\\sys\\net\\ipv4\\conf\\%ls\\forwarding", adapter.Alias);
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE) return ERROR_NOT_FOUND;
    BOOL done = ReadFile(file, &value, 1, &read, NULL);
    CloseHandle(file);
    if (!done) return ERROR_READ_FAULT;
    row->InterfaceLuid = adapter.InterfaceLuid;
    row->InterfaceIndex = adapter.InterfaceIndex;
    row->ForwardingEnabled = read == 1 && value == '1';
    row->Connected = TRUE;
    row->NlMtu = adapter.Mtu;
    return ERROR_SUCCESS;
}
