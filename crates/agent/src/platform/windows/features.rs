//! Windows features, through the DISM interface (dismapi.dll), which is there on every Windows since 8.
//!
//! It is looked up when it is needed: a system without it has no features that could be installed.

#![expect(unsafe_code, reason = "dismapi.dll is loaded and called by the types of its header")]

use std::ffi::{CStr, c_void};
use std::io;
use std::mem::transmute;
use std::ptr::{null, null_mut};

use k8swin_protocol::resource::FeatureName;
use windows_sys::Win32::Foundation::{FARPROC, FreeLibrary, HMODULE};
use windows_sys::Win32::System::LibraryLoader::{GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW};

use super::super::{FeatureState, PlatformError, Result};
use super::api;

/// The running system instead of an image (`DISM_ONLINE_IMAGE`).
const ONLINE: &str = "DISM_{53BFAE52-B167-4E2F-A258-0A37B57FF845}";

/// `DismLogErrors`.
const LOG_ERRORS: u32 = 0;

/// `DismPackageNone`: the feature is looked for in the system itself.
const NO_PACKAGE: u32 = 0;

/// `DismStateInstalled` and `DismStateInstallPending`.
const INSTALLED: u32 = 4;
const INSTALL_PENDING: u32 = 5;

/// `HRESULT_FROM_WIN32(ERROR_ELEVATION_REQUIRED)`.
const ELEVATION_REQUIRED: i32 = 0x8007_02E4_u32.cast_signed();

/// The beginning of `DismFeatureInfo`, whose header packs structures.
#[repr(C, packed)]
struct FeatureInfo {
    name: *const u16,
    state: u32,
}

type Initialize = unsafe extern "system" fn(u32, *const u16, *const u16) -> i32;
type Shutdown = unsafe extern "system" fn() -> i32;
type OpenSession = unsafe extern "system" fn(*const u16, *const u16, *const u16, *mut u32) -> i32;
type CloseSession = unsafe extern "system" fn(u32) -> i32;
type GetFeatureInfo = unsafe extern "system" fn(u32, *const u16, *const u16, u32, *mut *mut FeatureInfo) -> i32;
type EnableFeature = unsafe extern "system" fn(
    u32,
    *const u16,
    *const u16,
    u32,
    i32,
    *const *const u16,
    u32,
    i32,
    *mut c_void,
    *mut c_void,
    *mut c_void,
) -> i32;
type Delete = unsafe extern "system" fn(*mut c_void) -> i32;

/// What DISM calls a feature that `Install-WindowsFeature` calls otherwise.
fn dism_name(name: FeatureName) -> &'static str {
    match name {
        FeatureName::Containers => "Containers",
        FeatureName::Routing => "RasRoutingProtocols",
    }
}

/// Those of the features that we need that are installed. A system without DISM has none; who may not ask is told so by
/// another fact, that the account is not privileged.
pub(super) fn installed() -> Result<Vec<FeatureName>> {
    let attempted = "look for Windows features";
    let Some(library) = Library::load() else { return Ok(Vec::new()) };
    let session = match Session::open(&library) {
        Ok(session) => session,
        Err(Refused(ELEVATION_REQUIRED)) => return Ok(Vec::new()),
        Err(refused) => return Err(refused.error(attempted)),
    };
    let mut found = Vec::new();
    for name in [FeatureName::Containers, FeatureName::Routing] {
        if session.state(name).map_err(|refused| refused.error(attempted))? == FeatureState::Installed {
            found.push(name);
        }
    }
    Ok(found)
}

pub(super) fn state(name: FeatureName) -> Result<FeatureState> {
    let attempted = format!("look for the feature {name}");
    let library = Library::load().ok_or_else(|| no_dism(&attempted))?;
    let session = Session::open(&library).map_err(|refused| refused.error(&attempted))?;
    session.state(name).map_err(|refused| refused.error(&attempted))
}

pub(super) fn install(name: FeatureName) -> Result<()> {
    let attempted = format!("install the feature {name}");
    let library = Library::load().ok_or_else(|| no_dism(&attempted))?;
    let session = Session::open(&library).map_err(|refused| refused.error(&attempted))?;
    session.enable(name).map_err(|refused| refused.error(&attempted))
}

fn no_dism(attempted: &str) -> PlatformError {
    PlatformError::new(attempted, "this system has no dismapi.dll")
}

/// A call that was refused, by its `HRESULT`.
struct Refused(i32);

