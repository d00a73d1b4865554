//! What a Windows host is: version, machine, memory, account, boot. Read by interface and registry only.

#![expect(unsafe_code, reason = "the system is asked through kernel32, ntdll, advapi32 and secur32")]

use std::collections::BTreeMap;
use std::mem::size_of;
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::path::PathBuf;
use std::ptr::null_mut;

use windows_registry::LOCAL_MACHINE;
use windows_sys::Wdk::System::SystemInformation::{NtQuerySystemInformation, SystemProcessInformation};
use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::Foundation::{ERROR_NOT_ALL_ASSIGNED, ERROR_SUCCESS, LUID, STATUS_INFO_LENGTH_MISMATCH};
use windows_sys::Win32::Globalization::{GetSystemPreferredUILanguages, MUI_LANGUAGE_NAME};
use windows_sys::Win32::Security::Authentication::Identity::{GetUserNameExW, NameSamCompatible};
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, GetTokenInformation, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_PRIVILEGE_ENABLED,
    TOKEN_ADJUST_PRIVILEGES, TOKEN_ELEVATION, TOKEN_PRIVILEGES, TOKEN_QUERY, TokenElevation,
};
use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;
use windows_sys::Win32::System::Shutdown::{
    InitiateShutdownW, SHTDN_REASON_FLAG_PLANNED, SHTDN_REASON_MAJOR_APPLICATION, SHTDN_REASON_MINOR_RECONFIG,
    SHUTDOWN_FORCE_OTHERS, SHUTDOWN_FORCE_SELF, SHUTDOWN_RESTART,
};
use windows_sys::Win32::System::SystemInformation::{
    ComputerNamePhysicalDnsHostname, GetComputerNameExW, GetSystemDirectoryW, GetSystemFirmwareTable,
    GlobalMemoryStatusEx, MEMORYSTATUSEX, OSVERSIONINFOW, RSMB,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};
use windows_sys::Win32::System::WindowsProgramming::SYSTEM_PROCESS_INFORMATION;

use super::super::{PlatformError, Result};
use super::{api, smbios};

/// How long a restart waits, so that the answer to whoever asked for it gets out. In seconds.
const RESTART_GRACE: u32 = 2;

/// The version of Windows, from the registry as far as no interface tells it.
pub(super) struct Version {
    pub(super) build: u32,
    pub(super) ubr: u32,
    pub(super) product: String,
    pub(super) installation_type: String,
}

