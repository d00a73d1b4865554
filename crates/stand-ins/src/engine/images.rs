//! The engine's images. Nothing is downloaded: a pulled image is one that has its name.

use std::io::Read as _;

use super::state::{Image, State, with_tag};
use super::{Refused, Texts};

/// What no registry has, so that a failed pull can be tried: images with this in their name.
const ABSENT: &str = "absent";

/// Pulls an image, if it is not there.
pub(super) fn pull(name: &str, now_ms: i64, state: &mut State) -> Result<(), Refused> {
    let tag = with_tag(name);
    if name.contains(ABSENT) {
        return Err(Refused::new(404, format!("manifest for {tag} not found")));
    }
    if state.image(&tag).is_err() {
        let id = state.identity("image");
        state.images.push(Image { id, tags: vec![tag], parent: None, labels: Texts::new(), created_ms: now_ms });
    }
    Ok(())
}

/// Builds an image from a tar file with a Dockerfile; returns its identity and that of nothing else.
pub(super) fn build(
    context: &[u8],
    tag: Option<&str>,
    labels: Texts,
    now_ms: i64,
    state: &mut State,
) -> Result<String, Refused> {
    let text = dockerfile(context)?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let base = lines.next().and_then(|line| line.strip_prefix("FROM ")).map(str::trim);
    let base = base.ok_or_else(|| Refused::bad("Please provide a source image with `from` prior to commit"))?;
    pull(base, now_ms, state)?;
    let (parent, inherited) = (Some(state.image(base)?.id.clone()), state.image(base)?.labels.clone());
    let id = state.identity("image");
    let labels = inherited.into_iter().chain(labels).collect();
    state.images.push(Image { id: id.clone(), tags: Vec::new(), parent, labels, created_ms: now_ms });
    if let Some(tag) = tag {
        self::tag(&id, tag, state)?;
    }
    Ok(id)
}

fn dockerfile(context: &[u8]) -> Result<String, Refused> {
    let unreadable = |error: std::io::Error| Refused::bad(format!("the build context: {error}"));
    let mut archive = tar::Archive::new(context);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        if entry.path().map_err(unreadable)?.as_os_str() == "Dockerfile" {
            let mut text = String::new();
            entry.read_to_string(&mut text).map_err(unreadable)?;
            return Ok(text);
        }
    }
    Err(Refused::bad("Cannot locate specified Dockerfile: Dockerfile"))
}

/// Gives an image a tag, which another one loses.
pub(super) fn tag(name: &str, tag: &str, state: &mut State) -> Result<(), Refused> {
    let (id, tag) = (state.image(name)?.id.clone(), with_tag(tag));
    for image in &mut state.images {
        image.tags.retain(|found| *found != tag);
        if image.id == id {
            image.tags.push(tag.clone());
        }
    }
    Ok(())
}

/// Takes a tag, or an identity with all its tags, away. Returns what went: tags and identities.
pub(super) fn remove(name: &str, state: &mut State) -> Result<Vec<(bool, String)>, Refused> {
    let (id, tag) = (state.image(name)?.id.clone(), with_tag(name));
    let has_children = state.images.iter().any(|image| image.parent.as_ref() == Some(&id));
    let in_use = state.containers.iter().any(|container| container.image == id);
    let Some(image) = state.images.iter_mut().find(|image| image.id == id) else {
        return Err(Refused::no("image", name));
    };
    let by_tag = image.tags.contains(&tag);
    if in_use && (!by_tag || image.tags.len() == 1) {
        return Err(Refused::new(409, format!("conflict: unable to remove {name}: a container uses it")));
    }
    if has_children && !by_tag {
        let message =
            format!("conflict: unable to delete {name} (cannot be forced) - image has dependent child images");
        return Err(Refused::new(409, message));
    }
    let gone: Vec<_> = image.tags.iter().filter(|found| !by_tag || **found == tag).cloned().collect();
    image.tags.retain(|found| !gone.contains(found));
    let mut removed: Vec<_> = gone.into_iter().map(|tag| (false, tag)).collect();
    if image.tags.is_empty() && !has_children {
        removed.push((true, format!("sha256:{id}")));
        state.images.retain(|image| image.id != id);
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(text: &str) -> Vec<u8> {
        super::super::client::context(text).unwrap()
    }

    #[test]
    fn an_image_is_built_tagged_anew_and_removed() {
        let mut state = State::default();
        let labels: Texts = [("k8swin.base".to_owned(), "base".to_owned())].into();
        let id = build(&context("FROM base\nCMD x\n"), Some("pause:1"), labels.clone(), 0, &mut state).unwrap();
        assert_eq!(state.image("pause:1").unwrap().labels, labels);
        assert_eq!(state.image("base:latest").unwrap().tags, ["base:latest"]);
        let again = build(&context("FROM base\n"), Some("pause:1"), Texts::new(), 0, &mut state).unwrap();
        assert_ne!(id, again);
        // The kubelet, when it is short of disk, removes what no container uses, by identity.
        let base = format!("sha256:{}", state.image("base").unwrap().id);
        assert_eq!(remove(&base, &mut state).unwrap_err().code, 409);
        assert!(state.image(&id).unwrap().tags.is_empty());
        tag(&format!("sha256:{id}"), "pause:1", &mut state).unwrap();
        assert_eq!(state.image("pause:1").unwrap().id, id);
        let removed = remove("pause:1", &mut state).unwrap();
        assert_eq!(removed, [(false, "pause:1".to_owned()), (true, format!("sha256:{id}"))]);
        assert_eq!(state.image("pause:1").unwrap_err().code, 404);
    }

    #[test]
    fn what_no_registry_has_cannot_be_built_from() {
        let mut state = State::default();
        assert_eq!(build(&context("FROM absent/base\n"), None, Texts::new(), 0, &mut state).unwrap_err().code, 404);
        assert_eq!(build(b"", None, Texts::new(), 0, &mut state).unwrap_err().code, 400);
        assert!(state.images.is_empty());
    }
}
