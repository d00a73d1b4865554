//! `up` on each host, from the check to the last phase: every host goes on as soon as what it waits for is there.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use k8swin_protocol::resource::Phase;
use k8swin_protocol::{SecretBytes, Sha256};
use tokio::sync::watch;

use crate::board::{Board, Gate, Place};
use crate::event::{Event, Stage};
use crate::fleet::Fleet;
use crate::member::{Context, Member};
use crate::session::SessionError;
use crate::ship::{Shipping, ship};
use crate::stages::{apply_phase, check_one, needs, pass};

/// What the work on each host needs.
struct Building<'b> {
    secrets: &'b BTreeMap<Sha256, SecretBytes>,
    files: &'b BTreeMap<Sha256, Utf8PathBuf>,
    shipping: Shipping<'b>,
    board: watch::Sender<Board>,
}

/// Checks every host, brings it what it lacks, and applies all phases.
pub(crate) async fn build(
    fleet: &mut Fleet<'_>,
    secrets: &BTreeMap<Sha256, SecretBytes>,
    files: &BTreeMap<Sha256, Utf8PathBuf>,
) {
    let taking_part = fleet.members.iter().filter(|member| member.takes_part());
    let places = taking_part.map(|member| (member.host.name.as_str(), member.host.is_control_plane()));
    let board = watch::channel(Board::new(fleet.leader(), places)).0;
    let building = &Building { secrets, files, shipping: Shipping::new(fleet, files), board };
    fleet.teller.tell(Event::StageStarted(Stage::Check));
    fleet
        .unlimited(Stage::Check, async |member, context| {
            let host = member.host.name.as_str();
            let mut stage = Stage::Check;
            if let Err(error) = host_part(member, context, building, &mut stage).await {
                member.fail(stage, error.failure(), context.teller);
            }
            let failed = !member.takes_part();
            building.board.send_modify(|board| board.gone(host, failed));
            Ok(())
        })
        .await;
}

/// All that is done on one host. `stage` is told how far it is.
async fn host_part<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    building: &Building<'_>,
    stage: &mut Stage,
) -> Result<(), SessionError> {
    let host = member.host.name.as_str();
    let done = |stage| context.teller.tell(Event::HostDone { host: host.to_owned(), stage });
    let part = building.shipping.begin(member);
    check_one(member, context).await?;
    building.board.send_modify(|board| board.reached(host, Place::Checked));
    done(*stage);

    *stage = Stage::Ship;
    if ship(member, context, part).await? {
        done(*stage);
    }

    for phase in Phase::ALL {
        if needs(member, phase) {
            if !may_begin(member, context, building, phase).await {
                return Ok(());
            }
            *stage = Stage::Phase(phase);
            building.board.send_modify(|board| {
                if board.begins(phase) {
                    context.teller.tell(Event::StageStarted(*stage));
                }
            });
            apply_phase(member, context, phase, building.secrets, building.files).await?;
            if !member.takes_part() {
                return Ok(());
            }
            done(*stage);
        } else {
            pass(member, phase);
        }
        building.board.send_modify(|board| board.reached(host, Place::Passed(phase)));
    }
    Ok(())
}

/// Waits until a phase may begin. Not, when the run has ended before: whoever ended it tells that.
async fn may_begin<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    building: &Building<'_>,
    phase: Phase,
) -> bool {
    let mut changes = building.board.subscribe();
    loop {
        let gate = changes.borrow_and_update().gate(phase);
        match gate {
            Gate::Open => return !context.options.cancel.is_cancelled(),
            Gate::Stopped => return false,
            Gate::Wait => {}
        }
        match member.wait(context, async { drop(changes.changed().await) }).await {
            Ok(()) => {}
            Err(SessionError::Cancelled) => return false,
            Err(error) => {
                member.fail(Stage::Phase(phase), error.failure(), context.teller);
                return false;
            }
        }
    }
}
