//! Takes a zip apart into a new folder. The zip comes from somebody else, and what is in it goes to a folder of programs
//! on Windows: names that lead elsewhere, links, and archives that grow without measure are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _, Write};

use camino::Utf8Path;
use k8swin_protocol::Sha256;
use k8swin_protocol::digest::Hasher;
use zip::ZipArchive;
use zip::read::ZipFile;

use crate::error::{ArtifactError, io};

/// Docker's zips have a few files of 20 to 100 MB (facts D.2).
const MOST_FILES: usize = 1000;

/// The most bytes that may come out of a zip.
const MOST_BYTES: u64 = 1 << 30;

/// Names that Windows takes for devices, with any extension.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Unpacks the files below the top folder `top` of a verified zip into the new folder `target`. Returns the digest of
/// each by its path below `top`, with forward slashes.
pub(crate) fn extract(
    archive: &Utf8Path,
    top: &str,
    target: &Utf8Path,
) -> Result<BTreeMap<String, Sha256>, ArtifactError> {
    let refused = |reason: String| ArtifactError::Zip { archive: archive.to_owned(), reason };
    let unreadable = |error: zip::result::ZipError| refused(error.to_string());
    let file = fs::File::open(archive).map_err(io("open", archive))?;
    let mut zip = ZipArchive::new(io::BufReader::new(file)).map_err(unreadable)?;
    if zip.len() > MOST_FILES {
        return Err(refused(format!("it has {} entries, more than {MOST_FILES}", zip.len())));
    }
    fs::create_dir_all(target).map_err(io("create", target))?;
    let (mut unpacked, mut seen, mut left) = (BTreeMap::new(), BTreeSet::new(), MOST_BYTES);
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(unreadable)?;
        let Some(path) = safe_path(&entry, top).map_err(refused)? else { continue };
        // Windows takes two such names for one file.
        if !seen.insert(path.to_lowercase()) {
            return Err(refused(format!("`{path}` is in it twice")));
        }
        let place = target.join(&path);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(io("create", folder))?;
        }
        let out = fs::File::create_new(&place).map_err(io("create", &place))?;
        let mut out = Hashed { file: out, hasher: Hasher::default() };
        // What the directory of the zip says about sizes may be wrong: the bytes are counted as they come.
        let written = io::copy(&mut entry.by_ref().take(left + 1), &mut out).map_err(io("unpack", archive))?;
        left = left
            .checked_sub(written)
            .ok_or_else(|| refused(format!("what is in it is larger than {} MiB", MOST_BYTES >> 20)))?;
        unpacked.insert(path, out.hasher.finish());
    }
    Ok(unpacked)
}

