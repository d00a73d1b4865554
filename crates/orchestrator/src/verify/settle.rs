//! Asking a host for several things in one request, and again for those that have not turned out well yet.

use std::time::{Duration, Instant};

use crate::member::{Context, Member};
use crate::session::SessionError;

/// How long what fails is tried again: kube-proxy on Windows needs a second for each service (facts B.6), and a kubelet that was
/// just restarted does not listen yet while its node is still Ready (facts B.2).
pub(super) const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// Asks for all items, and again for those whose answer is not settled, until all are or the time is up. An item to which no
/// answer came has `unanswered`.
pub(super) async fn until_settled<'a, I: Clone, A: Clone>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    deadline: Instant,
    items: &[I],
    unanswered: A,
    ask: impl AsyncFn(&mut Member<'a>, Vec<I>) -> Result<Vec<A>, SessionError>,
    is_settled: impl Fn(usize, &A) -> bool,
) -> Result<Vec<A>, SessionError> {
    let mut answers = vec![unanswered; items.len()];
    let mut open: Vec<usize> = (0..items.len()).collect();
    while !open.is_empty() {
        let asked = open.iter().filter_map(|index| items.get(*index).cloned()).collect();
        for (index, answer) in open.iter().zip(ask(member, asked).await?) {
            if let Some(place) = answers.get_mut(*index) {
                *place = answer;
            }
        }
        open.retain(|index| answers.get(*index).is_some_and(|answer| !is_settled(*index, answer)));
        if open.is_empty() || Instant::now() >= deadline {
            break;
        }
        tokio::select! {
            biased;
            () = context.options.cancel.cancelled() => return Err(SessionError::Cancelled),
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
    Ok(answers)
}
