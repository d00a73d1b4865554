// A stand-in for `wmic csproduct get UUID`, which kubelet.exe 1.20 asks for the machine's identity, and not Windows: Wine's
// knows no csproduct. Anything else is refused.
#include <stdio.h>
#include <string.h>
#include <windows.h>

int main(int count, char **words) {
    char guid[64];
    DWORD size = sizeof guid;
    if (count != 4 || stricmp(words[1], "csproduct") || stricmp(words[2], "get") || stricmp(words[3], "UUID")) {
        fputs("the stand-in for wmic knows only: csproduct get UUID\n", stderr);
        return 1;
    }
    // Wine's firmware has none that can be set; this one is the host's own.
    LSTATUS code = RegGetValueA(HKEY_LOCAL_MACHINE, "SOFTWARE\\Microsoft\\Cryptography", "MachineGuid", RRF_RT_REG_SZ, NULL,
                                guid, &size);
    if (code != ERROR_SUCCESS) return (int)code;
    printf("UUID\r\n%s\r\n", guid);
    return 0;
}
