// A stand-in for dismapi.dll, and not Windows: features that are installed take effect with the next boot.
//
// State is in the registry: below KEY, a value for each installed feature; those that wait for the boot have one in the
// volatile key below it, which is gone after the boot by itself.
#include <windows.h>

#define KEY L"SOFTWARE\\k8swin stand-ins\\Features"
#define WAITING KEY L"\\AfterReboot"
#define PENDING L"SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending"

enum { STAGED = 2, INSTALLED = 4, INSTALL_PENDING = 5 };

// What DISM answers for a name that it does not know.
#define UNKNOWN_FEATURE ((HRESULT)0x800F080C)

// The beginning of DismFeatureInfo, whose header packs structures.
#pragma pack(push, 1)
struct feature_info {
    const WCHAR *name;
    UINT state;
    char rest[64];
};
#pragma pack(pop)

static int is_known(const WCHAR *name) {
    return !lstrcmpW(name, L"Containers") || !lstrcmpW(name, L"RasRoutingProtocols");
}

static int has(const WCHAR *key, const WCHAR *name) {
    return RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_REG_DWORD, NULL, NULL, NULL) == ERROR_SUCCESS;
}

static LSTATUS put(const WCHAR *path, DWORD options, const WCHAR *name) {
    HKEY key;
    DWORD one = 1;
    LSTATUS code = RegCreateKeyExW(HKEY_LOCAL_MACHINE, path, 0, NULL, options, KEY_SET_VALUE, NULL, &key, NULL);
    if (code == ERROR_SUCCESS) {
        code = RegSetValueExW(key, name, 0, REG_DWORD, (BYTE *)&one, sizeof one);
        RegCloseKey(key);
    }
    return code;
}

__declspec(dllexport) HRESULT WINAPI DismInitialize(UINT level, const WCHAR *log, const WCHAR *scratch) { return S_OK; }
__declspec(dllexport) HRESULT WINAPI DismShutdown(void) { return S_OK; }
__declspec(dllexport) HRESULT WINAPI DismOpenSession(const WCHAR *image, const WCHAR *windows, const WCHAR *drive, UINT *session) {
    *session = 1;
    return S_OK;
}
__declspec(dllexport) HRESULT WINAPI DismCloseSession(UINT session) { return session == 1 ? S_OK : E_INVALIDARG; }

__declspec(dllexport) HRESULT WINAPI DismGetFeatureInfo(UINT session, const WCHAR *name, const WCHAR *package, UINT kind,
                                                        struct feature_info **info) {
    if (!is_known(name)) return UNKNOWN_FEATURE;
    *info = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof **info);
    if (!*info) return E_OUTOFMEMORY;
    (*info)->state = has(WAITING, name) ? INSTALL_PENDING : has(KEY, name) ? INSTALLED : STAGED;
    return S_OK;
}

__declspec(dllexport) HRESULT WINAPI DismEnableFeature(UINT session, const WCHAR *name, const WCHAR *package, UINT kind,
                                                       BOOL limited, const WCHAR **sources, UINT count, BOOL all,
                                                       HANDLE cancel, void *progress, void *data) {
    if (!is_known(name)) return UNKNOWN_FEATURE;
    if (has(KEY, name)) return S_OK;
    // First what says that it waits: a feature must not look installed in between.
    if (put(KEY, 0, L"") || put(WAITING, REG_OPTION_VOLATILE, name) || put(KEY, 0, name)) return E_ACCESSDENIED;
    put(PENDING, REG_OPTION_VOLATILE, L"stand-in");
    return ERROR_SUCCESS_REBOOT_REQUIRED;
}

__declspec(dllexport) HRESULT WINAPI DismDelete(void *info) {
    return HeapFree(GetProcessHeap(), 0, info) ? S_OK : E_INVALIDARG;
}