pub(super) fn version() -> Result<Version> {
    let mut found = OSVERSIONINFOW { dwOSVersionInfoSize: size_of_u32::<OSVERSIONINFOW>(), ..Default::default() };
    // SAFETY: the structure is ours and says its size.
    let status = unsafe { RtlGetVersion(&raw mut found) };
    if status != 0 {
        return Err(PlatformError::new("read the version of Windows", format!("status {status:#x}")));
    }
    let key = LOCAL_MACHINE.open(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion");
    let key = key.map_err(|error| PlatformError::new("read the version of Windows", error.to_string()))?;
    Ok(Version {
        build: found.dwBuildNumber,
        ubr: key.get_u32("UBR").unwrap_or(0),
        product: key.get_string("ProductName").unwrap_or_default(),
        installation_type: key.get_string("InstallationType").unwrap_or_default(),
    })
}

/// The display language of the system, and so of services.
pub(super) fn ui_language() -> Result<String> {
    let attempted = "read the system's display language";
    let (mut count, mut length) = (0, 0);
    // SAFETY: without a buffer, only the sizes are written.
    let sized =
        unsafe { GetSystemPreferredUILanguages(MUI_LANGUAGE_NAME, &raw mut count, null_mut(), &raw mut length) };
    if sized == 0 {
        return Err(api::last_error(attempted));
    }
    let mut buffer = vec![0_u16; length as usize];
    // SAFETY: the buffer has the length that is said.
    let done = unsafe {
        GetSystemPreferredUILanguages(MUI_LANGUAGE_NAME, &raw mut count, buffer.as_mut_ptr(), &raw mut length)
    };
    if done == 0 { Err(api::last_error(attempted)) } else { Ok(api::text(&buffer)) }
}

/// The host's name, lower case.
pub(super) fn hostname() -> Result<String> {
    let mut buffer = [0_u16; 256];
    let mut length = 256;
    // SAFETY: the buffer has the length that is said.
    let done = unsafe { GetComputerNameExW(ComputerNamePhysicalDnsHostname, buffer.as_mut_ptr(), &raw mut length) };
    if done == 0 { Err(api::last_error("read the host's name")) } else { Ok(api::text(&buffer).to_lowercase()) }
}

/// The SMBIOS UUID; where the firmware has none, the identity that Windows' setup made.
pub(super) fn machine_id() -> Result<String> {
    // SAFETY: without a buffer, only the size is returned.
    let length = unsafe { GetSystemFirmwareTable(RSMB, 0, null_mut(), 0) };
    let mut table = vec![0_u8; length as usize];
    // SAFETY: the buffer has the length that is said.
    let read = unsafe { GetSystemFirmwareTable(RSMB, 0, table.as_mut_ptr(), length) };
    if let Some(uuid) = table.get(..read.min(length) as usize).and_then(smbios::uuid) {
        return Ok(uuid);
    }
    LOCAL_MACHINE
        .open(r"SOFTWARE\Microsoft\Cryptography")
        .and_then(|key| key.get_string("MachineGuid"))
        .map(|guid| guid.to_lowercase())
        .map_err(|error| PlatformError::new("read the machine's identity", error.to_string()))
}

/// The folder of Windows' own programs.
pub(super) fn directory() -> Result<PathBuf> {
    let mut buffer = [0_u16; 260];
    // SAFETY: the buffer has the length that is said.
    match unsafe { GetSystemDirectoryW(buffer.as_mut_ptr(), 260) } {
        0 => Err(api::last_error("find the folder of Windows' programs")),
        _ => Ok(PathBuf::from(api::text(&buffer))),
    }
}

/// Physical memory in bytes.
pub(super) fn memory() -> Result<u64> {
    let mut status = MEMORYSTATUSEX { dwLength: size_of_u32::<MEMORYSTATUSEX>(), ..Default::default() };
    // SAFETY: the structure is ours and says its size.
    if unsafe { GlobalMemoryStatusEx(&raw mut status) } == 0 {
        return Err(api::last_error("read the size of the memory"));
    }
    Ok(status.ullTotalPhys)
}

/// Free bytes on a drive.
pub(super) fn disk_free(drive: &str) -> Result<u64> {
    let name = api::wide(drive);
    let mut free = 0;
    // SAFETY: the name is ended by a zero; what is not asked for may be null.
    if unsafe { GetDiskFreeSpaceExW(name.as_ptr(), &raw mut free, null_mut(), null_mut()) } == 0 {
        return Err(api::last_error(format!("read the free space of {drive}")));
    }
    Ok(free)
}

/// The account that this program runs as: `HOST\Administrator`.
pub(super) fn user() -> Result<String> {
    let mut buffer = [0_u16; 512];
    let mut length = 512;
    // SAFETY: the buffer has the length that is said.
    let done = unsafe { GetUserNameExW(NameSamCompatible, buffer.as_mut_ptr(), &raw mut length) };
    if done { Ok(api::text(&buffer)) } else { Err(api::last_error("read the account's name")) }
}

fn own_token(access: u32) -> Result<OwnedHandle> {
    let mut token = null_mut();
    // SAFETY: a handle is written on success.
    if unsafe { OpenProcessToken(GetCurrentProcess(), access, &raw mut token) } == 0 {
        return Err(api::last_error("open this program's token"));
    }
    // SAFETY: the handle was just opened and belongs to nobody else.
    Ok(unsafe { OwnedHandle::from_raw_handle(token) })
}

/// Whether this program has an administrator's full token.
pub(super) fn elevated() -> Result<bool> {
    let token = own_token(TOKEN_QUERY)?;
    let mut elevation = TOKEN_ELEVATION::default();
    let mut length = 0;
    // SAFETY: the structure is ours and has the size that is said.
    let done = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenElevation,
            (&raw mut elevation).cast(),
            size_of_u32::<TOKEN_ELEVATION>(),
            &raw mut length,
        )
    };
    if done == 0 { Err(api::last_error("read this program's token")) } else { Ok(elevation.TokenIsElevated != 0) }
}

