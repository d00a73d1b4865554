/* A Windows service, as dockerd.exe is one: notes its arguments, then runs until it is stopped. */
#include <windows.h>
#include <stdio.h>

static int count;
static char **words;
static SERVICE_STATUS_HANDLE handle;
static HANDLE stopped;

static void tell(DWORD state)
{
    SERVICE_STATUS status = { SERVICE_WIN32_OWN_PROCESS, state, SERVICE_ACCEPT_STOP, 0, 0, 0, 0 };
    SetServiceStatus(handle, &status);
}

static void WINAPI control(DWORD code)
{
    if (code == SERVICE_CONTROL_STOP) {
        tell(SERVICE_STOP_PENDING);
        SetEvent(stopped);
    }
}

static void WINAPI service(DWORD argc, LPSTR *argv)
{
    (void)argc;
    (void)argv;
    stopped = CreateEventA(NULL, TRUE, FALSE, NULL);
    handle = RegisterServiceCtrlHandlerA("native", control);
    FILE *file = fopen("C:\\k8swin\\work\\arguments.txt", "wb");
    for (int index = 1; index < count; index++)
        fprintf(file, "%s\n", words[index]);
    fclose(file);
    tell(SERVICE_RUNNING);
    WaitForSingleObject(stopped, INFINITE);
    tell(SERVICE_STOPPED);
}

int main(int argc, char **argv)
{
    SERVICE_TABLE_ENTRYA table[] = { { "native", service }, { NULL, NULL } };
    count = argc;
    words = argv;
    return StartServiceCtrlDispatcherA(table) ? 0 : 1;
}
