//! All hosts of a run, and work on all of them at once with a limit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8swin_inventory::{Cluster, Host};
use k8swin_protocol::Os;
use k8swin_protocol::wire::{LockAnswer, Request, Response};
use k8swin_transport::AgentBinary;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, Stage};
use crate::journal::Teller;
use crate::member::{Closing, Context, Limits, Member};
use crate::preflight::Seen;
use crate::session::{SessionError, interrupted};
use crate::state::{RunName, StateDir};
use crate::{Options, RunError};

/// How long a lock that somebody holds is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// All hosts of a run.
pub(crate) struct Fleet<'a> {
    /// The cluster.
    pub(crate) cluster: &'a Cluster,
    /// How the run goes about its work.
    pub(crate) options: &'a Options,
    /// Where events go.
    pub(crate) teller: Teller,
    /// The hosts, in the order of the inventory.
    pub(crate) members: Vec<Member<'a>>,
    agents: BTreeMap<Os, AgentBinary>,
    limits: Limits,
    started: Instant,
    changing: bool,
    /// The control plane without which this run cannot go on.
    leader: &'a str,
    /// How this run is named in the lock.
    run: Option<RunName>,
}

impl<'a> Fleet<'a> {
    /// All hosts that `wanted` names, not connected yet.
    pub(crate) fn new(
        cluster: &'a Cluster,
        options: &'a Options,
        teller: Teller,
        agents: BTreeMap<Os, AgentBinary>,
        wanted: impl Fn(&Host) -> bool,
    ) -> Self {
        let members = cluster.hosts.iter().filter(|host| wanted(host)).map(Member::new).collect();
        let leader = cluster.first_control_plane().name.as_str();
        let limits = Limits::new(cluster, options);
        let (started, changing, run) = (Instant::now(), false, None);
        Self { cluster, options, teller, members, agents, limits, started, changing, leader, run }
    }

    /// How long the run has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether the run was interrupted.
    pub(crate) fn interrupted(&self) -> bool {
        self.options.cancel.is_cancelled()
    }

    /// Whether the run has had the lock, and so may have changed hosts.
    pub(crate) fn changing(&self) -> bool {
        self.changing
    }

