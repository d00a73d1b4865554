//! Taking a change back, and what is made of one whose process is gone.

use super::{Order, Progress, State};
use crate::engine::Engine;
use crate::platform::{PlatformError, Result};
use crate::resources::Resource;

/// Brings a change that was abandoned to an end: it stays if it was confirmed, and is taken back otherwise. Returns the
/// order and its end, if there is one that was not forgotten. Whoever calls this has the host's lock.
pub(crate) fn recover<R: Resource>(host: &mut R::Platform) -> Result<Option<(Order<R>, State)>> {
    let (Some(order), Some(mut progress)) = (super::order::<R>(host)?, super::progress::<R>(host)?) else {
        super::forget(host)?;
        return Ok(None);
    };
    if !progress.state.is_final() {
        progress.state = if progress.state != State::TakingBack && super::is_confirmed(host)? {
            State::Kept
        } else {
            take_back(host, &progress, "its process ended before it was confirmed".to_owned())?
        };
        super::write_progress(host, &progress)?;
    }
    Ok(Some((order, progress.state)))
}

/// Takes back all that a change has made. What cannot be taken back is part of the result, and the rest is tried all the
/// same.
pub(super) fn take_back<R: Resource>(host: &mut R::Platform, progress: &Progress<R>, why: String) -> Result<State> {
    let mut engine = Engine::<R>::new(host)?;
    let mut trouble = Vec::new();
    // Newest first, what was made goes; oldest first, what was replaced comes back on what it stands on.
    for undo in progress.undo.iter().rev() {
        if let Err(error) = engine.undo(undo) {
            trouble.push(error.to_string());
        }
    }
    for undo in &progress.undo {
        if let Err(error) = engine.restore(undo) {
            trouble.push(error.to_string());
        }
    }
    Ok(State::TakenBack { why, trouble: (!trouble.is_empty()).then(|| trouble.join("; ")) })
}

/// The failure of a change that was taken back.
pub(crate) fn taken_back<R: Resource>(order: &Order<R>, why: &str, trouble: Option<&str>) -> PlatformError {
    let resources: Vec<_> = order.resources.iter().map(|planned| planned.resource.id().to_string()).collect();
    let attempted = format!("change the network ({})", resources.join(", "));
    match trouble {
        None => PlatformError::new(attempted, format!("{why}; it was taken back: the host's network is as it was"))
            .with_hint(
                "if the change cut the way to the host: pod_adapter must not be the adapter that carries the host's \
                 address, and node_address must be its routable address; if confirming only took too long: \
                 --confirm-within",
            ),
        Some(trouble) => PlatformError::new(attempted, format!("{why}; not all of it could be taken back: {trouble}"))
            .with_hint("look at the host's adapters, addresses and routes on its console"),
    }
}
