// A console program for the service host to run: it counts its starts, has a child that outlives it unless somebody ends
// the whole tree, and crashes or floods its output when a file asks it to.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "fail") == 0) {
        fprintf(stderr, "no such flag\n");
        return 9;
    }
    if (argc > 1 && strcmp(argv[1], "child") == 0) {
        for (;;) Sleep(1000);
    }
    char path[MAX_PATH], command[2 * MAX_PATH];
    GetModuleFileNameA(NULL, path, sizeof path);
    snprintf(command, sizeof command, "\"%s\" child %s", path, argc > 1 ? argv[1] : "");
    STARTUPINFOA startup = {sizeof startup};
    PROCESS_INFORMATION child;
    CreateProcessA(path, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &child);
    FILE *starts = fopen("starts.txt", "a");
    fprintf(starts, "%s\n", getenv("CONTAINER_NETWORK") ? getenv("CONTAINER_NETWORK") : "none");
    fclose(starts);
    printf("started\n");
    fflush(stdout);
    for (;;) {
        if (DeleteFileA("crash")) return 7;
        if (DeleteFileA("flood"))
            for (int line = 0; line < 120000; line++)
                printf("%06d a line of a hundred bytes or so, so that a few seconds of it fill a log of ten megabytes ..........\n", line);
        Sleep(50);
    }
}
