//! A machine for Wine, in namespaces of its own: built, booted, talked to, powered off.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use k8swin_protocol::resource::{CheckOutcome, HostResources, Phase, Planned, ResourceId, WindowsResource};
use k8swin_protocol::wire::{self, Failure, FromAgent, Request, ResourceResult, Response, ToAgent};
pub(crate) use k8swin_stand_ins::kit::LOADER;
use k8swin_stand_ins::kit::{COMPILER, Kit, LINUX_SIDE, SERVER, build_for_windows, target_folder};
use k8swin_stand_ins::netsh::Persistent;

const BOOT: &str = include_str!("boot.sh");

/// How long anything may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The machine's routable address, and the one of its second adapter.
pub(crate) const ADDRESS: [u8; 4] = [10, 5, 6, 216];
pub(crate) const SECOND: &str = "10.5.7.216/24";

/// What is built once for all machines.
struct Parts {
    kit: Kit,
    prefix: PathBuf,
    programs: PathBuf,
}

fn parts() -> Result<&'static Parts, String> {
    static PARTS: OnceLock<Result<Parts, String>> = OnceLock::new();
    let parts = PARTS.get_or_init(|| {
        if std::env::var_os("K8SWIN_HOST_TESTS").is_none() {
            return Err("running the Windows agent takes two minutes: K8SWIN_HOST_TESTS=1 asks for it".to_owned());
        }
        let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
        if !root {
            return Err("only root makes the namespaces of a machine".to_owned());
        }
        let cargo = env!("CARGO").as_ref();
        k8swin_stand_ins::kit::needed()?;
        let kit = Kit::build(cargo).unwrap();
        let agent = ["--package", "k8swin-agent", "--features", "fault-injection", "--bins"];
        let programs = build_for_windows(cargo, &agent).unwrap();
        let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wine/worker.c");
        let compiled = Command::new(COMPILER).arg("-o").arg(programs.join("worker.exe")).arg(worker).status();
        assert!(compiled.unwrap().success());
        Ok(Parts { prefix: kit.prefix().unwrap(), kit, programs })
    });
    parts.as_ref().map_err(Clone::clone)
}

/// A machine of its own.
pub(crate) struct Machine {
    folder: PathBuf,
    first: Child,
    leader: u32,
}

/// The machines that the tests of a topic share, one for each topic.
#[derive(Clone, Copy)]
pub(crate) enum Topic {
    /// Services and their programs.
    Services,
    /// The network, Docker, and all that is neither of the others.
    Resources,
    /// Calls that fail.
    Faults,
}

/// The machine of a topic, for one test at a time; none, and a line why, where that cannot be.
pub(crate) fn machine(topic: Topic) -> Option<Shared> {
    static MACHINES: [Mutex<Option<Machine>>; 3] = [const { Mutex::new(None) }; 3];
    let parts = match parts() {
        Ok(parts) => parts,
        Err(missing) => {
            writeln!(std::io::stderr(), "skipped: {missing}").unwrap();
            return None;
        }
    };
    let mutex = &MACHINES[topic as usize];
    // A test that failed may have left anything behind: the next one gets another machine.
    let mut machine = mutex.lock().unwrap_or_else(|poisoned| {
        mutex.clear_poison();
        let mut machine = poisoned.into_inner();
        *machine = None;
        machine
    });
    if machine.is_none() {
        *machine = Some(Machine::new(parts));
    }
    Some(Shared(machine))
}

/// A machine that a test has for itself.
pub(crate) struct Shared(MutexGuard<'static, Option<Machine>>);

impl std::ops::Deref for Shared {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        self.0.as_ref().unwrap()
    }
}