impl Refused {
    fn error(&self, attempted: &str) -> PlatformError {
        PlatformError::new(attempted, io::Error::from_raw_os_error(self.0).to_string())
            .with_hint(r"C:\Windows\Logs\DISM\dism.log on the host says more")
    }
}

fn check(code: i32) -> std::result::Result<(), Refused> {
    if code < 0 { Err(Refused(code)) } else { Ok(()) }
}

struct Library {
    module: HMODULE,
    initialize: Initialize,
    shutdown: Shutdown,
    open_session: OpenSession,
    close_session: CloseSession,
    get_feature_info: GetFeatureInfo,
    enable_feature: EnableFeature,
    delete: Delete,
}

impl Library {
    fn load() -> Option<Self> {
        let name = api::wide("dismapi.dll");
        // SAFETY: the name is ended by a zero; only the system's own folder is searched.
        let module = unsafe { LoadLibraryExW(name.as_ptr(), null_mut(), LOAD_LIBRARY_SEARCH_SYSTEM32) };
        if module.is_null() {
            return None;
        }
        // SAFETY: the module is loaded; the name is ended by a zero.
        let find = |name: &CStr| -> FARPROC { unsafe { GetProcAddress(module, name.as_ptr().cast()) } };
        // SAFETY: each function has the type that dismapi.h declares for its name.
        let library = unsafe {
            Self {
                module,
                initialize: transmute::<FARPROC, Option<Initialize>>(find(c"DismInitialize"))?,
                shutdown: transmute::<FARPROC, Option<Shutdown>>(find(c"DismShutdown"))?,
                open_session: transmute::<FARPROC, Option<OpenSession>>(find(c"DismOpenSession"))?,
                close_session: transmute::<FARPROC, Option<CloseSession>>(find(c"DismCloseSession"))?,
                get_feature_info: transmute::<FARPROC, Option<GetFeatureInfo>>(find(c"DismGetFeatureInfo"))?,
                enable_feature: transmute::<FARPROC, Option<EnableFeature>>(find(c"DismEnableFeature"))?,
                delete: transmute::<FARPROC, Option<Delete>>(find(c"DismDelete"))?,
            }
        };
        Some(library)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the module was loaded once, and no function of it is called any more.
        unsafe { FreeLibrary(self.module) };
    }
}

/// A session with the running system.
struct Session<'a> {
    library: &'a Library,
    session: u32,
}

impl<'a> Session<'a> {
    fn open(library: &'a Library) -> std::result::Result<Self, Refused> {
        // SAFETY: no paths means the usual log and scratch folders.
        check(unsafe { (library.initialize)(LOG_ERRORS, null(), null()) })?;
        let online = api::wide(ONLINE);
        let mut session = 0;
        // SAFETY: the name is ended by a zero; a session is written on success.
        let opened = check(unsafe { (library.open_session)(online.as_ptr(), null(), null(), &raw mut session) });
        if let Err(refused) = opened {
            // SAFETY: it was initialised above.
            unsafe { (library.shutdown)() };
            return Err(refused);
        }
        Ok(Self { library, session })
    }

    fn state(&self, name: FeatureName) -> std::result::Result<FeatureState, Refused> {
        let name = api::wide(dism_name(name));
        let mut info: *mut FeatureInfo = null_mut();
        // SAFETY: the name is ended by a zero; a description is written on success and deleted below.
        check(unsafe {
            (self.library.get_feature_info)(self.session, name.as_ptr(), null(), NO_PACKAGE, &raw mut info)
        })?;
        // SAFETY: the description is there, and its beginning is laid out as declared; the field is copied.
        let state = unsafe { (*info).state };
        // SAFETY: DISM allocated it for us, and nothing uses it any more.
        unsafe { (self.library.delete)(info.cast()) };
        Ok(match state {
            INSTALLED => FeatureState::Installed,
            INSTALL_PENDING => FeatureState::AfterReboot,
            _ => FeatureState::Absent,
        })
    }

    /// Installs a feature with those that it needs, from the component store.
    fn enable(&self, name: FeatureName) -> std::result::Result<(), Refused> {
        let name = api::wide(dism_name(name));
        // SAFETY: the name is ended by a zero; there are no further sources, and nobody watches.
        check(unsafe {
            (self.library.enable_feature)(
                self.session,
                name.as_ptr(),
                null(),
                NO_PACKAGE,
                0,
                null(),
                0,
                1,
                null_mut(),
                null_mut(),
                null_mut(),
            )
        })
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // SAFETY: the session is open, and the library initialised, exactly once.
        unsafe {
            (self.library.close_session)(self.session);
            (self.library.shutdown)();
        }
    }
}
