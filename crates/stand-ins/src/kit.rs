//! Builds the stand-ins and puts them into a Wine prefix.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::netsh::Persistent;

/// The target of programs for Windows.
pub const TARGET: &str = "x86_64-pc-windows-gnu";

/// The compiler and linker for it.
pub const COMPILER: &str = "x86_64-w64-mingw32-gcc";

/// What lists the functions of a library.
const LISTER: &str = "x86_64-w64-mingw32-objdump";

/// Wine's loader and server, as Debian has them.
pub const LOADER: &str = "/usr/lib/wine/wine64";
/// See above.
pub const SERVER: &str = "/usr/lib/wine/wineserver64";

/// Wine's own libraries.
const OF_WINE: &str = "/usr/lib/x86_64-linux-gnu/wine/x86_64-windows";

/// Those of them whose other functions a stand-in passes on.
const PASSED_ON: [&str; 2] = ["advapi32", "iphlpapi"];

/// The program that puts a host's network in place, below the prefix: its argument `boot` is for before each boot.
pub const LINUX_SIDE: &str = "drive_c/stand-ins/linux-side";

/// The note that somebody asked for a restart, below the prefix: in how many seconds it is to be.
pub const RESTART: &str = "drive_c/stand-ins/restart";

/// The mark by which Wine knows its own libraries, and another one: a copy of another name is loaded as it is then.
const BUILTIN: &[u8] = b"Wine builtin DLL";
const COPY: &[u8] = b"Wine copied DLL ";

const LIBRARIES: [(&str, &str); 6] = [
    ("advapi32", include_str!("../libraries/advapi32.c")),
    ("iphlpapi", include_str!("../libraries/iphlpapi.c")),
    ("dismapi", include_str!("../libraries/dismapi.c")),
    ("pdh", include_str!("../libraries/pdh.c")),
    ("vmcompute", include_str!("../libraries/vmcompute.c")),
    ("bcryptprimitives", include_str!("../libraries/bcryptprimitives.c")),
];

/// Programs in C, and where they are in a prefix.
const C_PROGRAMS: [(&str, &str, &str); 2] = [
    ("object-names", include_str!("../libraries/object-names.c"), "stand-ins"),
    ("wmic", include_str!("../libraries/wmic.c"), "windows/system32/wbem"),
];

/// What the registry of a host has: Windows Server 2016 (facts real-hosts §5), a minute for a service to start (Wine gives it
/// ten seconds, Windows thirty), which of Wine's own programs and libraries the stand-ins replace, and the service of Routing
/// and Remote Access, which is there and disabled on every Windows Server.
const REGISTRY: &str = r#"REGEDIT4

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion]
"CurrentVersion"="10.0"
"CurrentBuildNumber"="14393"
"CurrentBuild"="14393"
"CurrentMajorVersionNumber"=dword:0000000a
"CurrentMinorVersionNumber"=dword:00000000
"UBR"=dword:000008e1
"ReleaseId"="1607"
"ProductName"="Windows Server 2016 Datacenter"
"InstallationType"="Server"

[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\ProductOptions]
"ProductType"="ServerNT"

[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control]
"ServicesPipeTimeout"=dword:0000ea60

[HKEY_CURRENT_USER\Software\Wine\DllOverrides]
"advapi32"="native"
"iphlpapi"="native"
"pdh"="native"
"netsh.exe"="native"
"wmic.exe"="native"

[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\RemoteAccess]
"Type"=dword:00000010
"Start"=dword:00000004
"ErrorControl"=dword:00000001
"ImagePath"="C:\\stand-ins\\system-services.exe RemoteAccess"
"ObjectName"="LocalSystem"
"DisplayName"="Routing and Remote Access"

"#;

/// Services that a server with the feature Containers has, for `sc.exe create`: the Host Network Service and the IP Helper.
pub const SYSTEM_SERVICES: [(&str, &str); 2] =
    [("hns", r"C:\stand-ins\system-services.exe hns"), ("iphlpsvc", r"C:\stand-ins\system-services.exe iphlpsvc")];

/// The stand-ins, built.
pub struct Kit {
    programs: PathBuf,
    linux_side: PathBuf,
    libraries: PathBuf,
    folder: PathBuf,
}

fn run(what: &str, command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("{what}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// What this machine lacks to build and run programs for Windows.
///
/// # Errors
/// The first thing that is missing.
pub fn needed() -> Result<(), String> {
    for program in [COMPILER, LISTER] {
        run("look for mingw", Command::new(program).arg("--version")).map_err(|_| format!("there is no {program}"))?;
    }
    let libraries = PASSED_ON.iter().map(|name| of_wine(name));
    for file in [LOADER.into(), SERVER.into()].into_iter().chain(libraries) {
        if !file.is_file() {
            return Err(format!("there is no {}", file.display()));
        }
    }
    let libraries = run("rustc", Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))?;
    if Path::new(String::from_utf8_lossy(&libraries).trim()).is_dir() {
        Ok(())
    } else {
        Err(format!("Rust's target {TARGET} is not installed"))
    }
}

/// The folder into which cargo builds.
#[must_use]
pub fn target_folder() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(usual, PathBuf::from)
}