/// One running process.
pub(super) struct Process {
    /// Its program's file name; `System` and the like have none.
    pub(super) name: String,
    /// When it was made, in units of 100 ns since 1601.
    created: i64,
}

/// All running processes by their number.
pub(super) fn processes() -> Result<BTreeMap<u32, Process>> {
    // What the structure of windows-sys calls reserved: the creation time lies 24 bytes into it (it is documented by
    // the kernel's headers as `CreateTime`, behind the working set, two counters and the cycle time).
    const CREATED: usize = 24;
    let attempted = "list the processes";
    let mut buffer: Vec<u64> = Vec::new();
    loop {
        let length = u32::try_from(buffer.len() * size_of::<u64>()).unwrap_or(u32::MAX);
        let mut needed = 0;
        // SAFETY: the buffer has the length that is said, and is aligned for the structures that come into it.
        let status = unsafe {
            NtQuerySystemInformation(SystemProcessInformation, buffer.as_mut_ptr().cast(), length, &raw mut needed)
        };
        match status {
            0 => break,
            // More may have started by the next call.
            STATUS_INFO_LENGTH_MISMATCH => buffer = vec![0; (needed as usize + (64 << 10)) / size_of::<u64>()],
            status => return Err(PlatformError::new(attempted, format!("status {status:#x}"))),
        }
    }
    let (start, length) = (buffer.as_ptr().cast::<u8>(), buffer.len() * size_of::<u64>());
    let (mut found, mut offset) = (BTreeMap::new(), 0_usize);
    while offset + size_of::<SYSTEM_PROCESS_INFORMATION>() <= length {
        // SAFETY: a whole structure lies within the buffer; `read_unaligned` makes no demand on its address.
        let process = unsafe { start.add(offset).cast::<SYSTEM_PROCESS_INFORMATION>().read_unaligned() };
        let name = if process.ImageName.Buffer.is_null() {
            String::new()
        } else {
            // SAFETY: the name lies in the buffer too, with the length that Windows says, in bytes.
            let name = unsafe {
                std::slice::from_raw_parts(process.ImageName.Buffer, usize::from(process.ImageName.Length) / 2)
            };
            String::from_utf16_lossy(name)
        };
        let created = process.Reserved1.get(CREATED..CREATED + 8).and_then(|bytes| bytes.try_into().ok());
        let process_id = u32::try_from(process.UniqueProcessId.addr()).unwrap_or(u32::MAX);
        found.insert(process_id, Process { name, created: i64::from_le_bytes(created.unwrap_or_default()) });
        match process.NextEntryOffset {
            0 => break,
            next => offset += next as usize,
        }
    }
    Ok(found)
}

/// Another value after each boot. It is the moment when the Service Control Manager was started: the kernel never changes
/// it afterwards, while a boot time that is computed from the clock moves when the clock is set.
pub(super) fn boot_id() -> Result<String> {
    let processes = processes()?;
    let manager = processes.values().find(|process| process.name.eq_ignore_ascii_case("services.exe"));
    manager
        .map(|manager| format!("{:x}", manager.created))
        .ok_or_else(|| PlatformError::new("find when the host was started", "there is no process services.exe"))
}

/// Keys of the registry that are there while a restart is pending, and only then. Others that are often looked at
/// (`PackagesPending`, Server Manager's `CurrentRebootAttempts`) are known to outlive the restart.
const PENDING_KEYS: [(&str, &str); 2] = [
    (r"SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending", "Component Based Servicing"),
    (r"SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired", "Windows Update"),
];

