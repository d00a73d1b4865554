//! The same no-op work by Ansible and by k8swin's agent, over SSH, against one real sshd of this machine that has several
//! names: ten files and folders that are as they should be.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_protocol::resource::{Content, Directory, File, HostResources, LinuxResource, Phase, Planned, Protection};
use k8swin_protocol::wire::{self, FromAgent, Request, Response, ToAgent};
use k8swin_protocol::{HostPath, Sha256};
use k8swin_transport::{AgentBinary, AgentFate, Options, Secrets, connect};
use tokio_util::sync::CancellationToken;

use crate::page::{Results, number};
use crate::plot;
use crate::process::{self, Cost};
use crate::run::{Settings, host};

const SSHD: &str = "/usr/sbin/sshd";

/// Folders and files that are there.
const FOLDERS: usize = 4;
const FILES: usize = 6;

/// So many names the server has, each with an address of loopback.
const MOST: usize = 30;

/// One sshd listens on so many addresses (`MAX_LISTEN_SOCKS` of OpenSSH).
const ADDRESSES: usize = 16;

fn address(number: usize) -> String {
    format!("127.0.0.{}", number + 1)
}

/// Measures and writes the results; one line where that cannot be done.
pub(crate) fn run(settings: &Settings, results: &mut Results) -> Result<(), String> {
    results.heading("Ten tasks that are all done, by Ansible and by k8swin", "cargo xtask bench ansible");
    match measured(settings) {
        Ok(points) => report(results, &points),
        Err(why) => results.note(format!("Left out: {why}.")),
    }
    Ok(())
}

/// So many hosts: Ansible's cost and the agent's.
type Point = (usize, Cost, Cost);

fn measured(settings: &Settings) -> Result<Vec<Point>, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("it needs root, as the agent does".to_owned());
    }
    let python = crate::python::environment(&settings.work.join("python-ansible"), &["ansible-core"])?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = Utf8Path::from_path(folder.path()).ok_or("the temporary folder's name is not UTF-8")?;
    let server = Sshd::start(folder)?;
    let tree = folder.join("tree");
    for resource in resources(&tree)? {
        put(&resource).map_err(|error| format!("cannot make what the tasks find: {error}"))?;
    }
    let agent = settings.programs.join("k8swin-agent");
    let sizes: &[usize] = if settings.quick { &[1, 10] } else { &[1, 3, 10, MOST] };
    let mut points = Vec::new();
    for &hosts in sizes {
        let inventory = folder.join("inventory.toml");
        let named = |hosts| std::fs::write(&inventory, server.inventory(hosts)).map_err(|error| error.to_string());
        write_playbook(folder, &tree, &python, &server, hosts)?;
        let mut playbook = Command::new(python.join("ansible-playbook"));
        playbook.args(["-i", "hosts.ini", "playbook.yml"]).current_dir(folder).env("HOME", folder);
        playbook.env("ANSIBLE_CONFIG", folder.join("ansible.cfg"));
        playbook.env("PATH", format!("{python}:{}", std::env::var("PATH").unwrap_or_default()));
        let mut check = settings.this()?;
        check.args(["check-over-ssh", inventory.as_str(), agent.as_str(), tree.as_str()]);
        // All names are one machine's: the agent is put there, and taken away, under one of them.
        named(1)?;
        process::measure(&mut check)?;
        named(hosts)?;
        // Once for connections and caches; then what counts, in turns.
        let (mut theirs, mut ours) = (process::measure(&mut playbook)?.cost, process::measure(&mut check)?.cost);
        for round in 0..if settings.quick { 1 } else { 2 } {
            let (one, other) = (process::measure(&mut playbook)?.cost, process::measure(&mut check)?.cost);
            theirs = if round == 0 || one.seconds < theirs.seconds { one } else { theirs };
            ours = if round == 0 || other.seconds < ours.seconds { other } else { ours };
        }
        points.push((hosts, theirs, ours));
        named(1)?;
        check.arg("--remove");
        process::measure(&mut check)?;
    }
    Ok(points)
}

fn report(results: &mut Results, points: &[Point]) {
    results.text(format!(
        "ansible-core from PyPI with pipelining, without facts, as many forks as hosts; k8swin's agent, which lies on the host already, \
         checks {} equal resources in one request. Both over OpenSSH's sshd of this machine, under as many names as there are \
         hosts: the server's and the modules' work is on the same cores. {FOLDERS} folders and {FILES} files with their content, \
         owner and mode; no services and kernel settings, because a container has no systemd. Whole processes, log-in included.",
        FOLDERS + FILES,
    ));
    let rows: Vec<_> = points
        .iter()
        .map(|(hosts, theirs, ours)| {
            vec![
                hosts.to_string(),
                number(theirs.seconds),
                number(ours.seconds),
                number(theirs.seconds / ours.seconds),
                number(theirs.cpu),
                number(ours.cpu),
                number(theirs.peak_mib),
                number(ours.peak_mib),
            ]
        })
        .collect();
    results.table(
        &[
            "hosts",
            "Ansible s",
            "k8swin s",
            "k8swin is faster by",
            "Ansible CPU s",
            "k8swin CPU s",
            "Ansible MiB",
            "k8swin MiB",
        ],
        &rows,
    );
    let line = |name: &str, cost: fn(&Point) -> f64| plot::Series {
        name: name.to_owned(),
        points: points.iter().map(|point| (point.0.to_string(), cost(point))).collect(),
    };
    let series = [line("Ansible", |point| point.1.seconds), line("k8swin", |point| point.2.seconds)];
    results.plot("ansible.svg", "seconds for ten tasks that are done (logarithmic)", "hosts", &series);
}