impl Machine {
    fn new(parts: &Parts) -> Self {
        static MACHINES: AtomicU32 = AtomicU32::new(0);
        remove_what_ended_tests_left();
        let number = MACHINES.fetch_add(1, Ordering::Relaxed);
        let folder = folders().join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for part in ["upper", "work", "prefix"] {
            fs::create_dir(folder.join(part)).unwrap();
        }
        // The first process goes when the thread of the test ends, however it ends, and all others in there with it.
        let mut first = Command::new("unshare")
            .args(["--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", BOOT, "boot"])
            .args([&parts.prefix, &folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut namespace = String::new();
        BufReader::new(first.stdout.take().unwrap()).read_line(&mut namespace).unwrap();
        assert!(namespace.starts_with("net:"), "the machine did not start");
        let id = first.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let machine = Self { folder, first, leader: children.trim().parse().unwrap() };
        let network = Persistent {
            addresses: [("eth0", "10.5.6.216/24"), ("eth1", SECOND)]
                .map(|(adapter, address)| (adapter.to_owned(), vec![address.parse().unwrap()]))
                .into(),
            ..Persistent::default()
        };
        parts.kit.install(&machine.root(&machine.prefix()), &namespace, &network).unwrap();
        for folder in ["bin", "work"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        for (name, to) in [("k8swin-agent", "bin"), ("agent-with-faults", "work"), ("worker", "work")] {
            let name = format!("{name}.exe");
            fs::copy(parts.programs.join(&name), machine.path(to).join(&name)).unwrap();
        }
        machine.boot();
        for (linux, windows) in [("eth0", "Ethernet"), ("eth1", "Ethernet 2")] {
            let key = format!(r"HKLM\{}", k8swin_stand_ins::ADAPTER_NAMES);
            machine.run_windows(&["reg", "add", &key, "/f", "/v", linux, "/d", windows]);
        }
        machine.run_windows(&[r"C:\Program Files\Docker\dockerd.exe", "--register-service"]);
        machine.reboot();
        machine
    }

    /// Builds a program out of a source beside these tests; `to` is below `C:\\k8swin`.
    pub(crate) fn compile(&self, source: &str, to: &str, arguments: &[&str]) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wine").join(source);
        let status = Command::new(COMPILER).arg("-o").arg(self.path(to)).arg(&source).args(arguments).status();
        assert!(status.unwrap().success(), "{} does not compile", source.display());
    }

    /// Kind and text of the machine's search path, as the registry has it.
    pub(crate) fn search_path(&self) -> (String, String) {
        let key = r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment";
        let text = self.run_windows(&["reg", "query", key, "/v", "PATH"]);
        let line = text.lines().find(|line| line.trim().to_lowercase().starts_with("path")).unwrap_or_default();
        let mut words = line.trim().splitn(3, "    ").skip(1).map(|word| word.trim().to_owned());
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    fn prefix(&self) -> PathBuf {
        self.folder.join("prefix")
    }

    /// A file of the machine, seen from outside.
    fn root(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.leader, path.display()))
    }

    /// A program of Linux in the machine's namespaces.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--uts", "--net", "--pid", "--target", &self.leader.to_string(), "--", program]);
        command.env_remove("DISPLAY").env("WINEPREFIX", self.prefix()).env("WINEDEBUG", "-all").stdin(Stdio::null());
        command
    }

    /// Runs a program of Linux that must succeed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let output = self.command(words[0]).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a program of Windows that must succeed.
    pub(crate) fn run_windows(&self, words: &[&str]) -> String {
        self.run(&[&[LOADER], words].concat())
    }

    fn server(&self, argument: &str) {
        // Its end is not this test's subject.
        let _ = self.command(SERVER).arg(argument).stderr(Stdio::null()).status().unwrap();
    }

    fn boot(&self) {
        self.run(&[self.prefix().join(LINUX_SIDE).to_str().unwrap(), "boot"]);
        // A server that stays lets services live on between two commands.
        self.server("-p");
        // The first program starts the services that start at boot. They keep what it has for its output, so that whoever
        // reads that would wait for their end.
        let first =
            self.command(LOADER).args(["cmd", "/c", "ver"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(first.unwrap().success());
    }

    /// Ends all that runs on it.
    pub(crate) fn power_off(&self) {
        self.server("-k");
        self.server("-w");
    }

    /// Boots it anew: what only Linux' kernel had is gone.
    pub(crate) fn reboot(&self) {
        self.power_off();
        for link in ["eth0", "eth1", "lo"] {
            self.run(&["ip", "-4", "address", "flush", "dev", link, "scope", "global"]);
        }
        let links = self.run(&["ip", "-oneline", "link", "show", "type", "bridge"]);
        for link in links.lines().filter_map(|line| line.split(": ").nth(1)) {
            self.run(&["ip", "link", "del", link]);
        }
        self.boot();
        self.wait_for("Docker after the boot", || {
            let asked = self.command("curl").args(["--silent", "--fail", "http://127.0.0.1:2375/_ping"]).output();
            asked.is_ok_and(|asked| asked.status.success())
        });
    }

    /// Starts the agent.
    pub(crate) fn session(&self) -> Session {
        Session::start(self.command(LOADER).args([r"C:\k8swin\bin\k8swin-agent.exe", "serve"]))
    }

    /// Starts the agent whose calls fail as the file `faults` says.
    pub(crate) fn session_with_faults(&self) -> Session {
        let agent = [r"C:\k8swin\work\agent-with-faults.exe", "serve", r"C:\k8swin\work\faults"];
        Session::start(self.command(LOADER).args(agent))
    }

    /// Where a file below `C:\k8swin` lies.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root(&self.prefix().join("drive_c/k8swin").join(below))
    }

    /// A file below `C:\k8swin`, empty when it is not there.
    pub(crate) fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap_or_default()
    }

    pub(crate) fn write(&self, below: &str, text: &str) {
        fs::write(self.path(below), text).unwrap();
    }

    /// What `netsh` was called with: its arguments in a line each.
    pub(crate) fn netsh_calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.root(&self.prefix().join("drive_c/stand-ins/netsh.log"))).unwrap_or_default();
        let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let words = |line: serde_json::Value| {
            let words = line["what"]["arguments"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
            words.collect::<Vec<_>>().join(" ")
        };
        lines.map(words).collect()
    }

    /// Waits until something is so.
    pub(crate) fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what} did not come; the log: {}", self.read("log/worker.log"));
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.first.kill();
        let _ = self.first.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where the machines have their files.