/// Why a restart is pending, by what Windows leaves in the registry.
pub(super) fn pending_reboot() -> Vec<String> {
    const NETLOGON: &str = r"SYSTEM\CurrentControlSet\Services\Netlogon";
    const NAMES: &str = r"SYSTEM\CurrentControlSet\Control\ComputerName";
    let there = PENDING_KEYS.iter().filter(|(key, _)| LOCAL_MACHINE.open(key).is_ok());
    let mut reasons: Vec<_> = there.map(|(_, reason)| (*reason).to_owned()).collect();
    let renames = LOCAL_MACHINE
        .open(r"SYSTEM\CurrentControlSet\Control\Session Manager")
        .and_then(|key| key.get_multi_string("PendingFileRenameOperations"));
    if renames.is_ok_and(|files| !files.is_empty()) {
        reasons.push("files to be replaced at boot".to_owned());
    }
    if LOCAL_MACHINE.open(NETLOGON).is_ok_and(|key| key.get_type("JoinDomain").is_ok()) {
        reasons.push("the host is to join a domain".to_owned());
    }
    let name =
        |key: &str| LOCAL_MACHINE.open(format!(r"{NAMES}\{key}")).and_then(|key| key.get_string("ComputerName")).ok();
    if let (Some(active), Some(next)) = (name("ActiveComputerName"), name("ComputerName"))
        && !active.eq_ignore_ascii_case(&next)
    {
        reasons.push(format!("the host is to be called {next}"));
    }
    reasons
}

/// The WinRM service's limit, which is 500 unless somebody set another one (facts F.1).
pub(super) fn max_envelope_size_kb() -> u32 {
    const DEFAULT: u32 = 500;
    LOCAL_MACHINE
        .open(r"SOFTWARE\Microsoft\Windows\CurrentVersion\WSMAN")
        .and_then(|key| key.get_u32("maxEnvelopeSize"))
        .unwrap_or(DEFAULT)
}

/// Restarts the host soon.
pub(super) fn restart(reason: &str) -> Result<()> {
    let attempted = || format!("restart the host ({reason})");
    enable_privilege("SeShutdownPrivilege").map_err(|error| PlatformError::new(attempted(), error.answer))?;
    let message = api::wide(reason);
    // SAFETY: the message is ended by a zero; no name means this host.
    let code = unsafe {
        InitiateShutdownW(
            null_mut(),
            message.as_ptr(),
            RESTART_GRACE,
            SHUTDOWN_RESTART | SHUTDOWN_FORCE_OTHERS | SHUTDOWN_FORCE_SELF,
            SHTDN_REASON_MAJOR_APPLICATION | SHTDN_REASON_MINOR_RECONFIG | SHTDN_REASON_FLAG_PLANNED,
        )
    };
    api::succeeded(attempted(), code)
}

fn enable_privilege(name: &str) -> Result<()> {
    let attempted = || format!("enable the privilege {name}");
    let token = own_token(TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY)?;
    let wide = api::wide(name);
    let mut luid = LUID::default();
    // SAFETY: the name is ended by a zero; the value is written on success.
    if unsafe { LookupPrivilegeValueW(null_mut(), wide.as_ptr(), &raw mut luid) } == 0 {
        return Err(api::last_error(attempted()));
    }
    let privileges = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES { Luid: luid, Attributes: SE_PRIVILEGE_ENABLED }],
    };
    // SAFETY: the structure holds the one privilege that it announces; the old state is not asked for.
    let done =
        unsafe { AdjustTokenPrivileges(token.as_raw_handle(), 0, &raw const privileges, 0, null_mut(), null_mut()) };
    // It also succeeds without having done it.
    let left = std::io::Error::last_os_error().raw_os_error().unwrap_or_default().cast_unsigned();
    match (done, left) {
        (0, _) => Err(api::last_error(attempted())),
        (_, ERROR_SUCCESS) => Ok(()),
        (_, ERROR_NOT_ALL_ASSIGNED) => Err(PlatformError::new(attempted(), "this account does not have it")),
        (_, _) => Ok(()),
    }
}

/// Whether this is Wine, which ends a program that calls what it lacks.
pub(super) fn is_wine() -> bool {
    api::has(c"ntdll.dll", c"wine_get_version")
}

/// The size of a structure, as Windows wants it said.
pub(super) const fn size_of_u32<T>() -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "no structure of the Windows API is that large")]
    let size = size_of::<T>() as u32;
    size
}