fn resources(tree: &Utf8Path) -> Result<Vec<LinuxResource>, String> {
    let path = |name: String| HostPath::new(tree.join(name)).map_err(|error| error.to_string());
    let folders = (0..FOLDERS).map(|number| {
        let path = path(format!("folder{number}"))?;
        Ok(LinuxResource::Directory(Directory { path, protection: Protection::Public, purge: false }))
    });
    let files = (0..FILES).map(|number| {
        let (path, content) = (path(format!("file{number}"))?, Content::Text(text(number)));
        Ok(LinuxResource::File(File { path, content, protection: Protection::Public }))
    });
    folders.chain(files).collect()
}

fn text(number: usize) -> String {
    format!("# A file of the benchmark.\nkey = {number}\n")
}

fn put(resource: &LinuxResource) -> std::io::Result<()> {
    match resource {
        LinuxResource::Directory(folder) => std::fs::create_dir_all(folder.path.as_str()),
        LinuxResource::File(File { path, content: Content::Text(text), .. }) => std::fs::write(path.as_str(), text),
        _ => Ok(()),
    }
}

fn write_playbook(
    folder: &Utf8Path,
    tree: &Utf8Path,
    python: &Utf8Path,
    server: &Sshd,
    hosts: usize,
) -> Result<(), String> {
    let mut playbook = String::from("- hosts: all\n  gather_facts: false\n  tasks:\n");
    for number in 0..FOLDERS {
        let path = tree.join(format!("folder{number}"));
        let _ = writeln!(
            playbook,
            "    - ansible.builtin.file: {{path: \"{path}\", state: directory, mode: \"0755\", owner: root}}"
        );
    }
    for number in 0..FILES {
        let (path, content) = (tree.join(format!("file{number}")), text(number).replace('\n', "\\n"));
        let _ = writeln!(
            playbook,
            "    - ansible.builtin.copy: {{dest: \"{path}\", content: \"{content}\", mode: \"0644\", owner: root}}"
        );
    }
    let settings = format!(
        "[defaults]\nforks = {hosts}\nhost_key_checking = true\ninterpreter_python = {python}/python\n[ssh_connection]\npipelining = true\n\
         ssh_args = -F none -o ControlMaster=auto -o ControlPersist=2s -o UserKnownHostsFile={}\n",
        folder.join("known_hosts")
    );
    let mut names = String::new();
    for number in 0..hosts {
        let _ = writeln!(
            names,
            "{} ansible_host={} ansible_port={} ansible_user=root ansible_ssh_private_key_file={}",
            host(number),
            address(number),
            server.port,
            folder.join("id")
        );
    }
    for (name, content) in [("playbook.yml", &playbook), ("ansible.cfg", &settings), ("hosts.ini", &names)] {
        std::fs::write(folder.join(name), content).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A real sshd on a port of loopback, as often as its addresses need it.
struct Sshd {
    processes: Vec<Child>,
    folder: Utf8PathBuf,
    port: u16,
}

impl Sshd {
    fn start(folder: &Utf8Path) -> Result<Self, String> {
        if !Utf8Path::new(SSHD).exists() {
            return Err(format!("there is no {SSHD}"));
        }
        // sshd insists on this folder when it is root, and its service makes it, which does not run everywhere.
        std::fs::create_dir_all("/run/sshd").map_err(|error| format!("/run/sshd cannot be made: {error}"))?;
        for key in ["host_key", "id"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key));
            process::measure(&mut command)?;
        }
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|error| error.to_string())?
            .port();
        let told = |error: std::io::Error| format!("sshd: {error}");
        let public = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(told);
        std::fs::write(folder.join("authorized_keys"), public("id.pub")?).map_err(told)?;
        let host_key = public("host_key.pub")?.split(' ').take(2).collect::<Vec<_>>().join(" ");
        std::fs::write(
            folder.join("known_hosts"),
            (0..MOST).map(|number| format!("[{}]:{port} {host_key}\n", address(number))).collect::<String>(),
        )
        .map_err(told)?;
        let mut server = Self { processes: Vec::new(), folder: folder.to_owned(), port };
        let numbers: Vec<usize> = (0..MOST).collect();
        for numbers in numbers.chunks(ADDRESSES) {
            server.listen(numbers)?;
        }
        Ok(server)
    }

    /// One more process, for the addresses with these numbers.
    fn listen(&mut self, numbers: &[usize]) -> Result<(), String> {
        let (folder, port) = (&self.folder, self.port);
        let listen: String = numbers.iter().map(|number| format!("ListenAddress {}\n", address(*number))).collect();
        let config = format!(
            "Port {port}\n{listen}HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nPermitRootLogin yes\nPrintMotd no\n\
             MaxSessions 500\nMaxStartups 500\nPerSourcePenalties no\n"
        );
        let told = |error: std::io::Error| format!("sshd: {error}");
        let start = |config: String| {
            std::fs::write(folder.join("sshd_config"), config)?;
            let mut command = Command::new(SSHD);
            command.arg("-D").arg("-f").arg(folder.join("sshd_config"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let mut process = start(config.clone()).map_err(told)?;
        let patience = Instant::now() + Duration::from_secs(5);
        let listens =
            || numbers.iter().all(|number| std::net::TcpStream::connect((address(*number).as_str(), port)).is_ok());
        while !listens() {
            if process.try_wait().map_err(told)?.is_some() && Instant::now() < patience {
                // Older ones know no penalties.
                process = start(config.replace("PerSourcePenalties no\n", "")).map_err(told)?;
            }
            if Instant::now() >= patience {
                process::end(&mut process);
                return Err("sshd does not listen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.processes.push(process);
        Ok(())
    }

    /// An inventory in which it has so many names.
    fn inventory(&self, hosts: usize) -> String {
        let mut text = String::from(
            "schema = 1\n[cluster]\nname = \"bench\"\nkubernetes = \"1.5.8\"\npod_cidr = \"10.128.0.0/9\"\nservice_cidr = \"172.30.0.0/16\"\n",
        );
        let (port, folder) = (self.port, &self.folder);
        let _ = write!(
            text,
            "[defaults.linux]\nuser = \"root\"\nport = {port}\nidentity = \"{folder}/id\"\nknown_hosts = \"{folder}/known_hosts\"\n"
        );
        for number in 0..hosts {
            let roles = if number == 0 { "roles = [\"control-plane\", \"worker\"]\n" } else { "" };
            let _ = write!(
                text,
                "[[host]]\nname = \"{}\"\nos = \"linux\"\naddress = \"{}\"\nnode_address = \"10.1.0.{}\"\n{roles}",
                host(number),
                address(number),
                number + 2
            );
        }
        text
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.processes.iter_mut().for_each(process::end);
    }
}

/// Connects to all hosts of an inventory at once and has the agent check the resources; gives the seconds it took. `fate` is
/// that of the agent, which is put there first where it is missing.
pub(crate) fn check_over_ssh(
    inventory: &Utf8Path,
    agent: &Utf8Path,
    tree: &Utf8Path,
    fate: AgentFate,
) -> Result<f64, String> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
    let text = std::fs::read_to_string(inventory).map_err(|error| format!("cannot read {inventory}: {error}"))?;
    let cluster = k8swin_inventory::parse(&text, inventory).map_err(|errors| errors.to_string())?;
    let bytes: Arc<[u8]> = std::fs::read(agent).map_err(|error| format!("cannot read {agent}: {error}"))?.into();
    let agent = AgentBinary { sha256: Sha256::of(&bytes), bytes };
    let planned = |resource| Planned { phase: Phase::Files, resource };
    let resources = HostResources::Linux(resources(tree)?.into_iter().map(planned).collect());
    let line = wire::encode(&ToAgent { id: 1, request: Request::Check { resources } });
    let options = Options {
        connect_timeout: Duration::from_secs(20),
        attempts: 3,
        secrets: Arc::new(Secrets::without_prompt()),
        ssh_config: None,
        on_retry: Arc::new(|_, _| {}),
        cancel: CancellationToken::new(),
    };
    let started = Instant::now();
    let checks = runtime.block_on(async {
        let (agent, options, line) = (&agent, &options, &line);
        let checks = cluster.hosts.iter().map(|host| check(host, agent, options, line, fate));
        futures_util::future::join_all(checks).await
    });
    for check in checks {
        check?;
    }
    Ok(started.elapsed().as_secs_f64())
}

async fn check(
    host: &k8swin_inventory::Host,
    agent: &AgentBinary,
    options: &Options,
    line: &str,
    fate: AgentFate,
) -> Result<(), String> {
    let told = |failure: wire::Failure| format!("{}: {failure}", host.name);
    let mut session = connect(host, agent, None, options).await.map_err(|error| told(error.failure()))?;
    session.send(line.as_bytes().to_vec().into()).await.map_err(|error| told(error.failure()))?;
    let answer = session.receive().await.map_err(|error| told(error.failure()))?;
    let checked = match wire::decode(&answer) {
        Ok(FromAgent::Reply { response: Response::Checked(checked), .. }) => checked,
        Ok(FromAgent::Failed { failure, .. }) => return Err(told(failure)),
        _ => return Err(format!("{}: the agent said something else", host.name)),
    };
    if let Some((resource, outcome)) = checked.differing.first() {
        return Err(format!("{}: {resource} is not as it should be: {outcome:?}", host.name));
    }
    session.close(fate).await.map_err(|error| told(error.failure()))
}
