//! What the host that keeps the depot and the hosts that take from it tell each other. Pure but for the waiting.
//!
//! Only programs go through the depot, by their digests in `Supplies`. Keys never do: they are in no list that is looked at
//! here, and go to each host over its own session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use k8swin_protocol::Sha256;
use k8swin_protocol::depot::DepotOpen;
use k8swin_protocol::resource::{Blob, HostResources};
use tokio::sync::watch;

/// A blob that goes to the depot, and what it is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) blob: Blob,
    pub(crate) what: String,
}

/// A depot that was opened, and the how-manieth of this run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) generation: u64,
    pub(crate) depot: DepotOpen,
}

/// What all hosts of a run know of its depot.
#[derive(Default)]
pub(crate) struct Depot {
    /// What goes there, in the order in which it was first asked for, and is not there yet.
    wanted: VecDeque<Wanted>,
    /// All that was ever asked for.
    asked: BTreeSet<Sha256>,
    /// What is there.
    stocked: BTreeSet<Sha256>,
    open: Option<Opened>,
    /// The latest generation that somebody had trouble with.
    suspected: u64,
    /// The latest generation that was found alive after that.
    alive: u64,
    /// Why there is no depot any more.
    closed: Option<String>,
    /// Hosts that may still ask for something.
    asking: usize,
    /// Hosts that may still take something.
    taking: usize,
}

/// What the depot's keeper has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Send this to the depot.
    Stock(Wanted),
    /// Look whether the depot lives.
    Look,
    /// Nobody asks for more: see to its own host.
    Own,
    /// Nobody takes anything any more.
    Close,
    /// Nothing yet.
    Wait,
}

/// What a host that lacks files does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Take these from that depot.
    Pull(Opened, Vec<Wanted>),
    /// There is no depot: the reason.
    Stream(String),
    /// Nothing that it lacks is there yet.
    Wait,
}

impl Depot {
    /// A depot that as many hosts may want something of, besides its keeper.
    pub(crate) fn new(hosts: usize) -> Self {
        Self { asking: hosts, taking: hosts, ..Self::default() }
    }

    /// A host wants these.
    pub(crate) fn ask(&mut self, wanted: &[Wanted]) {
        for wanted in wanted {
            if self.asked.insert(wanted.blob.sha256) {
                self.wanted.push_back(wanted.clone());
            }
        }
    }

    /// A host will ask for no more.
    pub(crate) fn asked(&mut self) {
        self.asking = self.asking.saturating_sub(1);
    }

    /// A host will take no more.
    pub(crate) fn took(&mut self) {
        self.taking = self.taking.saturating_sub(1);
    }

    /// It was opened; which generation that is.
    pub(crate) fn opened(&mut self, depot: DepotOpen) {
        let generation = self.open.map_or(1, |open| open.generation + 1);
        self.open = Some(Opened { generation, depot });
    }

    /// A blob is there.
    pub(crate) fn stocked(&mut self, sha256: Sha256) {
        self.wanted.retain(|wanted| wanted.blob.sha256 != sha256);
        self.stocked.insert(sha256);
    }

    /// The depot has answered its keeper after somebody had trouble with it.
    pub(crate) fn found_alive(&mut self) {
        self.alive = self.open.map_or(0, |open| open.generation);
    }

    /// There is no depot from now on. The first reason counts.
    pub(crate) fn close(&mut self, why: String) {
        self.closed.get_or_insert(why);
    }

    /// What its keeper does next. `own_done`: its own host has all that it needs.
    pub(crate) fn duty(&self, own_done: bool) -> Duty {
        if self.open.is_some_and(|open| self.suspected >= open.generation && self.alive < open.generation) {
            return Duty::Look;
        }
        match self.wanted.front() {
            Some(wanted) => Duty::Stock(wanted.clone()),
            None if self.asking > 0 => Duty::Wait,
            None if !own_done => Duty::Own,
            None if self.taking > 0 => Duty::Wait,
            None => Duty::Close,
        }
    }

    /// What a host does next that still lacks these.
    pub(crate) fn step(&self, lacking: &[Wanted]) -> Step {
        if let Some(why) = &self.closed {
            return Step::Stream(why.clone());
        }
        let there: Vec<_> =
            lacking.iter().filter(|wanted| self.stocked.contains(&wanted.blob.sha256)).cloned().collect();
        match self.open {
            Some(open) if !there.is_empty() => Step::Pull(open, there),
            _ => Step::Wait,
        }
    }