    /// Enters a stage with all hosts that still take part and does `work` on each, all at once with the run's limit.
    /// A host whose work fails takes no further part; the others go on.
    pub(crate) async fn each<T>(
        &mut self,
        stage: Stage,
        work: impl AsyncFn(&mut Member<'a>, Context<'_, 'a>) -> Result<T, SessionError>,
    ) -> Vec<(&'a str, T)> {
        self.some(stage, |_| true, work).await
    }

    /// As [`Self::each`], for the hosts that `wanted` names. The host with the lock, when it has nothing to do, gives signs
    /// of life until the others are done.
    pub(crate) async fn some<T>(
        &mut self,
        stage: Stage,
        wanted: impl Fn(&Member<'a>) -> bool,
        work: impl AsyncFn(&mut Member<'a>, Context<'_, 'a>) -> Result<T, SessionError>,
    ) -> Vec<(&'a str, T)> {
        self.work(stage, (true, true), wanted, work).await
    }

    /// As [`Self::each`], as a part of a stage of which nothing is told but failures.
    pub(crate) async fn part_of<T>(
        &mut self,
        stage: Stage,
        work: impl AsyncFn(&mut Member<'a>, Context<'_, 'a>) -> Result<T, SessionError>,
    ) -> Vec<(&'a str, T)> {
        self.part_of_some(stage, |_| true, work).await
    }

    /// As [`Self::each`], for work that keeps to the limits and tells its stages itself: hosts wait for each other in it.
    pub(crate) async fn unlimited<T>(
        &mut self,
        stage: Stage,
        work: impl AsyncFn(&mut Member<'a>, Context<'_, 'a>) -> Result<T, SessionError>,
    ) -> Vec<(&'a str, T)> {
        self.work(stage, (false, false), |_| true, work).await
    }

    /// As [`Self::some`], as a part of a stage of which nothing is told but failures.
    pub(crate) async fn part_of_some<T>(
        &mut self,
        stage: Stage,
        wanted: impl Fn(&Member<'a>) -> bool,
        work: impl AsyncFn(&mut Member<'a>, Context<'_, 'a>) -> Result<T, SessionError>,
    ) -> Vec<(&'a str, T)> {
        self.work(stage, (false, true), wanted, work).await
    }

    /// Lets the first control-plane host that still takes part do `work`, as a part of a stage, while the others that hold
    /// the lock give signs of life.
    pub(crate) async fn on_control_plane<T>(
        &mut self,
        stage: Stage,
        work: impl AsyncFn(&mut Member<'a>, Context<'_, 'a>) -> Result<T, SessionError>,
    ) -> Result<T, RunError> {
        let name = self.any_control_plane()?.0.host.name.as_str();
        let done = self.part_of_some(stage, |member| member.host.name == name, work).await;
        if let Some((_, result)) = done.into_iter().next() {
            return Ok(result);
        }
        self.control_plane(|member| member.host.name == name)?;
        Err(RunError::Interrupted)
    }

    /// Asks a control-plane host for what must be put in order even after Ctrl-C, and whatever has failed before.
    pub(crate) async fn ask_at_last(&mut self, request: Request) -> Result<Response, SessionError> {
        let context = Context {
            cluster: self.cluster,
            options: self.options,
            teller: &self.teller,
            agents: &self.agents,
            limits: &self.limits,
        };
        let mut last = Err(SessionError::Cancelled);
        for member in self.members.iter_mut().filter(|member| member.host.is_control_plane()) {
            let ask = async |member: &mut Member<'a>| member.session()?.ask_at_last(request.clone()).await;
            last = member.persist(context, ask).await;
            // What the API refused, it would refuse again.
            if matches!(last, Ok(_) | Err(SessionError::Refused(_))) {
                break;
            }
        }
        last
    }

    async fn work<T>(
        &mut self,
        stage: Stage,
        (told, limited): (bool, bool),
        wanted: impl Fn(&Member<'a>) -> bool,
        work: impl AsyncFn(&mut Member<'a>, Context<'_, 'a>) -> Result<T, SessionError>,
    ) -> Vec<(&'a str, T)> {
        let members = self.members.iter_mut().filter(|member| member.takes_part());
        let members: Vec<_> = members
            .map(|member| (wanted(member), member))
            .filter(|(wanted, member)| *wanted || member.holds_lock())
            .collect();
        let count = members.iter().filter(|(wanted, _)| *wanted).count();
        if count == 0 {
            return Vec::new();
        }
        if told {
            self.teller.tell(Event::StageStarted(stage));
        }
        let context = Context {
            cluster: self.cluster,
            options: self.options,
            teller: &self.teller,
            agents: &self.agents,
            limits: &self.limits,
        };
        let (at_work, all_done) = (AtomicUsize::new(count), CancellationToken::new());
        let (work, at_work, all_done) = (&work, &at_work, &all_done);
        let tasks = members.into_iter().map(|(wanted, member)| async move {
            let mut result = None;
            if wanted {
                let permit = if limited { Some(context.limits.hosts.acquire().await) } else { None };
                let done = work(member, context).await;
                drop(permit);
                result = member.finish(stage, done, told, context);
                if at_work.fetch_sub(1, Ordering::Relaxed) == 1 {
                    all_done.cancel();
                }
            }
            if member.holds_lock() && member.takes_part() {
                member.keep_lock(stage, context, all_done).await;
            }
            Some((member.host.name.as_str(), result?))
        });
        futures_util::future::join_all(tasks).await.into_iter().flatten().collect()
    }

    /// Opens all connections and gathers facts.
    pub(crate) async fn connect(&mut self) {
        self.each(Stage::Connect, async |member, context| {
            context.tell_stage(member, Stage::Connect, 0);
            member.persist(context, async |_| Ok(())).await
        })
        .await;
    }

    /// The hosts that could be looked at, as preflight wants them.
    pub(crate) fn seen(&self) -> BTreeMap<String, Seen<'_>> {
        self.members
            .iter()
            .filter_map(|member| {
                let facts = member.facts.as_ref()?;
                let seen = Seen { host: member.host, facts, clock_ahead_ms: member.clock_ahead_ms() };
                Some((member.host.name.clone(), seen))
            })
            .collect()
    }

    /// The first control-plane host, which keeps the keys of all hosts.
    pub(crate) fn first_control_plane(&mut self) -> Result<(&mut Member<'a>, Context<'_, 'a>), RunError> {
        let name = &self.cluster.first_control_plane().name;
        self.control_plane(|member| member.host.name == *name)
    }

    /// Puts the next control plane in the place of a first one that cannot be reached. Only a majority of them is a
    /// cluster: with fewer, etcd answers nobody.
    pub(crate) fn elect(&mut self) {
        let all = self.cluster.control_planes().count();
        let mut there = self.members.iter().filter(|member| member.host.is_control_plane() && member.takes_part());
        if let Some(first) = there.next()
            && (1 + there.count()) * 2 > all
        {
            self.leader = first.host.name.as_str();
        }
    }

    /// The control plane without which this run cannot go on.
    pub(crate) fn leader(&self) -> &'a str {
        self.leader
    }

    /// Whether the control plane without which this run cannot go on still takes part.
    pub(crate) fn led(&mut self) -> Result<(), RunError> {
        let name = self.leader;
        self.control_plane(|member| member.host.name == name).map(drop)
    }

    /// The first control-plane host that still takes part: any of them can be asked about the cluster.
    pub(crate) fn any_control_plane(&mut self) -> Result<(&mut Member<'a>, Context<'_, 'a>), RunError> {
        if self.members.iter().any(|member| member.host.is_control_plane() && member.takes_part()) {
            self.control_plane(|member| member.host.is_control_plane() && member.takes_part())
        } else {
            self.first_control_plane()
        }
    }

    fn control_plane(
        &mut self,
        wanted: impl Fn(&Member<'a>) -> bool,
    ) -> Result<(&mut Member<'a>, Context<'_, 'a>), RunError> {
        let interrupted_run = self.interrupted();
        let context = Context {
            cluster: self.cluster,
            options: self.options,
            teller: &self.teller,
            agents: &self.agents,
            limits: &self.limits,
        };
        let Some(member) = self.members.iter_mut().find(|member| wanted(member)) else {
            let host = self.cluster.first_control_plane().name.clone();
            return Err(RunError::ControlPlane { host, failure: interrupted() });
        };
        match &member.summary.error {
            None => Ok((member, context)),
            Some(_) if interrupted_run => Err(RunError::Interrupted),
            Some(failure) => Err(RunError::ControlPlane { host: member.host.name.clone(), failure: failure.clone() }),
        }
    }

    /// Takes the cluster's lock: on each control plane that takes part, in the order of the inventory. Two runs that reach
    /// different ones, a majority each, have one in common, so that only one of them gets through. Waits a moment for a
    /// lock that is held: the host may not have noticed yet that a run was killed.
    pub(crate) async fn lock(&mut self) -> Result<(), RunError> {
        let options = self.options;
        let run = self.run.insert(StateDir::new(&options.state_dir).run()?).name.clone();
        self.led()?;
        let names: Vec<_> = self.cluster.control_planes().map(|host| host.name.as_str()).collect();
        for name in names {
            let Ok((member, context)) = self.control_plane(|member| member.host.name == name) else { continue };
            let answer = member
                .persist(context, async |member| {
                    member.take_lock(options, &run, options.break_lock, LOCK_PATIENCE).await
                })
                .await;
            match answer {
                Ok(LockAnswer::Granted) => {}
                Ok(LockAnswer::Held { owner, silent_seconds }) => {
                    return Err(RunError::Locked { host: name.to_owned(), owner, silent_seconds });
                }
                Err(SessionError::Cancelled) => return Err(RunError::Interrupted),
                Err(error) => member.fail(Stage::Connect, error.failure(), context.teller),
            }
        }
        self.led()?;
        self.changing = true;
        Ok(())
    }

    /// Ends all sessions, all at once, in bounded time. `agent` says what becomes of the agents.
    pub(crate) async fn close(mut self, agent: Closing) {
        // Only the run that holds the lock knows that nobody else is staging, and it keeps the lock until all others are done.
        let (holder, others): (Vec<_>, Vec<_>) = self.members.iter_mut().partition(|member| member.holds_lock());
        let locked = self.changing && holder.iter().any(|member| member.takes_part());
        for members in [others, holder] {
            let closing = members.into_iter().map(|member| member.close(agent, locked));
            futures_util::future::join_all(closing).await;
        }
    }
}
