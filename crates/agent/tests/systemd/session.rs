//! A session with the agent on a booted host, over its standard input and output.

use std::fs;
use std::io::{BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use k8swin_protocol::depot::Store;
use k8swin_protocol::resource::{CheckOutcome, HostResources, LinuxResource, Phase, Planned, ResourceId};
use k8swin_protocol::wire::{
    self, CHUNK, Checked, Chunk, Failure, FromAgent, PROTOCOL, Request, ResourceResult, Response, ToAgent, WireBytes,
};
use k8swin_protocol::{SecretBytes, Sha256};

use crate::host::Host;

/// What an apply or a removal came to.
pub(crate) type Results = Vec<(ResourceId, ResourceResult)>;

/// A running agent.
pub(crate) struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    requests: u64,
}

impl Session {
    /// Starts the agent and reads its greeting.
    pub(crate) fn open(host: &Host) -> Self {
        Self::start(host, &[host.agent.to_string(), "serve".to_owned()])
    }

    /// Starts the agent with these words and reads its greeting.
    pub(crate) fn start(host: &Host, words: &[String]) -> Self {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let mut child = host.command(&words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut session = Self { child, input, output, requests: 0 };
        match session.read() {
            Some(FromAgent::Hello(hello)) => assert_eq!(hello.protocol, PROTOCOL),
            other => panic!("no greeting: {other:?}"),
        }
        session
    }

    /// Sends a request without waiting for the answer.
    pub(crate) fn send(&mut self, request: Request) {
        self.requests += 1;
        let line = wire::encode(&ToAgent { id: self.requests, request });
        self.input.write_all(line.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    /// The answer to a request; its events are left out.
    pub(crate) fn ask(&mut self, request: Request) -> Result<Response, Failure> {
        self.send(request);
        loop {
            match self.read().expect("the agent ended without an answer") {
                FromAgent::Event { .. } => {}
                FromAgent::Reply { response, .. } => return Ok(response),
                FromAgent::Failed { failure, .. } => return Err(failure),
                FromAgent::Hello(_) => panic!("a second greeting"),
            }
        }
    }

    /// The next line, if there is one.
    pub(crate) fn read(&mut self) -> Option<FromAgent> {
        wire::read_line(&mut self.output).unwrap().map(|line| wire::decode(&line).unwrap())
    }

    pub(crate) fn check(&mut self, resources: &[LinuxResource]) -> Checked {
        match self.ask(Request::Check { resources: planned(resources) }).unwrap() {
            Response::Checked(checked) => checked,
            other => panic!("{other:?}"),
        }
    }

    /// What differs from the resources, one line each.
    pub(crate) fn drift(&mut self, resources: &[LinuxResource]) -> Vec<String> {
        let line = |(id, outcome)| match outcome {
            CheckOutcome::InSync => format!("{id}: in sync"),
            CheckOutcome::Drifted { difference, .. } => format!("{id}: {difference}"),
            CheckOutcome::Unknown { waits_for } => format!("{id}: waits for {waits_for}"),
        };
        self.check(resources).differing.into_iter().map(line).collect()
    }

    /// Applies; the failure is that of the resource that failed, if one did.
    pub(crate) fn apply(&mut self, resources: &[LinuxResource]) -> Result<Results, Failure> {
        self.applied(apply(resources))
    }

    /// Takes back all that is owned, as `reset` does.
    pub(crate) fn reset(&mut self) -> Result<(), Failure> {
        for phase in Phase::ALL.into_iter().rev() {
            self.applied(Request::Remove { phase })?;
        }
        Ok(())
    }

    /// Takes back what is owned and not among these, as `up` does.
    pub(crate) fn prune(&mut self, keep: &[ResourceId]) -> Result<Results, Failure> {
        self.applied(Request::Prune { keep: keep.to_vec() })
    }

    fn applied(&mut self, request: Request) -> Result<Results, Failure> {
        let Response::Applied { results } = self.ask(request)? else { panic!("not an answer to this request") };
        match results.last() {
            Some((_, ResourceResult::Failed(failure))) => Err(failure.clone()),
            _ => Ok(results),
        }
    }

    /// Sends a blob as the orchestrator does.
    pub(crate) fn stage(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        put(bytes).into_iter().try_for_each(|request| self.ask(request).map(drop))
    }

    /// Ends as a session should.
    pub(crate) fn bye(mut self) {
        self.ask(Request::Bye { clear_staging: true }).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status:?}");
    }

    /// Kills the agent, not only what carries its words.
    pub(crate) fn kill(mut self) {
        let agent = k8swin_sandbox::children(self.child.id());
        assert_eq!(agent.len(), 1, "nsenter has one child, the agent");
        let status = std::process::Command::new("kill").args(["-KILL", &agent[0].to_string()]).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap();
        while fs::metadata(format!("/proc/{}", agent[0])).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The requests that send a blob.
pub(crate) fn put(bytes: &[u8]) -> Vec<Request> {
    let (sha256, size) = (Sha256::of(bytes), bytes.len() as u64);
    let piece = |(number, piece): (usize, &[u8])| {
        let zstd = ruzstd::encoding::compress_to_vec(piece, ruzstd::encoding::CompressionLevel::Fastest);
        let zstd = WireBytes(SecretBytes::new(zstd));
        Request::Put(Chunk { sha256, size, offset: (number * CHUNK) as u64, zstd, store: Store::Staging })
    };
    bytes.chunks(CHUNK).enumerate().map(piece).collect()
}

/// The request that applies these.
pub(crate) fn apply(resources: &[LinuxResource]) -> Request {
    Request::Apply { cluster: "demo".into(), resources: planned(resources) }
}

pub(crate) fn planned(resources: &[LinuxResource]) -> HostResources {
    let planned = |resource: &LinuxResource| Planned { phase: Phase::LinuxNodes, resource: resource.clone() };
    HostResources::Linux(resources.iter().map(planned).collect())
}
