//! How far each host is, and what a phase waits for: no more than it needs. Pure.
//!
//! Programs, files and the host's own settings need no other host: a Windows host may restart for its features while the control
//! plane comes up. The control plane needs the files of all control planes (etcd's members must find each other), nodes need the
//! control plane, and add-ons need all nodes.

use std::collections::{BTreeMap, BTreeSet};

use k8swin_protocol::resource::Phase;

/// How far a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Not checked yet.
    Start,
    /// Checked.
    Checked,
    /// Done with this phase.
    Passed(Phase),
    /// It takes no further part, or has none to take.
    Gone,
}

/// How far all hosts are.
pub(crate) struct Board {
    leader: String,
    control_planes: BTreeSet<String>,
    places: BTreeMap<String, Place>,
    failed: BTreeSet<String>,
    begun: BTreeSet<Phase>,
}

/// Whether a phase may begin on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It may.
    Open,
    /// Not yet.
    Wait,
    /// Never: the leading control plane has failed.
    Stopped,
}

impl Board {
    /// All hosts at the start: their names, and whether they are control planes.
    pub(crate) fn new<'h>(leader: &str, hosts: impl Iterator<Item = (&'h str, bool)>) -> Self {
        let mut board = Self {
            leader: leader.to_owned(),
            control_planes: BTreeSet::new(),
            places: BTreeMap::new(),
            failed: BTreeSet::new(),
            begun: BTreeSet::new(),
        };
        for (host, control_plane) in hosts {
            board.places.insert(host.to_owned(), Place::Start);
            if control_plane {
                board.control_planes.insert(host.to_owned());
            }
        }
        board
    }

    /// A host is this far.
    pub(crate) fn reached(&mut self, host: &str, place: Place) {
        if let Some(at) = self.places.get_mut(host) {
            *at = place;
        }
    }

    /// A host takes no further part; `failed`: because of a failure.
    pub(crate) fn gone(&mut self, host: &str, failed: bool) {
        self.reached(host, Place::Gone);
        if failed {
            self.failed.insert(host.to_owned());
        }
    }

    /// Whether this is the first host that begins a phase.
    pub(crate) fn begins(&mut self, phase: Phase) -> bool {
        self.begun.insert(phase)
    }

    /// Whether a phase may begin.
    pub(crate) fn gate(&self, phase: Phase) -> Gate {
        if self.failed.contains(&self.leader) {
            return Gate::Stopped;
        }
        let open = match phase {
            // Nothing is changed before it is known that the leading control plane can be worked on.
            Phase::Binaries => self.places.get(&self.leader).is_none_or(|place| *place >= Place::Checked),
            Phase::Files => true,
            Phase::ControlPlane => self.control_planes_passed(Phase::Files),
            Phase::LinuxNodes | Phase::WindowsNodes => self.control_planes_passed(Phase::ControlPlane),
            Phase::AddOns => self.places.values().all(|place| *place >= Place::Passed(Phase::WindowsNodes)),
        };
        if open { Gate::Open } else { Gate::Wait }
    }

    fn control_planes_passed(&self, phase: Phase) -> bool {
        let mut places = self.control_planes.iter().filter_map(|host| self.places.get(host));
        places.all(|place| *place >= Place::Passed(phase))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        Board::new("one", [("one", true), ("two", true), ("win", false)].into_iter())
    }

    #[test]
    fn nothing_changes_before_the_leader_is_checked_and_nothing_when_it_has_failed() {
        let mut board = board();
        board.reached("win", Place::Checked);
        assert_eq!(board.gate(Phase::Binaries), Gate::Wait);
        board.reached("one", Place::Checked);
        assert_eq!(board.gate(Phase::Binaries), Gate::Open);
        board.gone("one", true);
        assert!(Phase::ALL.iter().all(|phase| board.gate(*phase) == Gate::Stopped));
    }

    #[test]
    fn the_control_plane_waits_for_control_planes_and_nodes_for_it() {
        let mut board = board();
        board.reached("one", Place::Passed(Phase::Files));
        board.reached("two", Place::Passed(Phase::Binaries));
        assert_eq!(board.gate(Phase::ControlPlane), Gate::Wait);
        board.reached("two", Place::Passed(Phase::Files));
        assert_eq!(board.gate(Phase::ControlPlane), Gate::Open, "a Windows host may be far behind");
        assert_eq!(board.gate(Phase::WindowsNodes), Gate::Wait);
        board.reached("one", Place::Passed(Phase::ControlPlane));
        // Another control plane that failed is waited for no longer.
        board.gone("two", true);
        assert_eq!((board.gate(Phase::LinuxNodes), board.gate(Phase::WindowsNodes)), (Gate::Open, Gate::Open));
        board.reached("one", Place::Passed(Phase::WindowsNodes));
        assert_eq!(board.gate(Phase::AddOns), Gate::Wait);
        board.gone("win", false);
        assert_eq!(board.gate(Phase::AddOns), Gate::Open);
    }

    #[test]
    fn a_phase_begins_once() {
        let mut board = board();
        assert!(board.begins(Phase::Files) && !board.begins(Phase::Files));
    }
}
