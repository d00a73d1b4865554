// A stand-in for the Host Compute Service, and not Windows: it knows no container, so that kubelet.exe, which asks it for
// their statistics, has none to tell.
#include <windows.h>
#include <objbase.h>

// What the service says of a container that it does not know.
#define NO_SUCH_SYSTEM ((HRESULT)0xC037010E)

__declspec(dllexport) HRESULT WINAPI HcsEnumerateComputeSystems(LPCWSTR query, WCHAR **systems, WCHAR **result) {
    // Who asks gives it back.
    WCHAR *none = CoTaskMemAlloc(3 * sizeof *none);
    if (!none) return E_OUTOFMEMORY;
    lstrcpyW(none, L"[]");
    *systems = none;
    *result = NULL;
    return S_OK;
}

__declspec(dllexport) HRESULT WINAPI HcsOpenComputeSystem(LPCWSTR id, HANDLE *system, WCHAR **result) {
    *result = NULL;
    return NO_SUCH_SYSTEM;
}
