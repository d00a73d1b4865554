// Not Windows: gives Wine's kernel the name `pipe` beside `PIPE` for named pipes. Windows takes them for the same; Wine does
// so only for those who ask for it, and the library that Docker's and Kubernetes' programs make pipes with does not ask.
// It ends with 0 when the name is there; it stays until the next boot.
#include <windows.h>
#include <winternl.h>

// The name outlives this program.
#define PERMANENT 0x10
#define ALREADY_THERE ((NTSTATUS)0xC0000035)

NTSTATUS NTAPI NtCreateSymbolicLinkObject(HANDLE *link, ACCESS_MASK access, OBJECT_ATTRIBUTES *attributes,
                                          UNICODE_STRING *target);

int main(void) {
    UNICODE_STRING name, target;
    OBJECT_ATTRIBUTES attributes;
    HANDLE link;
    RtlInitUnicodeString(&name, L"\\??\\pipe");
    RtlInitUnicodeString(&target, L"\\Device\\NamedPipe");
    InitializeObjectAttributes(&attributes, &name, PERMANENT, NULL, NULL);
    NTSTATUS status = NtCreateSymbolicLinkObject(&link, 0xF0001, &attributes, &target);
    return status == 0 || status == ALREADY_THERE ? 0 : 1;
}
