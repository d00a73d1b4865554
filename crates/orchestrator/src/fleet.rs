//! All hosts of a run: their sessions, what is known of each, and work on all at once with a limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use k8swin_inventory::{Cluster, Host};
use k8swin_protocol::resource::HostResources;
use k8swin_protocol::wire::{Checked, Failure, LockAnswer, Request, Response};
use k8swin_protocol::{Facts, Os};
use k8swin_transport::{AgentBinary, AgentFate};

use crate::event::{Event, Stage};
use crate::journal::Teller;
use crate::preflight::Seen;
use crate::report::HostSummary;
use crate::session::{AgentSession, SessionError, interrupted};
use crate::{Options, RunError};

/// How long opening one connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a host may take to come back from a restart: installing a role on Server 2016 takes minutes.
const REBOOT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long a lock that somebody holds is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries to take the lock.
const LOCK_POLL: Duration = Duration::from_millis(200);
/// How long closing one session may take, also after Ctrl-C.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// One host of a run.
pub(crate) struct Member<'a> {
    /// The host.
    pub(crate) host: &'a Host,
    /// What it is and has.
    pub(crate) facts: Option<Facts>,
    /// How far its clock is ahead of this machine's, in milliseconds.
    clock_ahead_ms: i64,
    /// All that is planned for it.
    pub(crate) resources: Option<HostResources>,
    /// What the check of all that found.
    pub(crate) checked: Option<Checked>,
    /// What the run did on it.
    pub(crate) summary: HostSummary,
    session: Option<AgentSession>,
    /// Whether an earlier connection of this run put the agent there.
    put_agent: bool,
    holds_lock: bool,
}

impl Member<'_> {
    /// Whether it still takes part.
    pub(crate) fn takes_part(&self) -> bool {
        self.summary.error.is_none()
    }
}

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
    started: Instant,
}

/// What work on one member needs besides the member.
#[derive(Clone, Copy)]
pub(crate) struct Context<'f, 'a> {
    /// The cluster.
    pub(crate) cluster: &'a Cluster,
    /// How the run goes about its work.
    pub(crate) options: &'a Options,
    /// Where events go.
    pub(crate) teller: &'f Teller,
    agents: &'f BTreeMap<Os, AgentBinary>,
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
        let members = cluster
            .hosts
            .iter()
            .filter(|host| wanted(host))
            .map(|host| Member {
                host,
                facts: None,
                clock_ahead_ms: 0,
                resources: None,
                checked: None,
                summary: HostSummary::default(),
                session: None,
                put_agent: false,
                holds_lock: false,
            })
            .collect();
        Self { cluster, options, teller, members, agents, started: Instant::now() }
    }

    /// How long the run has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
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

    /// As [`Self::each`], for the hosts that `wanted` names.
    pub(crate) async fn some<T>(
        &mut self,
        stage: Stage,
        wanted: impl Fn(&Member<'a>) -> bool,
        work: impl AsyncFn(&mut Member<'a>, Context<'_, 'a>) -> Result<T, SessionError>,
    ) -> Vec<(&'a str, T)> {
        let members: Vec<_> = self.members.iter_mut().filter(|member| member.takes_part() && wanted(member)).collect();
        if members.is_empty() {
            return Vec::new();
        }
        self.teller.tell(Event::StageStarted(stage));
        let context =
            Context { cluster: self.cluster, options: self.options, teller: &self.teller, agents: &self.agents };
        let work = &work;
        futures_util::stream::iter(members)
            .map(|member| async move {
                let host = member.host.name.as_str();
                match work(member, context).await {
                    Ok(result) => {
                        context.teller.tell(Event::HostDone { host: host.to_owned(), stage });
                        Some((host, result))
                    }
                    Err(error) => {
                        member.fail(stage, error.failure(), context.teller);
                        None
                    }
                }
            })
            .buffer_unordered(self.options.parallel.max(1))
            .filter_map(|result| async { result })
            .collect()
            .await
    }

    /// Opens all connections and gathers facts.
    pub(crate) async fn connect(&mut self) {
        self.each(Stage::Connect, async |member, context| {
            context.tell_stage(member, Stage::Connect, 0);
            member.connect(context, context.options.attempts).await
        })
        .await;
    }

    /// The hosts that could be looked at, as preflight wants them.
    pub(crate) fn seen(&self) -> BTreeMap<String, Seen<'_>> {
        self.members
            .iter()
            .filter_map(|member| {
                let facts = member.facts.as_ref()?;
                let seen = Seen { host: member.host, facts, clock_ahead_ms: member.clock_ahead_ms };
                Some((member.host.name.clone(), seen))
            })
            .collect()
    }

    /// The first control-plane host. It holds the lock, the PKI and the Node objects: without it nothing can be done.
    pub(crate) fn first_control_plane(&mut self) -> Result<(&mut Member<'a>, Context<'_, 'a>), RunError> {
        let first = self.cluster.first_control_plane();
        let context =
            Context { cluster: self.cluster, options: self.options, teller: &self.teller, agents: &self.agents };
        let member = self.members.iter_mut().find(|member| member.host.name == first.name);
        match member {
            Some(member) => match &member.summary.error {
                None => Ok((member, context)),
                Some(failure) => Err(RunError::ControlPlane { host: first.name.clone(), failure: failure.clone() }),
            },
            None => Err(RunError::ControlPlane { host: first.name.clone(), failure: interrupted() }),
        }
    }

    /// Whether the run was interrupted.
    pub(crate) fn interrupted(&self) -> bool {
        self.options.cancel.is_cancelled()
    }

    /// Takes the cluster's lock. Waits a moment for one that is held: the host may not have noticed yet that a run was
    /// killed.
    pub(crate) async fn lock(&mut self) -> Result<(), RunError> {
        let options = self.options;
        let (member, context) = self.first_control_plane()?;
        let host = member.host.name.clone();
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match member.lock(options, options.break_lock).await {
                Ok(LockAnswer::Granted) => return Ok(()),
                Ok(LockAnswer::Held { owner, silent_seconds }) => {
                    if Instant::now() >= deadline {
                        return Err(RunError::Locked { host, owner, silent_seconds });
                    }
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(SessionError::Cancelled) => return Err(RunError::Interrupted),
                Err(error) => {
                    let failure = error.failure();
                    member.fail(Stage::Connect, failure.clone(), context.teller);
                    return Err(RunError::ControlPlane { host, failure });
                }
            }
        }
    }

    /// Ends all sessions, all at once, in bounded time. `agent` says what becomes of the agents.
    pub(crate) async fn close(mut self, agent: Closing) {
        // Only the run that holds the lock knows that nobody else is staging, and it keeps the lock until all others are done.
        let (holder, others): (Vec<_>, Vec<_>) = self.members.iter_mut().partition(|member| member.holds_lock);
        let locked = !holder.is_empty();
        for members in [others, holder] {
            let closing = members.into_iter().map(|member| member.close(agent, locked));
            futures_util::future::join_all(closing).await;
        }
    }
}

