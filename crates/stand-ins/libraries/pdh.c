// A stand-in for Windows' performance counters, and not Windows: the eleven that kubelet.exe 1.20 reads, of which Wine has
// none that it can. Processor and memory are this machine's; of network adapters there is one, on which nothing ever moves.
// Any other counter is refused.
#include <windows.h>
#include <pdh.h>
#include <pdhmsg.h>

// Exported under this very name as well.
#undef PdhOpenQuery

enum kind { PROCESSOR, WORKING_SET, COMMITTED, ADAPTER };

struct counter {
    enum kind kind;
    ULONGLONG idle, all;
    double value;
    struct counter *next;
};

struct query {
    struct counter *counters;
};

static const struct {
    const WCHAR *path;
    enum kind kind;
} COUNTERS[] = {
    {L"\\Processor(_Total)\\% Processor Time", PROCESSOR},
    {L"\\Process(_Total)\\Working Set - Private", WORKING_SET},
    {L"\\Memory\\Committed Bytes", COMMITTED},
    {L"\\Network Adapter(*)\\Packets Received/sec", ADAPTER},
    {L"\\Network Adapter(*)\\Packets Sent/sec", ADAPTER},
    {L"\\Network Adapter(*)\\Bytes Received/sec", ADAPTER},
    {L"\\Network Adapter(*)\\Bytes Sent/sec", ADAPTER},
    {L"\\Network Adapter(*)\\Packets Received Discarded", ADAPTER},
    {L"\\Network Adapter(*)\\Packets Received Errors", ADAPTER},
    {L"\\Network Adapter(*)\\Packets Outbound Discarded", ADAPTER},
    {L"\\Network Adapter(*)\\Packets Outbound Errors", ADAPTER},
};

static int find(const WCHAR *path) {
    for (unsigned at = 0; at < sizeof COUNTERS / sizeof *COUNTERS; at++)
        if (!lstrcmpiW(COUNTERS[at].path, path)) return (int)at;
    return -1;
}

__declspec(dllexport) PDH_STATUS WINAPI PdhValidatePathW(LPCWSTR path) {
    return find(path) < 0 ? PDH_CSTATUS_NO_COUNTER : ERROR_SUCCESS;
}

__declspec(dllexport) PDH_STATUS WINAPI PdhOpenQuery(LPCWSTR source, DWORD_PTR user, PDH_HQUERY *query) {
    *query = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof(struct query));
    return *query ? ERROR_SUCCESS : PDH_MEMORY_ALLOCATION_FAILURE;
}

__declspec(dllexport) PDH_STATUS WINAPI PdhAddEnglishCounterW(PDH_HQUERY handle, LPCWSTR path, DWORD_PTR user,
                                                              PDH_HCOUNTER *counter) {
    struct query *query = handle;
    int known = find(path);
    if (known < 0) return PDH_CSTATUS_NO_COUNTER;
    struct counter *added = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof *added);
    if (!added) return PDH_MEMORY_ALLOCATION_FAILURE;
    added->kind = COUNTERS[known].kind;
    added->next = query->counters;
    query->counters = added;
    *counter = added;
    return ERROR_SUCCESS;
}

__declspec(dllexport) PDH_STATUS WINAPI PdhAddCounterW(PDH_HQUERY query, LPCWSTR path, DWORD_PTR user,
                                                       PDH_HCOUNTER *counter) {
    return PdhAddEnglishCounterW(query, path, user, counter);
}

__declspec(dllexport) PDH_STATUS WINAPI PdhCloseQuery(PDH_HQUERY handle) {
    struct query *query = handle;
    for (struct counter *counter = query->counters, *next; counter; counter = next) {
        next = counter->next;
        HeapFree(GetProcessHeap(), 0, counter);
    }
    HeapFree(GetProcessHeap(), 0, query);
    return ERROR_SUCCESS;
}

static ULONGLONG number(FILETIME time) {
    return (ULONGLONG)time.dwHighDateTime << 32 | time.dwLowDateTime;
}

static void collect(struct counter *counter) {
    MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
    FILETIME idle, kernel, user;
    switch (counter->kind) {
    case PROCESSOR:
        if (!GetSystemTimes(&idle, &kernel, &user)) return;
        // The kernel's time has the idle one in it.
        ULONGLONG all = number(kernel) + number(user), passed = all - counter->all;
        if (counter->all && passed) counter->value = 100.0 * (1.0 - (double)(number(idle) - counter->idle) / passed);
        counter->idle = number(idle);
        counter->all = all;
        return;
    case WORKING_SET:
        if (GlobalMemoryStatusEx(&memory)) counter->value = (double)(memory.ullTotalPhys - memory.ullAvailPhys);
        return;
    case COMMITTED:
        if (GlobalMemoryStatusEx(&memory)) counter->value = (double)(memory.ullTotalPageFile - memory.ullAvailPageFile);
        return;
    case ADAPTER:
        return;
    }
}

__declspec(dllexport) PDH_STATUS WINAPI PdhCollectQueryData(PDH_HQUERY handle) {
    struct query *query = handle;
    for (struct counter *counter = query->counters; counter; counter = counter->next) collect(counter);
    return ERROR_SUCCESS;
}

static PDH_STATUS format(struct counter *counter, DWORD format, PDH_FMT_COUNTERVALUE *value) {
    if (!(format & PDH_FMT_DOUBLE)) return PDH_INVALID_ARGUMENT;
    value->CStatus = PDH_CSTATUS_VALID_DATA;
    value->doubleValue = counter->value;
    return ERROR_SUCCESS;
}

__declspec(dllexport) PDH_STATUS WINAPI PdhGetFormattedCounterValue(PDH_HCOUNTER counter, DWORD kind, LPDWORD type,
                                                                    PPDH_FMT_COUNTERVALUE value) {
    if (type) *type = 0;
    return format(counter, kind, value);
}

__declspec(dllexport) PDH_STATUS WINAPI PdhGetFormattedCounterArrayW(PDH_HCOUNTER handle, DWORD kind, LPDWORD size,
                                                                     LPDWORD count, PPDH_FMT_COUNTERVALUE_ITEM_W items) {
    struct counter *counter = handle;
    const WCHAR *name = counter->kind == ADAPTER ? L"stand-in adapter" : L"_Total";
    DWORD needed = (DWORD)(sizeof *items + (lstrlenW(name) + 1) * sizeof *name);
    *count = 1;
    if (*size < needed) {
        *size = needed;
        return PDH_MORE_DATA;
    }
    items->szName = (WCHAR *)(items + 1);
    lstrcpyW(items->szName, name);
    return format(counter, kind, &items->FmtValue);
}
