//! The log of a service: what its program says, and what the host does with it, rotated by size and age.
//!
//! `kubelet.log` is the newest; `kubelet.1.log` the one before, up to `kubelet.5.log`. glog prunes nothing by itself
//! (facts B.1).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

/// When a file is full, in bytes.
const FULL: u64 = 10 << 20;

/// When a file is old.
const OLD: SignedDuration = SignedDuration::from_hours(24);

/// How many old files are kept.
const KEPT: u32 = 5;

/// What the host's own lines begin with. The first line of each file is one, so that its age can be read from it: file
/// systems of Windows give a new file the creation time of the one that was just renamed away.
const MARK: &str = "# ";

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    name: String,
    file: File,
    size: u64,
    began: Timestamp,
}

impl Log {
    /// Opens the log of a service, or begins one.
    ///
    /// # Errors
    /// When the folder cannot be made or the file cannot be written.
    pub(super) fn open(folder: &Path, name: &str, now: Timestamp) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{name}.log"));
        let began = beginning(&path);
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let size = file.metadata()?.len();
        let mut log =
            Self { folder: folder.to_owned(), name: name.to_owned(), file, size, began: began.unwrap_or(now) };
        if size == 0 {
            log.note(now, "log opened")?;
        }
        Ok(log)
    }

    /// Writes a line of the host's own.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn note(&mut self, now: Timestamp, text: &str) -> io::Result<()> {
        self.write(now, format!("{MARK}{now:.0} {text}\n").as_bytes())
    }

    /// Writes bytes that the program wrote, into a new file if this one is full or old.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&mut self, now: Timestamp, bytes: &[u8]) -> io::Result<()> {
        let full = self.size + bytes.len() as u64 > FULL;
        let old = now.duration_since(self.began) >= OLD;
        if self.size > 0 && (full || old) {
            self.rotate(now)?;
        }
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            let (from, to) = (self.numbered(number), self.numbered(number + 1));
            if from.exists() {
                fs::rename(from, to)?;
            }
        }
        let path = self.folder.join(format!("{}.log", self.name));
        fs::rename(&path, self.numbered(1))?;
        self.file = OpenOptions::new().append(true).create(true).open(&path)?;
        (self.size, self.began) = (0, now);
        let line = format!("{MARK}{now:.0} log opened\n");
        self.file.write_all(line.as_bytes())?;
        self.size = line.len() as u64;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{}.{number}.log", self.name))
    }
}

/// When the log at a path was begun, by its first line.
fn beginning(path: &Path) -> Option<Timestamp> {
    let mut line = String::new();
    BufReader::new(File::open(path).ok()?).read_line(&mut line).ok()?;
    line.strip_prefix(MARK)?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_log_is_rotated_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let now = at("2026-11-23T10:00:00Z");
        let mut log = Log::open(folder.path(), "kubelet", now).unwrap();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            log.write(now, &piece).unwrap();
        }
        let expected = ["kubelet.1.log", "kubelet.2.log", "kubelet.3.log", "kubelet.4.log", "kubelet.5.log"];
        assert_eq!(files(folder.path()), [&expected[..], &["kubelet.log"]].concat());
        for name in files(folder.path()) {
            assert!(fs::metadata(folder.path().join(name)).unwrap().len() <= FULL);
        }
    }

    #[test]
    fn a_log_keeps_its_age_when_its_service_is_restarted() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), "kubelet", at("2026-11-23T10:00:00Z")).unwrap();
        log.write(at("2026-11-23T10:00:00Z"), b"first\n").unwrap();
        drop(log);
        let mut log = Log::open(folder.path(), "kubelet", at("2026-11-24T09:00:00Z")).unwrap();
        log.write(at("2026-11-24T09:00:00Z"), b"second\n").unwrap();
        assert_eq!(files(folder.path()), ["kubelet.log"]);
        log.write(at("2026-11-24T10:00:01Z"), b"third\n").unwrap();
        assert_eq!(files(folder.path()), ["kubelet.1.log", "kubelet.log"]);
        let before = fs::read_to_string(folder.path().join("kubelet.1.log")).unwrap();
        assert_eq!(before, "# 2026-11-23T10:00:00Z log opened\nfirst\nsecond\n");
        let newest = fs::read_to_string(folder.path().join("kubelet.log")).unwrap();
        assert_eq!(newest, "# 2026-11-24T10:00:01Z log opened\nthird\n");
    }
}
