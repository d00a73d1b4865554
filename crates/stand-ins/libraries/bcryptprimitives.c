// A stand-in for bcryptprimitives.dll, and not Windows: Wine 8 lacks the one function of it that Rust's standard library
// imports.
__declspec(dllimport) unsigned char SystemFunction036(void *buffer, unsigned long length);
__declspec(dllexport) int ProcessPrng(unsigned char *buffer, unsigned long long length) {
    return SystemFunction036(buffer, (unsigned long)length);
}