fn folders() -> PathBuf {
    target_folder().join("stand-ins/hosts")
}

/// Machines that tests share are there until their process ends: the next one removes their files.
fn remove_what_ended_tests_left() {
    for entry in fs::read_dir(folders()).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name().into_string().unwrap_or_default();
        let runs = name.split('-').next().is_some_and(|process| Path::new("/proc").join(process).exists());
        if !runs {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// How often a request is repeated while Wine does not start a program.
const PROGRAM_STARTS: usize = 3;

/// A conversation with the agent.
pub(crate) struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Session {
    fn start(agent: &mut Command) -> Self {
        let mut child = agent.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut session = Self { child, input, output, next: 1 };
        assert!(matches!(session.receive(), FromAgent::Hello(_)));
        session
    }

    /// What the agent answers. Asked again, a few times, where Wine could not start a program that the agent needs.
    pub(crate) fn ask(&mut self, request: Request) -> Result<Response, Failure> {
        for _ in 0..PROGRAM_STARTS {
            match self.ask_once(request.clone()) {
                Ok(response) if !first_failure(&response).is_some_and(wine_started_nothing) => return Ok(response),
                Err(failure) if !wine_started_nothing(&failure) => return Err(failure),
                troubled => eprintln!("Wine has not started a program: {troubled:?}"),
            }
        }
        self.ask_once(request)
    }

    fn ask_once(&mut self, request: Request) -> Result<Response, Failure> {
        let id = self.next;
        self.next += 1;
        self.input.write_all(wire::encode(&ToAgent { id, request }).as_bytes()).unwrap();
        self.input.flush().unwrap();
        loop {
            match self.receive() {
                FromAgent::Event { .. } => {}
                FromAgent::Reply { response, .. } => return Ok(response),
                FromAgent::Failed { failure, .. } => return Err(failure),
                other => panic!("{other:?}"),
            }
        }
    }

    fn receive(&mut self) -> FromAgent {
        let line = wire::read_line(&mut self.output).unwrap().expect("the agent ended");
        wire::decode(&line).unwrap()
    }

    /// Applies resources; the first failure, or what came of each.
    pub(crate) fn apply(&mut self, resources: &[WindowsResource]) -> Result<Vec<ResourceResult>, Failure> {
        results(self.ask_to_apply(resources)?).map(|results| results.into_iter().map(|(_, result)| result).collect())
    }

    /// What the agent answers to the order to apply resources; as a failure, the first that there was.
    pub(crate) fn ask_to_apply(&mut self, resources: &[WindowsResource]) -> Result<Response, Failure> {
        let answer = self.ask(Request::Apply { cluster: "demo".into(), resources: planned(resources) })?;
        if matches!(answer, Response::Applied { .. }) {
            results(answer.clone())?;
        }
        Ok(answer)
    }

    /// Applies one resource that must fail.
    pub(crate) fn fails(&mut self, resource: WindowsResource) -> Failure {
        self.apply(&[resource]).unwrap_err()
    }

    /// How those stand that are not in sync.
    pub(crate) fn check(&mut self, resources: &[WindowsResource]) -> Vec<CheckOutcome> {
        match self.ask(Request::Check { resources: planned(resources) }).unwrap() {
            Response::Checked(checked) => checked.differing.into_iter().map(|(_, outcome)| outcome).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Takes all back that was applied.
    pub(crate) fn remove(&mut self) -> Result<Vec<ResourceResult>, Failure> {
        let removed = self.ask(Request::Remove { phase: Phase::WindowsNodes })?;
        results(removed).map(|results| results.into_iter().map(|(_, result)| result).collect())
    }

    /// The connection is lost.
    pub(crate) fn lose(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Says goodbye.
    pub(crate) fn end(mut self) {
        self.ask(Request::Bye { clear_staging: true }).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

fn planned(resources: &[WindowsResource]) -> HostResources {
    let resources = resources.iter().cloned();
    HostResources::Windows(resources.map(|resource| Planned { phase: Phase::WindowsNodes, resource }).collect())
}

fn results(response: Response) -> Result<Vec<(ResourceId, ResourceResult)>, Failure> {
    if let Some(failure) = first_failure(&response) {
        return Err(failure.clone());
    }
    let Response::Applied { results } = response else { panic!("{response:?}") };
    Ok(results)
}

/// The failure with which the agent stopped applying resources.
fn first_failure(response: &Response) -> Option<&Failure> {
    let Response::Applied { results } = response else { return None };
    match results.last() {
        Some((_, ResourceResult::Failed(failure))) => Some(failure),
        _ => None,
    }
}

/// Whether a failure is Wine's own. Its `CreateProcess` says `ERROR_INTERNAL_ERROR` where the new process was gone before it
/// had told the server of its start; a machine that is short of something sees that now and then. Windows has no such case,
/// so that the agent does not know of it.
fn wine_started_nothing(failure: &Failure) -> bool {
    failure.answer.ends_with("(os error 1359)")
}

/// How many processes have that text in their command line.
pub(crate) fn processes(text: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let command_lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    command_lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}