/// What becomes of the agents at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// They stay: they are part of the cluster.
    Keep,
    /// Those that this run put there go: the command changes nothing.
    AsFound,
    /// They go.
    Remove,
}

impl Context<'_, '_> {
    /// A host enters a stage.
    pub(crate) fn tell_stage(&self, member: &Member<'_>, stage: Stage, steps: usize) {
        self.teller.tell(Event::HostStage { host: member.host.name.clone(), stage, steps });
    }
}

impl<'a> Member<'a> {
    /// Opens the connection and gathers facts.
    async fn connect(&mut self, context: Context<'_, 'a>, attempts: u32) -> Result<(), SessionError> {
        let os = self.host.os();
        let Some(agent) = context.agents.get(&os) else {
            return Err(SessionError::Refused(Failure {
                attempted: format!("find an agent for {os}"),
                answer: "there is none".to_owned(),
                hint: Some("`cargo xtask dist` builds the agents".to_owned()),
            }));
        };
        let teller = context.teller.clone();
        let options = k8swin_transport::Options {
            connect_timeout: CONNECT_TIMEOUT,
            attempts,
            secrets: Arc::clone(&context.options.secrets),
            ssh_config: context.options.ssh_config.clone(),
            on_retry: Arc::new(move |host, cause| {
                teller.tell(Event::Retrying { host: host.to_owned(), cause: cause.to_owned() });
            }),
        };
        let transport = tokio::select! {
            biased;
            () = context.options.cancel.cancelled() => return Err(SessionError::Cancelled),
            connected = k8swin_transport::connect(self.host, agent, &options) => {
                connected.map_err(|error| SessionError::Refused(error.failure()))?
            }
        };
        let mut session = AgentSession::new(transport, context.options.cancel.clone());
        self.put_agent |= session.put_agent();
        let asked = Timestamp::now();
        let answer = session.ask(Request::Facts).await;
        let answered = Timestamp::now();
        // The session is kept whatever the answer was, so that it is closed in order.
        self.session = Some(session);
        let Response::Facts(facts) = answer? else {
            return Err(SessionError::Nonsense { request: "facts" });
        };
        let here = i64::midpoint(asked.as_millisecond(), answered.as_millisecond());
        self.clock_ahead_ms = facts.common().clock_ms - here;
        self.facts = Some(*facts);
        if self.holds_lock {
            self.relock(context.options).await?;
        }
        Ok(())
    }

    /// The session, for one request.
    pub(crate) fn session(&mut self) -> Result<&mut AgentSession, SessionError> {
        self.session.as_mut().ok_or_else(|| {
            SessionError::Refused(Failure {
                attempted: "talk to the agent".to_owned(),
                answer: "there is no connection".to_owned(),
                hint: None,
            })
        })
    }

