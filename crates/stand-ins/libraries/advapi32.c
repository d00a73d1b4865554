// A stand-in for the one function of advapi32.dll that Wine has no code for and our agent calls, and not Windows: who asks
// for a shutdown finds it noted in C:\stand-ins\restart, as the seconds until then. Whoever keeps the host reboots it.
//
// All else is Wine's own, which lies beside it as advapi32-of-wine.dll (see iphlpapi.c).
#include <windows.h>
#include <stdio.h>
#include <string.h>

#define NOTE L"C:\\stand-ins\\restart"

__declspec(dllexport) DWORD WINAPI InitiateShutdownW(LPWSTR machine, LPWSTR message, DWORD grace, DWORD flags,
                                                     DWORD reason) {
    char text[16];
    DWORD written;
    HANDLE note = CreateFileW(NOTE L".new", GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    if (note == INVALID_HANDLE_VALUE) return GetLastError();
    sprintf(text, "%lu\n", grace);
    BOOL done = WriteFile(note, text, (DWORD)strlen(text), &written, NULL);
    CloseHandle(note);
    return done && MoveFileExW(NOTE L".new", NOTE, MOVEFILE_REPLACE_EXISTING) ? ERROR_SUCCESS : GetLastError();
}
