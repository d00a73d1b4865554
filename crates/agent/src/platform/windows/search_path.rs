//! The machine's search path, in the registry.

#![expect(unsafe_code, reason = "running programs are told by a message to all windows")]

use std::ptr::null_mut;

use windows_registry::{LOCAL_MACHINE, Type};
use windows_sys::Win32::Foundation::ERROR_FILE_NOT_FOUND;
use windows_sys::Win32::UI::WindowsAndMessaging::{
    HWND_BROADCAST, SMTO_ABORTIFHUNG, SendMessageTimeoutW, WM_SETTINGCHANGE,
};

use super::super::{PlatformError, Result};
use super::api;

const ENVIRONMENT: &str = r"SYSTEM\CurrentControlSet\Control\Session Manager\Environment";
const PATH: &str = "Path";

/// How long a window may take to hear of the change, in milliseconds.
const PATIENCE: u32 = 1000;

/// What the registry answers for a value that is not there, as an HRESULT.
const ABSENT: u32 = 0x8007_0000 | ERROR_FILE_NOT_FOUND;

/// The folders as they are stored; empty where there are none.
pub(super) fn read() -> Result<String> {
    let failed = |answer: String| PlatformError::new("read the machine's search path", answer);
    let key = LOCAL_MACHINE.open(ENVIRONMENT).map_err(|error| failed(error.message()))?;
    match key.get_string(PATH) {
        Ok(folders) => Ok(folders),
        Err(error) if error.code().0.cast_unsigned() == ABSENT => Ok(String::new()),
        Err(error) => Err(failed(error.message())),
    }
}

/// Stores the folders, as text of the kind that was there: that with environment variables, if there was none.
pub(super) fn write(folders: &str) -> Result<()> {
    let failed = |answer: String| PlatformError::new("set the machine's search path", answer);
    let key = LOCAL_MACHINE.create(ENVIRONMENT).map_err(|error| failed(error.message()))?;
    let written = match key.get_type(PATH) {
        Ok(Type::String) => key.set_string(PATH, folders),
        Ok(Type::ExpandString) => key.set_expand_string(PATH, folders),
        Ok(other) => return Err(failed(format!("the value is no text, but {other:?}"))),
        Err(error) if error.code().0.cast_unsigned() == ABSENT => key.set_expand_string(PATH, folders),
        Err(error) => return Err(failed(error.message())),
    };
    written.map_err(|error| failed(error.message()))?;
    tell();
    Ok(())
}

/// Programs that start others, such as the Explorer, read the environment again. Where nobody listens, nothing is lost:
/// what starts later reads it anyway.
fn tell() {
    let what = api::wide("Environment");
    // SAFETY: the text is ended by a zero and stays until the call returns; the result is not asked for.
    unsafe {
        SendMessageTimeoutW(
            HWND_BROADCAST,
            WM_SETTINGCHANGE,
            0,
            what.as_ptr() as isize,
            SMTO_ABORTIFHUNG,
            PATIENCE,
            null_mut(),
        );
    }
}
