//! One host of a run: its session, what is known of it, and how it gets over lost connections and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8swin_inventory::{Cluster, Host};
use k8swin_protocol::facts::{ServiceState, ServiceStatus};
use k8swin_protocol::probe::Listen;
use k8swin_protocol::resource::{HostResources, ResourceId};
use k8swin_protocol::wire::{Checked, Failure, LockAnswer, Request, Response, ToAgent};
use k8swin_protocol::{Facts, Os};
use k8swin_transport::{AgentBinary, AgentFate, ConnectError, TransportError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::event::{Event, Stage};
use crate::journal::Teller;
use crate::report::HostSummary;
use crate::session::{AgentSession, RawInput, SessionError};

/// How long opening one connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long, beyond the time for its confirmation, a host may need to make a change of its network or to take it back:
/// Docker's networks take a minute.
const NETWORK_CHANGE: Duration = Duration::from_secs(180);
/// Between two tries to reach a host whose network changes.
const NETWORK_POLL: Duration = Duration::from_secs(1);
/// How long the lock is waited for after a lost connection, when somebody else was faster: half a minute of silence frees
/// it.
const RELOCK_PATIENCE: Duration = Duration::from_secs(35);
/// Between two tries to take the lock.
const LOCK_POLL: Duration = Duration::from_millis(200);
/// Between two signs of life of a run that holds the lock, which is lost after half a minute of silence.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long closing one session may take, also after Ctrl-C.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// One host of a run.
pub(crate) struct Member<'a> {
    /// The host.
    pub(crate) host: &'a Host,
    /// What it is and has.
    pub(crate) facts: Option<Facts>,
    /// How far its clock is ahead of this machine's at least, in milliseconds.
    clock_ahead_ms: i64,
    /// What its agent is to listen on for the others' from its start.
    listen: Option<Listen>,
    /// The ports on which it does.
    pub(crate) listening: Vec<u16>,
    /// All that is planned for it.
    pub(crate) resources: Option<HostResources>,
    /// What the check of all that found.
    pub(crate) checked: Option<Checked>,
    /// Those of it that could not be looked at, and that no earlier run had made.
    pub(crate) new: BTreeSet<ResourceId>,
    /// What the run did on it.
    pub(crate) summary: HostSummary,
    session: Option<AgentSession>,
    /// What earlier connections have shown of the way that bytes take.
    raw_input: RawInput,
    /// How often a connection was opened.
    connections: u64,
    /// How often one was lost in the middle of work.
    losses: u64,
    /// Whether its kubelet ran when the host was first looked at.
    in_service: bool,
    /// Whether an earlier connection of this run put the agent there.
    put_agent: bool,
    /// The run as it is named in the cluster's lock, where this run holds that.
    lock: Option<String>,
    /// Names this run to the host's agent.
    run: String,
    detached: Detached,
}

impl<'a> Member<'a> {
    /// A host that is not connected yet.
    pub(crate) fn new(host: &'a Host) -> Self {
        Self {
            host,
            facts: None,
            clock_ahead_ms: 0,
            listen: None,
            listening: Vec::new(),
            resources: None,
            checked: None,
            new: BTreeSet::new(),
            summary: HostSummary::default(),
            session: None,
            raw_input: RawInput::default(),
            connections: 0,
            losses: 0,
            in_service: false,
            put_agent: false,
            lock: None,
            run: format!("{}-{}", std::process::id(), Timestamp::now().as_nanosecond()),
            detached: Detached::default(),
        }
    }

    /// Whether it still takes part.
    pub(crate) fn takes_part(&self) -> bool {
        self.summary.error.is_none()
    }

    /// Whether this run holds the cluster's lock there.
    pub(crate) fn holds_lock(&self) -> bool {
        self.lock.is_some()
    }

    /// Whether the host is changing its network, for whoever hears that it begins.
    pub(crate) fn detached(&self) -> Detached {
        self.detached.clone()
    }

    /// What makes the agent change the network detached; none where that is not asked for.
    pub(crate) fn detach(&self, options: &Options) -> Option<Request> {
        let confirm_within_seconds = u32::try_from(options.confirm_within.as_secs()).unwrap_or(u32::MAX);
        (confirm_within_seconds > 0).then(|| Request::Detach { run: self.run.clone(), confirm_within_seconds })
    }

    /// Why a restart was pending already when the host was last looked at.
    pub(crate) fn pending_restart(&self) -> &[String] {
        match &self.facts {
            Some(Facts::Windows(facts)) => &facts.pending_reboot,
            _ => &[],
        }
    }

    /// Tells one connection from the next.
    pub(crate) fn connections(&self) -> u64 {
        self.connections
    }