/// A file whose digest is computed while it is written.
struct Hashed {
    file: fs::File,
    hasher: Hasher,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The path of a file below the top folder; none for folders. The error says why the zip is refused.
fn safe_path<R: io::Read>(entry: &ZipFile<'_, R>, top: &str) -> Result<Option<String>, String> {
    let name = entry.name().map_err(|error| error.to_string())?;
    let shown = || name.chars().take(100).flat_map(char::escape_debug).collect::<String>();
    // Some programs of Windows write backslashes.
    let path = name.replace('\\', "/");
    let folder = entry.is_dir() || path.ends_with('/');
    if entry.encrypted() {
        return Err(format!("`{}` is encrypted", shown()));
    }
    // The file type of Unix: a regular file, a folder, or none where another system made the zip.
    let kind = entry.unix_mode().unwrap_or(0) & 0o170_000;
    if entry.is_symlink() || ![0, 0o100_000, 0o040_000].contains(&kind) {
        return Err(format!("`{}` is neither a file nor a folder", shown()));
    }
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    if let Some(bad) = parts.iter().find(|part| !is_plain(part)) {
        return Err(format!("`{}`: `{}` is no name of a file or folder", shown(), bad.escape_debug()));
    }
    match parts.split_first() {
        Some((first, rest)) if *first == top && (folder || !rest.is_empty()) => Ok((!folder).then(|| rest.join("/"))),
        _ => Err(format!("`{}` is not below the folder `{top}`", shown())),
    }
}

/// Whether Windows takes this for the name of one file or folder, and for that name only.
fn is_plain(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default().to_lowercase();
    let numbered = |device: &str| stem.strip_prefix(device).is_some_and(|rest| rest.len() == 1);
    let device = DEVICES.contains(&stem.as_str()) || numbered("com") || numbered("lpt");
    let fine = |character: char| !character.is_control() && !"<>:\"|?*".contains(character);
    !part.is_empty() && !device && !part.ends_with(['.', ' ']) && part.chars().all(fine)
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    /// Unpacks a zip with these files.
    fn unpack(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Result<BTreeMap<String, Sha256>, String>) {
        unpack_written(|zip| {
            for (name, content) in files {
                zip.start_file(*name, SimpleFileOptions::default().compression_method(CompressionMethod::Deflated))
                    .unwrap();
                zip.write_all(content).unwrap();
            }
        })
    }

    fn unpack_written(
        write: impl FnOnce(&mut ZipWriter<fs::File>),
    ) -> (tempfile::TempDir, Result<BTreeMap<String, Sha256>, String>) {
        let folder = tempfile::tempdir().unwrap();
        let archive = Utf8PathBuf::from_path_buf(folder.path().join("docker.zip")).unwrap();
        let mut zip = ZipWriter::new(fs::File::create(&archive).unwrap());
        write(&mut zip);
        zip.finish().unwrap();
        let unpacked = extract(&archive, "docker", &archive.with_file_name("out")).map_err(|error| error.to_string());
        (folder, unpacked)
    }

    #[test]
    fn files_come_out_without_their_top_folder() {
        let (folder, unpacked) = unpack_written(|zip| {
            let options = SimpleFileOptions::default();
            zip.add_directory("docker/", options).unwrap();
            zip.start_file("docker/dockerd.exe", options).unwrap();
            zip.write_all(&[7; 100_000]).unwrap();
            zip.start_file(r"docker\cli-plugins\a.exe", options).unwrap();
            zip.write_all(b"plugin").unwrap();
        });
        let expected = [("cli-plugins/a.exe", Sha256::of(b"plugin")), ("dockerd.exe", Sha256::of(&[7; 100_000]))];
        assert_eq!(unpacked.unwrap(), expected.map(|(name, digest)| (name.to_owned(), digest)).into());
        assert_eq!(fs::read(folder.path().join("out/cli-plugins/a.exe")).unwrap(), b"plugin");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "/docker/a",
            "../docker/a",
            "docker/../../a",
            r"docker\..\a",
            "C:/docker/a",
            "docker/a:stream",
            "docker//a",
            "docker/./a",
            "docker/nul.txt",
            "docker/COM1",
            "docker/a. ",
            "docker/a\n",
            "docker/a*",
        ] {
            let (folder, unpacked) = unpack(&[(name, b"x")]);
            assert!(unpacked.is_err(), "{name}: {unpacked:?}");
            let beside: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(beside.iter().all(|name| name == "docker.zip" || name == "out"), "{name}: {beside:?}");
        }
        for (files, reason) in [
            (&[("dockerd.exe", &b"x"[..])][..], "`dockerd.exe` is not below the folder `docker`"),
            (&[("docker", b"x")], "`docker` is not below the folder `docker`"),
            (&[("docker/a", b"x"), ("docker/A", b"y")], "`A` is in it twice"),
        ] {
            let error = unpack(files).1.unwrap_err();
            assert!(error.ends_with(reason), "{error}");
        }
    }

    #[test]
    fn links_are_refused() {
        let error = unpack_written(|zip| {
            zip.add_symlink("docker/dockerd.exe", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        });
        assert!(error.1.unwrap_err().contains("is neither a file nor a folder"));
    }

    #[test]
    fn what_grows_without_measure_is_refused() {
        let (_folder, unpacked) = unpack_written(|zip| {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(true);
            zip.start_file("docker/dockerd.exe", options).unwrap();
            let zeros = vec![0; 1 << 24];
            for _ in 0..=(MOST_BYTES >> 24) {
                zip.write_all(&zeros).unwrap();
            }
        });
        assert!(unpacked.unwrap_err().ends_with("what is in it is larger than 1024 MiB"));
        let many: Vec<_> = (0..=MOST_FILES).map(|number| format!("docker/{number}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
        assert!(unpack(&many).1.unwrap_err().contains("1001 entries"));
    }

    #[test]
    fn garbage_is_no_zip() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Utf8PathBuf::from_path_buf(folder.path().join("docker.zip")).unwrap();
        fs::write(&archive, "<html>not found</html>").unwrap();
        let error = extract(&archive, "docker", &archive.with_file_name("out")).unwrap_err();
        assert!(error.to_string().contains("docker.zip cannot be used"), "{error}");
    }
}
