//! Access lists of files and folders.

#![expect(unsafe_code, reason = "security descriptors are read and set through advapi32")]

use std::ptr::{null, null_mut};

use k8swin_protocol::HostPath;
use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, ConvertStringSecurityDescriptorToSecurityDescriptorW,
    GetNamedSecurityInfoW, SDDL_REVISION_1, SE_FILE_OBJECT, SetNamedSecurityInfoW,
};
use windows_sys::Win32::Security::{
    ACL, DACL_SECURITY_INFORMATION, GetSecurityDescriptorControl, GetSecurityDescriptorDacl,
    PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, SE_DACL_PROTECTED, SetFileSecurityW,
    UNPROTECTED_DACL_SECURITY_INFORMATION,
};

use super::super::{AccessList, Permissions, PlatformError, Result};
use super::{api, sddl, system};

/// An allocation of Windows' own.
struct Local(*mut core::ffi::c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: Windows allocated it for us with LocalAlloc, and nothing else frees it.
        unsafe { LocalFree(self.0) };
    }
}

/// Who may read and write a file or folder.
pub(super) fn read(path: &HostPath, directory: bool) -> Result<Permissions> {
    let attempted = || format!("read the access list of {path}");
    let name = api::wide(path.as_str());
    let mut descriptor: PSECURITY_DESCRIPTOR = null_mut();
    // SAFETY: the name is ended by a zero; a descriptor is written on success and freed by `Local`.
    let code = unsafe {
        GetNamedSecurityInfoW(
            name.as_ptr(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION,
            null_mut(),
            null_mut(),
            null_mut(),
            null_mut(),
            &raw mut descriptor,
        )
    };
    api::succeeded(attempted(), code)?;
    let descriptor = Local(descriptor);
    let mut text: *mut u16 = null_mut();
    // SAFETY: the descriptor is a valid one; the text is written on success and freed by `Local`.
    let done = unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor.0,
            SDDL_REVISION_1,
            DACL_SECURITY_INFORMATION,
            &raw mut text,
            null_mut(),
        )
    };
    if done == 0 {
        return Err(api::last_error(attempted()));
    }
    let text = Local(text.cast());
    // SAFETY: Windows ended the text with a zero, and it lives until `text` is dropped.
    let list = unsafe { api::text_at(text.0.cast()) };
    let list = if system::is_wine() { sddl::classify_wine(&list) } else { sddl::classify(&list, directory) };
    Ok(Permissions::Acl(list))
}

/// Sets who may read and write a file or folder.
pub(super) fn set(path: &HostPath, directory: bool, permissions: &Permissions) -> Result<()> {
    let Permissions::Acl(list) = permissions else {
        return Err(PlatformError::new(format!("set the access list of {path}"), "these are permissions of Linux"));
    };
    match list {
        // An empty list of its own: all that is left is inherited.
        AccessList::Inherited => apply(path, "D:"),
        AccessList::Restricted if directory => apply(path, sddl::RESTRICTED_DIRECTORY),
        AccessList::Restricted => apply(path, sddl::RESTRICTED_FILE),
        AccessList::Other(sddl) => apply(path, sddl),
    }
}

fn apply(path: &HostPath, list: &str) -> Result<()> {
    let attempted = || format!("set the access list of {path}");
    let text = api::wide(list);
    let mut descriptor: PSECURITY_DESCRIPTOR = null_mut();
    // SAFETY: the text is ended by a zero; a descriptor is written on success and freed by `Local`.
    let done = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            text.as_ptr(),
            SDDL_REVISION_1,
            &raw mut descriptor,
            null_mut(),
        )
    };
    if done == 0 {
        return Err(api::last_error(attempted()));
    }
    let descriptor = Local(descriptor);
    let (mut present, mut defaulted, mut dacl): (i32, i32, *mut ACL) = (0, 0, null_mut());
    let (mut control, mut revision) = (0, 0);
    // SAFETY: the descriptor is valid; the list points into it and lives as long as `descriptor`.
    let read = unsafe {
        GetSecurityDescriptorDacl(descriptor.0, &raw mut present, &raw mut dacl, &raw mut defaulted) != 0
            && GetSecurityDescriptorControl(descriptor.0, &raw mut control, &raw mut revision) != 0
    };
    if !read {
        return Err(api::last_error(attempted()));
    }
    // A missing list would open the file to everybody.
    if present == 0 || dacl.is_null() {
        return Err(PlatformError::new(attempted(), format!("`{list}` is no access list")));
    }
    let inheritance = if control & SE_DACL_PROTECTED != 0 {
        PROTECTED_DACL_SECURITY_INFORMATION
    } else {
        UNPROTECTED_DACL_SECURITY_INFORMATION
    };
    let name = api::wide(path.as_str());
    if system::is_wine() && inheritance == PROTECTED_DACL_SECURITY_INFORMATION {
        // Wine's own SetNamedSecurityInfoW adds what the folder above grants all the same.
        // SAFETY: the name is ended by a zero and the descriptor is valid.
        let done = unsafe { SetFileSecurityW(name.as_ptr(), DACL_SECURITY_INFORMATION, descriptor.0) };
        return if done == 0 { Err(api::last_error(attempted())) } else { Ok(()) };
    }
    // SAFETY: the name is ended by a zero and the list is valid; owner and groups are not set.
    let code = unsafe {
        SetNamedSecurityInfoW(
            name.as_ptr(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION | inheritance,
            null_mut(),
            null_mut(),
            dacl,
            null(),
        )
    };
    api::succeeded(attempted(), code)
}
