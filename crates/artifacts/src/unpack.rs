//! Takes the needed programs out of a release tarball, with their digests noted in `sha256sums`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};

use camino::{Utf8Path, Utf8PathBuf};
use flate2::read::GzDecoder;
use k8swin_protocol::Os;
use k8swin_protocol::Sha256;
use k8swin_protocol::digest::Hasher;

use crate::digests::replace;
use crate::error::{ArtifactError, io};
use crate::local;
use crate::manifest::{Entry, Manifest, Origin};
use crate::sums::{self, Sums};

/// Unpacks the programs `names` of the folder `inside` of a verified tarball into the folder of `os` below `folder`.
pub(crate) async fn unpack(
    archive: Utf8PathBuf,
    os: Os,
    inside: &'static str,
    names: BTreeSet<String>,
    folder: Utf8PathBuf,
    origin: Origin,
) -> Result<(), ArtifactError> {
    let target = folder.join(os.as_str());
    let path = archive.clone();
    let work = tokio::task::spawn_blocking(move || extract(&path, inside, &names, &target));
    let unpacked = work.await.map_err(|error| io("unpack", &archive)(io::Error::other(error)))??;

    let path = folder.join(sums::FILE);
    let known = tokio::fs::read_to_string(&path).await.unwrap_or_default();
    // Sums that cannot be read are those of an unpacking that went wrong: what they named is unpacked again.
    let mut sums = Sums::parse(&known).unwrap_or_default();
    let mut entries = BTreeMap::new();
    for (name, sha256, size) in unpacked {
        let path = local::relative(&(os, name));
        sums.insert(path.clone(), sha256);
        entries.insert(path, Entry { sha256, size, format: None, version: None, origin: origin.clone() });
    }
    replace(&path, sums.render().as_bytes()).await?;
    Manifest::add(&folder, entries).await
}

fn extract(
    archive: &Utf8Path,
    inside: &str,
    names: &BTreeSet<String>,
    target: &Utf8Path,
) -> Result<Vec<(String, Sha256, u64)>, ArtifactError> {
    fs::create_dir_all(target).map_err(io("create", target))?;
    let reading = || io("unpack", archive);
    let file = fs::File::open(archive).map_err(reading())?;
    let mut tar = tar::Archive::new(GzDecoder::new(io::BufReader::with_capacity(1 << 20, file)));
    let mut absent = names.clone();
    let mut unpacked = Vec::new();
    for entry in tar.entries().map_err(reading())? {
        // The rest of a tarball of hundreds of megabytes need not be read when all is there.
        if absent.is_empty() {
            break;
        }
        let mut entry = entry.map_err(reading())?;
        let path = entry.path().map_err(reading())?.into_owned();
        let name = path.strip_prefix(".").unwrap_or(&path).strip_prefix(inside).ok().and_then(|name| name.to_str());
        // Names come from the plan, not from the tarball: nothing can be written outside of the folder.
        let Some(name) = name.and_then(|name| absent.take(name)).filter(|_| entry.header().entry_type().is_file())
        else {
            continue;
        };
        let size = entry.size();
        let digest = write(&mut entry, &target.join(&name))?;
        unpacked.push((name, digest, size));
    }
    if absent.is_empty() {
        return Ok(unpacked);
    }
    let missing = absent.into_iter().map(|name| format!("{inside}/{name}")).collect();
    Err(ArtifactError::Archive { archive: archive.to_owned(), missing })
}

fn write(input: &mut impl Read, path: &Utf8Path) -> Result<Sha256, ArtifactError> {
    let temporary = Utf8PathBuf::from(format!("{path}.{}", std::process::id()));
    let mut file = fs::File::create(&temporary).map_err(io("create", &temporary))?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = input.read(&mut buffer).map_err(io("unpack", path))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
        file.write_all(bytes).map_err(io("write", &temporary))?;
    }
    fs::rename(&temporary, path).map_err(io("replace", path))?;
    Ok(hasher.finish())
}