/// `cargo build` for Windows. The programs are in the folder that is returned.
///
/// # Errors
/// What cargo said.
pub fn build_for_windows(cargo: &OsStr, arguments: &[&str]) -> Result<PathBuf, String> {
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--ignore-rust-version", "--target", TARGET]).args(arguments);
    command.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", COMPILER).current_dir(env!("CARGO_MANIFEST_DIR"));
    run("build for Windows", &mut command)?;
    Ok(target_folder().join(TARGET).join("debug"))
}

fn of_wine(library: &str) -> PathBuf {
    Path::new(OF_WINE).join(format!("{library}.dll"))
}

impl Kit {
    /// Builds all of it; `cargo` is the program that builds.
    ///
    /// # Errors
    /// What this machine lacks, or what a compiler said.
    pub fn build(cargo: &OsStr) -> Result<Self, String> {
        needed()?;
        let programs = build_for_windows(cargo, &["--package", "k8swin-stand-ins", "--bins"])?;
        let mut linux = Command::new(cargo);
        linux.args([
            "build",
            "--quiet",
            "--ignore-rust-version",
            "--package",
            "k8swin-stand-ins",
            "--bin",
            "linux-side",
        ]);
        run("build linux-side", linux.current_dir(env!("CARGO_MANIFEST_DIR")))?;
        let folder = target_folder().join("stand-ins");
        let kit = Self {
            programs,
            linux_side: target_folder().join("debug/linux-side"),
            libraries: folder.join("libraries"),
            folder,
        };
        fs::create_dir_all(&kit.libraries).map_err(io(&kit.libraries))?;
        for (name, source) in LIBRARIES {
            kit.compile(name, source, "dll", &["-shared", "-s", "-ladvapi32", "-lole32"])?;
        }
        for (name, source, _) in C_PROGRAMS {
            kit.compile(name, source, "exe", &["-s", "-lntdll", "-ladvapi32"])?;
        }
        Ok(kit)
    }

    /// Compiles a library or a program, unless the one that is there was made from the same source.
    fn compile(&self, name: &str, source: &str, ending: &str, arguments: &[&str]) -> Result<(), String> {
        let path = |ending: &str| self.libraries.join(format!("{name}.{ending}"));
        let (code, library) = (path("c"), path(ending));
        if library.is_file() && fs::read_to_string(&code).is_ok_and(|text| text == source) {
            return Ok(());
        }
        let beside = path("new");
        fs::write(&code, "").map_err(io(&code))?;
        let text = self.libraries.join(format!("{name}-source.c"));
        fs::write(&text, source).map_err(io(&text))?;
        let mut command = Command::new(COMPILER);
        command.arg("-O1").arg("-o").arg(&beside).arg(&text).args(arguments);
        if PASSED_ON.contains(&name) {
            let exports = path("def");
            fs::write(&exports, exports_of_wine(name, source)?).map_err(io(&exports))?;
            command.arg(&exports);
        }
        run("compile", &mut command)?;
        fs::rename(&beside, &library).map_err(io(&library))?;
        // Last, so that an interrupted run compiles again.
        fs::write(&code, source).map_err(io(&code))
    }

    /// A prefix of Wine with a registry of Windows Server 2016 and nothing of ours in it beside: made once, to be put below
    /// the files of each host. Nothing may run in it.
    ///
    /// # Errors
    /// What Wine said.
    pub fn prefix(&self) -> Result<PathBuf, String> {
        use sha2::{Digest as _, Sha256};
        let wine = fs::metadata(LOADER).and_then(|wine| wine.modified()).map_err(io(Path::new(LOADER)))?;
        let digest = Sha256::digest(format!("{REGISTRY}{wine:?}"));
        let name = digest.iter().take(8).fold(String::from("prefix-"), |name, byte| name + &format!("{byte:02x}"));
        let (prefix, beside) = (self.folder.join(&name), self.folder.join(format!("{name}.{}", std::process::id())));
        if prefix.is_dir() {
            return Ok(prefix);
        }
        fs::create_dir_all(&beside).map_err(io(&beside))?;
        let wine = |arguments: &[&OsStr]| {
            let mut command = Command::new(LOADER);
            command.args(arguments).env("WINEPREFIX", &beside).env("WINEDEBUG", "-all").env_remove("DISPLAY");
            run("Wine", &mut command)
        };
        let server = |argument| {
            // Its end is all that matters.
            let _ = Command::new(SERVER).arg(argument).env("WINEPREFIX", &beside).stderr(Stdio::null()).status();
        };
        wine(&["wineboot".as_ref(), "-i".as_ref()])?;
        let registry = beside.join("drive_c/windows/temp/host.reg");
        fs::write(&registry, REGISTRY).map_err(io(&registry))?;
        wine(&["regedit".as_ref(), "/S".as_ref(), r"C:\windows\temp\host.reg".as_ref()])?;
        server("-k");
        server("-w");
        fs::remove_file(&registry).map_err(io(&registry))?;
        match fs::rename(&beside, &prefix) {
            Ok(()) => Ok(prefix),
            // Another one was quicker.
            Err(_) if prefix.is_dir() => {
                fs::remove_dir_all(&beside).map_err(io(&beside))?;
                Ok(prefix)
            }
            Err(error) => Err(io(&prefix)(error)),
        }
    }