    /// Does `work` with the session; when the connection is lost, opens it again and repeats the work, which must
    /// therefore be harmless to repeat.
    pub(crate) async fn persist<T>(
        &mut self,
        context: Context<'_, 'a>,
        work: impl AsyncFn(&mut Self) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let mut attempt = 1;
        loop {
            match work(self).await {
                Err(SessionError::Lost(error)) if attempt < context.options.attempts => {
                    attempt += 1;
                    context
                        .teller
                        .tell(Event::Retrying { host: self.host.name.clone(), cause: error.failure().to_string() });
                    self.drop_session().await;
                    self.connect(context, context.options.attempts).await?;
                }
                result => return result,
            }
        }
    }

    /// Restarts the host, waits until it has really booted again, and opens the connection.
    pub(crate) async fn reboot(&mut self, context: Context<'_, 'a>, reason: &str) -> Result<(), SessionError> {
        context.teller.tell(Event::Rebooting { host: self.host.name.clone(), reason: reason.to_owned() });
        let before = self.facts.as_ref().map(|facts| facts.common().boot_id.clone());
        match self.session()?.ask(Request::Reboot { reason: reason.to_owned() }).await {
            // The connection may end before the answer is here.
            Ok(_) | Err(SessionError::Lost(_)) => {}
            Err(error) => return Err(error),
        }
        self.drop_session().await;
        let deadline = Instant::now() + REBOOT_TIMEOUT;
        let mut pause = Duration::from_millis(100);
        let mut last_answer = String::new();
        while Instant::now() < deadline {
            tokio::select! {
                biased;
                () = context.options.cancel.cancelled() => return Err(SessionError::Cancelled),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(5));
            match self.connect(context, 1).await {
                Ok(()) if self.facts.as_ref().map(|facts| &facts.common().boot_id) != before.as_ref() => return Ok(()),
                // Still the old system, on its way down.
                Ok(()) => self.drop_session().await,
                Err(SessionError::Cancelled) => return Err(SessionError::Cancelled),
                Err(error) => {
                    last_answer = error.failure().to_string();
                    self.drop_session().await;
                }
            }
        }
        Err(SessionError::Refused(Failure {
            attempted: format!("restart the host ({reason})"),
            answer: format!(
                "it has not come back within {} minutes; last answer: {last_answer}",
                REBOOT_TIMEOUT.as_secs() / 60
            ),
            hint: Some("look at its console; when it is up, run the same command again".to_owned()),
        }))
    }

    /// The host takes no further part.
    pub(crate) fn fail(&mut self, stage: Stage, failure: Failure, teller: &Teller) {
        teller.tell(Event::HostFailed { host: self.host.name.clone(), stage, failure: failure.clone() });
        self.summary.error = Some(failure);
    }

    async fn lock(&mut self, options: &Options, break_lock: bool) -> Result<LockAnswer, SessionError> {
        let request = Request::Lock { owner: options.owner.clone(), break_lock };
        match self.session()?.ask(request).await? {
            Response::Lock(answer) => {
                self.holds_lock = answer == LockAnswer::Granted;
                Ok(answer)
            }
            _ => Err(SessionError::Nonsense { request: "lock" }),
        }
    }

    /// After a lost connection: the agent gave the lock back when the connection ended.
    async fn relock(&mut self, options: &Options) -> Result<(), SessionError> {
        match self.lock(options, false).await? {
            LockAnswer::Granted => Ok(()),
            LockAnswer::Held { owner, .. } => Err(SessionError::Refused(Failure {
                attempted: "take the cluster's lock again after a lost connection".to_owned(),
                answer: format!("{owner} has taken it meanwhile"),
                hint: Some("wait for the other run, then run this again".to_owned()),
            })),
        }
    }

    async fn drop_session(&mut self) {
        if let Some(session) = self.session.take() {
            // What is lost cannot be closed in order; trying is bounded and quiet.
            let _ = tokio::time::timeout(Duration::from_secs(1), session.close(AgentFate::Keep, false)).await;
        }
    }

    async fn close(&mut self, closing: Closing, clear_staging: bool) {
        let Some(session) = self.session.take() else { return };
        let fate = match closing {
            Closing::Keep => AgentFate::Keep,
            Closing::AsFound if self.put_agent => AgentFate::Remove,
            Closing::AsFound => AgentFate::Keep,
            Closing::Remove => AgentFate::Remove,
        };
        match tokio::time::timeout(CLOSE_TIMEOUT, session.close(fate, clear_staging)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(host = %self.host.name, error = %error.failure(), "closing failed"),
            Err(_) => tracing::warn!(host = %self.host.name, "closing the session took too long"),
        }
    }
}