    /// How often a connection was lost in the middle of work that was then done over another one.
    pub(crate) fn losses(&self) -> u64 {
        self.losses
    }

    /// Whether it served as a node when the host was first looked at.
    pub(crate) fn in_service(&self) -> bool {
        self.in_service
    }

    /// What its agent is to listen on for the others' from the next start on; nothing.
    pub(crate) fn will_listen(&mut self, listen: Option<Listen>) {
        self.listen = listen;
    }

    /// How far its clock is ahead of this machine's at least, in milliseconds.
    pub(crate) fn clock_ahead_ms(&self) -> i64 {
        self.clock_ahead_ms
    }
}

/// Whether a host is changing its network: then it may not be reached until the change is made or taken back.
#[derive(Clone, Default)]
pub(crate) struct Detached(Arc<Mutex<Option<Instant>>>);

impl Detached {
    /// It is, from now on.
    pub(crate) fn begin(&self, confirm_within_seconds: u32) {
        let over = Instant::now() + Duration::from_secs(confirm_within_seconds.into()) + NETWORK_CHANGE;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(over);
    }

    /// It is no longer.
    pub(crate) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Until when it must be over.
    fn until(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was last seen of a host that restarts.
struct LastSeen {
    boot: String,
    at: Timestamp,
    error: Option<String>,
}

impl LastSeen {
    fn tell(&self, address: &str) -> String {
        let Self { boot, at, error } = self;
        let error = error.as_ref().map_or(String::new(), |error| format!("; last error: {error}"));
        format!("{address} last answered at {at:.0}, still in the boot {boot}{error}")
    }
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
    /// The agents.
    pub(crate) agents: &'f BTreeMap<Os, AgentBinary>,
    /// How many may do something at once.
    pub(crate) limits: &'f Limits,
}

/// How many hosts may do something at once.
pub(crate) struct Limits {
    /// Be worked on at all.
    pub(crate) hosts: Semaphore,
    /// Receive files.
    pub(crate) uploads: Semaphore,
    /// Be out of service, of those that were in service.
    pub(crate) unavailable: Semaphore,
}

impl Limits {
    /// As the options have them.
    pub(crate) fn new(cluster: &Cluster, options: &Options) -> Self {
        let workers = cluster.hosts.iter().filter(|host| host.is_worker()).count();
        let permits = |number: usize| Semaphore::new(number.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            hosts: permits(options.parallel),
            uploads: permits(options.uploads),
            unavailable: permits(options.max_unavailable.unwrap_or(workers / 4)),
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
    /// They go, except from hosts that failed: what is left there may need them.
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
            cancel: context.options.cancel.clone(),
        };
        let asked = [Request::Facts].into_iter().chain(self.listen.clone().map(Request::Listen));
        let asked: Vec<_> = (1..).zip(asked).map(|(id, request)| ToAgent { id, request }).collect();
        let opening = ToAgent::opening(&asked);
        let connected = k8swin_transport::connect(self.host, agent, Some(&opening), &options).await;
        let transport = connected.map_err(|error| match error {
            ConnectError::Cancelled { .. } => SessionError::Cancelled,
            error => SessionError::Refused(error.failure()),
        })?;
        let session = AgentSession::new(transport, context.options.cancel.clone(), asked.len() as u64, self.raw_input);
        self.put_agent |= session.put_agent();
        self.connections += 1;
        // The session is kept whatever the answers are, so that it is closed in order.
        let session = self.session.insert(session);
        let answer = session.answer(1, &mut |_| {}).await;
        let answered = Timestamp::now().as_millisecond();
        let started = Timestamp::try_from(session.started()).map_or(answered, Timestamp::as_millisecond);
        let Response::Facts(facts) = answer? else {
            return Err(SessionError::Nonsense { request: "facts" });
        };
        if let Facts::Windows(facts) = &*facts {
            session.set_envelope_kib(facts.max_envelope_size_kb);
        }
        // It looked at its clock at some moment between the two: only what lies outside is known to be wrong.
        let clock = facts.common().clock_ms;
        self.clock_ahead_ms = clock - clock.clamp(started.min(answered), answered);
        if self.facts.is_none() {
            let kubelet = |service: &ServiceStatus| service.name == "kubelet" && service.state == ServiceState::Running;
            self.in_service = facts.common().services.iter().any(kubelet);
        }
        self.facts = Some(*facts);
        if self.listen.is_some() {
            let Response::Listening { ports } = session.answer(2, &mut |_| {}).await? else {
                return Err(SessionError::Nonsense { request: "listen" });
            };
            self.listening = ports;
        }
        if let Some(run) = self.lock.clone() {
            self.relock(context.options, &run).await?;
        }
        Ok(())
    }

    /// Opens the connection. While the host changes its network, no answer is no reason to give up.
    async fn open(&mut self, context: Context<'_, 'a>) -> Result<(), SessionError> {
        let Some(until) = self.detached.until() else {
            return self.connect(context, context.options.attempts).await;
        };
        loop {
            match self.connect(context, 1).await {
                Ok(()) => return Ok(()),
                Err(SessionError::Cancelled) => return Err(SessionError::Cancelled),
                Err(error) => {
                    self.drop_session().await;
                    if Instant::now() >= until {
                        let answer = format!("it has not answered since; last error: {}", error.failure());
                        return Err(SessionError::Refused(Failure {
                            attempted: "reach the host after a change of its network".to_owned(),
                            answer,
                            hint: Some(
                                "it takes back what is not confirmed, by itself; look at its adapters and addresses on \
                                 its console, and at pod_adapter and node_address in the inventory"
                                    .to_owned(),
                            ),
                        }));
                    }
                }
            }
            tokio::select! {
                biased;
                () = context.options.cancel.cancelled() => return Err(SessionError::Cancelled),
                () = tokio::time::sleep(NETWORK_POLL) => {}
            }
        }
    }

    /// Confirms a change of the host's network over a new connection, which proves that the way to the host is open.
    pub(crate) async fn confirm(&mut self, context: Context<'_, 'a>, change: &str) -> Result<(), SessionError> {
        self.drop_session().await;
        let confirmation = Request::Confirm { change: change.to_owned() };
        let confirmed = self.persist(context, async |member| member.session()?.ask(confirmation.clone()).await).await;
        self.detached.end();
        confirmed.map(drop)
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
    /// therefore be harmless to repeat. Opens the connection first when there is none yet.
    pub(crate) async fn persist<T>(
        &mut self,
        context: Context<'_, 'a>,
        work: impl AsyncFn(&mut Self) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let mut attempt = 1;
        loop {
            let opened = match self.session {
                Some(_) => Ok(()),
                None => self.open(context).await,
            };
            let result = match opened {
                Ok(()) => work(self).await,
                Err(error) => Err(error),
            };
            match result {
                Err(SessionError::Lost(error)) if attempt < context.options.attempts => {
                    attempt += 1;
                    self.losses += 1;
                    context
                        .teller
                        .tell(Event::Retrying { host: self.host.name.clone(), cause: error.failure().to_string() });
                    self.drop_session().await;
                }
                result => return result,
            }
        }
    }

    /// Restarts the host, waits until it has really booted again, and opens the connection.
    pub(crate) async fn reboot(&mut self, context: Context<'_, 'a>, reason: &str) -> Result<(), SessionError> {
        context.teller.tell(Event::Rebooting { host: self.host.name.clone(), reason: reason.to_owned() });
        let before = self.facts.as_ref().map(|facts| facts.common().boot_id.clone());
        let boot = before.clone().unwrap_or_default();
        let mut seen = LastSeen { boot, at: Timestamp::now(), error: None };
        let held_lock = self.holds_lock();
        let order = Request::Reboot { reason: reason.to_owned() };
        let mut obeyed = match self.session()?.ask(order.clone()).await {
            Ok(_) => true,
            // The connection may end before the answer is here, or before the order is there.
            Err(SessionError::Lost(_)) => false,
            Err(error) => return Err(error),
        };
        self.drop_session().await;
        let deadline = Instant::now() + context.options.restart_within;
        let mut pause = Duration::from_millis(100);
        while Instant::now() < deadline {
            tokio::select! {
                biased;
                () = context.options.cancel.cancelled() => return Err(SessionError::Cancelled),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(5));
            match self.connect(context, 1).await {
                Ok(()) if self.facts.as_ref().map(|facts| &facts.common().boot_id) != before.as_ref() => return Ok(()),
                // Still the old system: on its way down, unless it never got the order. One that is on its way down may
                // refuse a second one.
                Ok(()) => {
                    seen = LastSeen { at: Timestamp::now(), ..seen };
                    if !obeyed {
                        obeyed = self.session()?.ask(order.clone()).await.is_ok();
                    }
                    self.drop_session().await;
                }
                Err(SessionError::Cancelled) => return Err(SessionError::Cancelled),
                // The host is back, but somebody else is at work now.
                Err(error) if self.holds_lock() != held_lock => return Err(error),
                Err(error) => {
                    seen.error = Some(error.failure().to_string());
                    self.drop_session().await;
                }
            }
        }
        Err(SessionError::Refused(Failure {
            attempted: format!("restart the host ({reason})"),
            answer: format!(
                "it has not come back within {} s; {}",
                context.options.restart_within.as_secs(),
                seen.tell(&self.host.address.to_string())
            ),
            hint: Some("look at its console; when it is up, run the same command again".to_owned()),
        }))
    }

    /// The host takes no further part.
    pub(crate) fn fail(&mut self, stage: Stage, failure: Failure, teller: &Teller) {
        teller.tell(Event::HostFailed { host: self.host.name.clone(), stage, failure: failure.clone() });
        self.summary.error = Some(failure);
    }

    /// The host has ended its part of a stage, well or not. `told` says whether a good end is told.
    pub(crate) fn finish<T>(
        &mut self,
        stage: Stage,
        result: Result<T, SessionError>,
        told: bool,
        context: Context<'_, 'a>,
    ) -> Option<T> {
        match result {
            Ok(result) => {
                if told {
                    context.teller.tell(Event::HostDone { host: self.host.name.clone(), stage });
                }
                Some(result)
            }
            Err(error) => {
                self.fail(stage, error.failure(), context.teller);
                None
            }
        }
    }

    /// Asks for the cluster's lock until it is granted or `patience` is at its end, and gives the last answer.
    pub(crate) async fn take_lock(
        &mut self,
        options: &Options,
        run: &str,
        break_lock: bool,
        patience: Duration,
    ) -> Result<LockAnswer, SessionError> {
        let deadline = Instant::now() + patience;
        loop {
            let request = Request::Lock { owner: options.owner.clone(), run: run.to_owned(), break_lock };
            let Response::Lock(answer) = self.session()?.ask(request).await? else {
                return Err(SessionError::Nonsense { request: "lock" });
            };
            if answer == LockAnswer::Granted {
                self.lock = Some(run.to_owned());
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                return Ok(answer);
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    /// Takes the lock over from this run's former connection.
    async fn relock(&mut self, options: &Options, run: &str) -> Result<(), SessionError> {
        match self.take_lock(options, run, false, RELOCK_PATIENCE).await? {
            LockAnswer::Granted => Ok(()),
            LockAnswer::Held { owner, .. } => {
                self.lock = None;
                Err(SessionError::Refused(Failure {
                    attempted: "take the cluster's lock again after a lost connection".to_owned(),
                    answer: format!("{owner} has it"),
                    hint: Some("wait for the other run, then run this again".to_owned()),
                }))
            }
        }
    }

    /// Waits for something, and gives signs of life meanwhile where the cluster's lock needs them.
    pub(crate) async fn wait<T>(
        &mut self,
        context: Context<'_, 'a>,
        done: impl Future<Output = T>,
    ) -> Result<T, SessionError> {
        let mut done = std::pin::pin!(done);
        loop {
            tokio::select! {
                biased;
                () = context.options.cancel.cancelled() => return Err(SessionError::Cancelled),
                done = &mut done => return Ok(done),
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            if self.holds_lock() {
                self.persist(context, async |member| member.session()?.ask(Request::Ping).await).await?;
            }
        }
    }

    /// Gives signs of life until all others are done. When that fails, the host has failed.
    pub(crate) async fn keep_lock(&mut self, stage: Stage, context: Context<'_, 'a>, all_done: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = all_done.cancelled() => return,
                () = context.options.cancel.cancelled() => return,
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            let alive = self.persist(context, async |member| member.session()?.ask(Request::Ping).await).await;
            if let Err(error) = alive {
                return self.fail(stage, error.failure(), context.teller);
            }
        }
    }

    async fn drop_session(&mut self) {
        if let Some(mut session) = self.session.take() {
            self.raw_input = session.raw_input();
            // What is lost cannot be closed in order; trying is bounded and quiet.
            let closing = async {
                if self.holds_lock() && session.is_idle() {
                    let _ = session.ask(Request::KeepLock).await;
                }
                session.close(AgentFate::Keep, false).await
            };
            let _ = tokio::time::timeout(Duration::from_secs(1), closing).await;
        }
    }

    /// Ends the session, in bounded time.
    pub(crate) async fn close(&mut self, closing: Closing, clear_staging: bool) {
        let Some(session) = self.session.take() else { return };
        if closing == Closing::AsFound && !self.put_agent {
            return self.closed(session.leave()).await;
        }
        let fate = match closing {
            Closing::Keep => AgentFate::Keep,
            Closing::AsFound if self.put_agent => AgentFate::Remove,
            Closing::Remove if self.summary.error.is_none() => AgentFate::Remove,
            Closing::AsFound | Closing::Remove => AgentFate::Keep,
        };
        self.closed(session.close(fate, clear_staging)).await;
    }

    async fn closed(&self, closing: impl Future<Output = Result<(), TransportError>>) {
        match tokio::time::timeout(CLOSE_TIMEOUT, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(host = %self.host.name, error = %error.failure(), "closing failed"),
            Err(_) => tracing::warn!(host = %self.host.name, "closing the session took too long"),
        }
    }
}