    /// Puts the stand-ins into a prefix. `namespace` is the network namespace in which they may work, as the link
    /// `/proc/PID/ns/net` of a process in it has it; `network` is what the host's adapters have at boot.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn install(&self, prefix: &Path, namespace: &str, network: &Persistent) -> Result<(), String> {
        let drive = prefix.join("drive_c");
        let (system, own) = (drive.join("windows/system32"), drive.join("stand-ins"));
        let docker = drive.join("Program Files/Docker");
        for folder in [&own, &docker] {
            fs::create_dir_all(folder).map_err(io(folder))?;
        }
        let copy = |from: &Path, to: PathBuf| {
            // What is there may be a file that others see as well.
            let _ = fs::remove_file(&to);
            fs::copy(from, &to).map(drop).map_err(io(&to))
        };
        for (name, _) in LIBRARIES {
            let name = format!("{name}.dll");
            copy(&self.libraries.join(&name), system.join(&name))?;
        }
        for name in PASSED_ON {
            let of_wine = system.join(format!("{name}-of-wine.dll"));
            fs::write(&of_wine, copy_of_wines(name)?).map_err(io(&of_wine))?;
        }
        for (name, _, place) in C_PROGRAMS {
            let name = format!("{name}.exe");
            copy(&self.libraries.join(&name), drive.join(place).join(&name))?;
        }
        copy(&self.programs.join("netsh.exe"), system.join("netsh.exe"))?;
        copy(&self.programs.join("system-services.exe"), own.join("system-services.exe"))?;
        copy(&self.programs.join("docker.exe"), docker.join("docker.exe"))?;
        copy(&self.programs.join("dockerd.exe"), docker.join("dockerd.exe"))?;
        let linux_side = prefix.join(LINUX_SIDE);
        copy(&self.linux_side, linux_side.clone())?;
        fs::set_permissions(&linux_side, fs::Permissions::from_mode(0o755)).map_err(io(&linux_side))?;
        let file = own.join(crate::linux::NAMESPACE_FILE);
        fs::write(&file, namespace).map_err(io(&file))?;
        let file = own.join(crate::linux::PERSISTENT_FILE);
        let text = serde_json::to_string_pretty(network).map_err(|error| error.to_string())?;
        fs::write(&file, text).map_err(io(&file))
    }
}

/// The exports of a stand-in: those that its source defines, and all others of Wine's, passed on.
fn exports_of_wine(library: &str, source: &str) -> Result<String, String> {
    let wines = of_wine(library);
    let listed = run("list a library", Command::new(LISTER).arg("-p").arg(&wines))?;
    let listed = String::from_utf8_lossy(&listed);
    let table = listed.split("[Ordinal/Name Pointer] Table").nth(1).unwrap_or_default();
    let names = table.lines().skip(1).map_while(|line| line.trim().strip_prefix('['));
    // Decorated names are of 32-bit Windows.
    let names = names.filter_map(|line| line.split_whitespace().last()).filter(|name| !name.contains('@'));
    let mut exports = String::from("EXPORTS\n");
    let mut count = 0;
    let own = |name: &str| source.contains(&format!(" WINAPI {name}("));
    for name in names.filter(|name| !own(name)) {
        count += 1;
        writeln!(exports, "  {name}={library}-of-wine.{name}").map_err(|error| error.to_string())?;
    }
    if count < 50 {
        return Err(format!("{LISTER} shows only {count} functions of {}", wines.display()));
    }
    Ok(exports)
}

/// Wine's library as one that is not Wine's own, since Wine looks for its own by their names.
fn copy_of_wines(library: &str) -> Result<Vec<u8>, String> {
    let path = of_wine(library);
    let mut bytes = fs::read(&path).map_err(io(&path))?;
    let at = bytes.windows(BUILTIN.len()).position(|part| part == BUILTIN);
    let mark = at.and_then(|at| bytes.get_mut(at..at + BUILTIN.len()));
    mark.ok_or_else(|| format!("{} is not marked as Wine's own", path.display()))?.copy_from_slice(COPY);
    Ok(bytes)
}