    /// A host had trouble with this generation.
    pub(crate) fn suspect(&mut self, generation: u64) {
        self.suspected = self.suspected.max(generation);
    }

    /// What became of that: `Some(true)` when there is another depot to try, `Some(false)` when there is none, or it is the
    /// host's own trouble; `None` while it is not known.
    pub(crate) fn verdict(&self, generation: u64) -> Option<bool> {
        let newer = self.open.is_some_and(|open| open.generation > generation);
        match (&self.closed, newer, self.alive >= generation) {
            (Some(_), ..) => Some(false),
            (None, true, _) => Some(true),
            (None, false, true) => Some(false),
            (None, false, false) => None,
        }
    }
}

/// What the depot's users share.
pub(crate) type Shared = watch::Sender<Depot>;

/// Which of these files more than one host needs: those go through the depot. What one host alone needs goes to it directly.
pub(crate) fn shared<'a>(
    hosts: impl IntoIterator<Item = &'a HostResources>,
    is_program: impl Fn(Sha256) -> bool,
) -> BTreeSet<Sha256> {
    let mut needed: BTreeMap<Sha256, usize> = BTreeMap::new();
    for resources in hosts {
        let of_host: BTreeSet<_> = resources.blobs().map(|(_, blob)| blob.sha256).collect();
        for sha256 in of_host.into_iter().filter(|sha256| is_program(*sha256)) {
            *needed.entry(sha256).or_default() += 1;
        }
    }
    needed.into_iter().filter(|(_, hosts)| *hosts > 1).map(|(sha256, _)| sha256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str) -> Wanted {
        Wanted { blob: Blob { sha256: Sha256::of(name.as_bytes()), size: 1 }, what: name.to_owned() }
    }

    fn open(depot: &mut Depot) {
        depot.opened(DepotOpen { port: 1, key: Sha256::of(b"key") });
    }

    #[test]
    fn each_file_is_stocked_once_whoever_asks() {
        let mut depot = Depot::new(2);
        assert_eq!(depot.duty(true), Duty::Wait);
        depot.ask(&[wanted("kubelet")]);
        depot.ask(&[wanted("kubelet"), wanted("kube-proxy")]);
        assert_eq!(depot.duty(true), Duty::Stock(wanted("kubelet")));
        assert_eq!(depot.step(&[wanted("kubelet")]), Step::Wait);
        open(&mut depot);
        depot.stocked(wanted("kubelet").blob.sha256);
        // What is there can be taken while the next file is on its way.
        assert!(
            matches!(depot.step(&[wanted("kubelet"), wanted("kube-proxy")]), Step::Pull(_, there) if there.len() == 1)
        );
        assert_eq!(depot.duty(true), Duty::Stock(wanted("kube-proxy")));
        depot.stocked(wanted("kube-proxy").blob.sha256);
        depot.ask(&[wanted("kubelet")]);
        assert_eq!(depot.duty(true), Duty::Wait, "it is not sent again");
    }

    #[test]
    fn the_keeper_sees_to_itself_when_nobody_asks_and_closes_when_nobody_takes() {
        let mut depot = Depot::new(1);
        assert_eq!(depot.duty(false), Duty::Wait);
        depot.asked();
        assert_eq!(depot.duty(false), Duty::Own);
        assert_eq!(depot.duty(true), Duty::Wait);
        depot.took();
        assert_eq!(depot.duty(true), Duty::Close);
    }

    #[test]
    fn trouble_is_looked_into_before_a_host_does_without() {
        let mut depot = Depot::new(1);
        open(&mut depot);
        depot.suspect(1);
        assert_eq!((depot.duty(true), depot.verdict(1)), (Duty::Look, None));
        depot.found_alive();
        assert_eq!((depot.duty(true), depot.verdict(1)), (Duty::Wait, Some(false)), "it is the host's own trouble");

        let mut lost = Depot::new(1);
        open(&mut lost);
        lost.suspect(1);
        open(&mut lost);
        assert_eq!((lost.duty(true), lost.verdict(1)), (Duty::Wait, Some(true)), "there is another one");
        lost.close("the disk is full".into());
        assert_eq!(lost.verdict(2), Some(false));
        assert_eq!(lost.step(&[wanted("kubelet")]), Step::Stream("the disk is full".into()));
    }
}
