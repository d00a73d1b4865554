//! Kubernetes 1.20.2 for both operating systems, built by `k8swin build` from the source package of Debian 12 with the Go of
//! Debian 11, and etcd from its Debian package. apt verifies what it downloads, with lists and settings of its own: the
//! machine's are only read.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Releases of Debian, and what comes from each.
const SOURCE_RELEASE: &str = "bookworm";
const SOURCE_PACKAGE: &str = "kubernetes";
const ETCD_PACKAGE: &str = "etcd-server";
const GO_RELEASE: &str = "bullseye";
const GO_PACKAGES: [&str; 2] = ["golang-1.15-go", "golang-1.15-src"];
const GO: &str = "usr/lib/go-1.15";

/// What the release of the source package says it is.
const VERSION: &str = "1.20.2";

/// What verifies Debian's lists (package debian-archive-keyring).
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The folder with the programs. A second call finds what the first one left.
pub(crate) fn built(k8swin: &Path) -> Result<PathBuf, String> {
    let folder = k8swin_sandbox::cache().join(format!("kubernetes-{VERSION}"));
    let programs = folder.join("programs");
    if !folder.join("etcd/etcd").is_file() {
        let unpacked =
            whole(&folder.join("etcd-package"), |to| packages(&folder, SOURCE_RELEASE, &[ETCD_PACKAGE], to))?;
        fs::create_dir_all(folder.join("etcd")).map_err(failed("make", &folder))?;
        let from = unpacked.join("usr/bin/etcd");
        fs::copy(&from, folder.join("etcd/etcd")).map_err(failed("copy", &from))?;
    }
    if programs.join("manifest.json").is_file() {
        return Ok(programs);
    }
    let go = whole(&folder.join("go-1.15"), |to| packages(&folder, GO_RELEASE, &GO_PACKAGES, to))?;
    let source = whole(&folder.join("source"), |to| source(&folder, to))?;
    let mut build = Command::new(k8swin);
    build.args(["build", "--kubernetes", VERSION, "--source"]).arg(&source).arg("--go").arg(go.join(GO));
    build.arg("--cache-dir").arg(folder.join("cache")).arg("--out").arg(&programs);
    run("k8swin build", &mut build)?;
    Ok(programs)
}

/// A folder that is there as a whole or not at all.
fn whole(folder: &Path, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    if !folder.is_dir() {
        let partial = folder.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(failed("remove", &partial))?;
        }
        fs::create_dir_all(&partial).map_err(failed("make", &partial))?;
        make(&partial)?;
        fs::rename(&partial, folder).map_err(failed("rename", &partial))?;
    }
    Ok(folder.to_owned())
}

/// Unpacks Debian packages, without installing them.
fn packages(folder: &Path, release: &str, names: &[&str], to: &Path) -> Result<(), String> {
    let downloads = to.join("downloads");
    fs::create_dir_all(&downloads).map_err(failed("make", &downloads))?;
    let apt = Apt::new(folder, release)?;
    run("apt-get download", apt.command("download").args(names).current_dir(&downloads))?;
    for package in files(&downloads, "deb")? {
        run("dpkg-deb", Command::new("dpkg-deb").arg("--extract").arg(&package).arg(to))?;
    }
    Ok(())
}

fn source(folder: &Path, to: &Path) -> Result<(), String> {
    let downloads = folder.join("source-package");
    fs::create_dir_all(&downloads).map_err(failed("make", &downloads))?;
    let apt = Apt::new(folder, SOURCE_RELEASE)?;
    let mut download = apt.command("source");
    run("apt-get source", download.args(["--download-only", SOURCE_PACKAGE]).current_dir(&downloads))?;
    let description = files(&downloads, "dsc")?.into_iter().next();
    let description = description.ok_or_else(|| format!("apt-get source {SOURCE_PACKAGE} brought no description"))?;
    // It wants a folder that is not there. Apt has verified the files.
    fs::remove_dir(to).map_err(failed("remove", to))?;
    run("dpkg-source", Command::new("dpkg-source").args(["--no-check", "--extract"]).arg(&description).arg(to))
}

/// apt-get with a release of its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(folder: &Path, release: &str) -> Result<Self, String> {
        let (mirror, _) = k8swin_sandbox::debian().map_err(|error| error.to_string())?;
        let own = folder.join(format!("apt-{release}"));
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = own.join(part);
            fs::create_dir_all(&path).map_err(failed("make", &path))?;
        }
        let sources = own.join("debian.sources");
        let text =
            format!("Types: deb deb-src\nURIs: {mirror}\nSuites: {release}\nComponents: main\nSigned-By: {KEYRING}\n");
        fs::write(&sources, text).map_err(failed("write", &sources))?;
        let option = |name: &str, value: &Path| format!("--option={name}={}", value.display());
        let options = vec![
            "--quiet=2".to_owned(),
            option("Dir::Etc::SourceList", &sources),
            option("Dir::Etc::SourceParts", Path::new("/dev/null")),
            option("Dir::State::lists", &own.join("lists")),
            option("Dir::Cache", &own.join("cache")),
            // The account that apt would change to may not write there.
            "--option=APT::Sandbox::User=root".to_owned(),
        ];
        let apt = Self { options };
        run("apt-get update", &mut apt.command("update"))?;
        Ok(apt)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("apt-get");
        command.args(&self.options).arg(verb);
        command
    }
}

fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(failed("read", folder))?;
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension() == Some(OsStr::new(ending))).collect())
}

fn run(what: &str, command: &mut Command) -> Result<(), String> {
    let status = command.stdin(Stdio::null()).status().map_err(|error| format!("{what}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what}: {status}")) }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> String {
    let path = path.display().to_string();
    move |error| format!("cannot {action} {path}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_once_and_only_as_a_whole() {
        let base = std::env::temp_dir().join(format!("k8swin-xtask-{}", std::process::id()));
        let folder = base.join("it");
        let interrupted = whole(&folder, |to| {
            fs::write(to.join("half"), "").map_err(|error| error.to_string())?;
            Err("interrupted".to_owned())
        });
        assert_eq!(interrupted.unwrap_err(), "interrupted");
        assert!(!folder.exists());
        let made = whole(&folder, |to| {
            assert!(!to.join("half").exists());
            fs::write(to.join("all"), "").map_err(|error| error.to_string())
        });
        assert!(made.unwrap().join("all").is_file());
        whole(&folder, |_| Err("made again".to_owned())).unwrap();
        fs::remove_dir_all(base).unwrap();
    }
}
