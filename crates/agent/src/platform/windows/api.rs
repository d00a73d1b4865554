//! What every call of the Windows API needs: wide text, and errors with what Windows says.

#![expect(unsafe_code, reason = "text that Windows hands out is read by its address, and exports are looked up")]

use std::ffi::CStr;
use std::io;

use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};

use super::super::PlatformError;

/// Text as Windows takes it: UTF-16, ended by a zero.
pub(super) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// The text in a buffer, up to its first zero.
pub(super) fn text(buffer: &[u16]) -> String {
    String::from_utf16_lossy(buffer.split(|unit| *unit == 0).next().unwrap_or_default())
}

/// The text at an address, up to its first zero; empty for no address.
///
/// # Safety
/// `start` is null or the address of UTF-16 text that is ended by a zero and stays while this runs.
pub(super) unsafe fn text_at(start: *const u16) -> String {
    if start.is_null() {
        return String::new();
    }
    let mut length = 0;
    // SAFETY: the caller promises a zero at the end; nothing behind it is read.
    while unsafe { *start.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: these `length` units were just read one by one.
    String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(start, length) })
}

/// Whether a library that this program has loaded exports a function.
pub(super) fn has(library: &CStr, function: &CStr) -> bool {
    // SAFETY: both names are ended by a zero; the library stays loaded as long as this program runs.
    unsafe { GetProcAddress(GetModuleHandleA(library.as_ptr().cast()), function.as_ptr().cast()).is_some() }
}

/// The error that the last call left.
pub(super) fn last_error(attempted: impl Into<String>) -> PlatformError {
    PlatformError::new(attempted, io::Error::last_os_error().to_string())
}

/// The error of a call that returns its code.
pub(super) fn error_of(attempted: impl Into<String>, code: u32) -> PlatformError {
    PlatformError::new(attempted, io::Error::from_raw_os_error(code.cast_signed()).to_string())
}

/// Whether a call that returns a code succeeded.
pub(super) fn succeeded(attempted: impl Into<String>, code: u32) -> Result<(), PlatformError> {
    if code == 0 { Ok(()) } else { Err(error_of(attempted, code)) }
}
