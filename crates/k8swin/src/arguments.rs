//! The arguments, and the help that teaches them.

use std::net::Ipv4Addr;

use camino::Utf8PathBuf;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ipnet::Ipv4Net;
use k8swin_inventory::Ignored;
use k8swin_inventory::cluster::{AdapterSelector, KubernetesVersion, NoProfile};
use k8swin_inventory::init::{NewHost, NewSystem, cluster_name};
use k8swin_protocol::Os;

/// Build one Kubernetes cluster out of Linux and Windows Server 2016 machines.
///
/// k8swin reads an inventory of hosts, looks at each of them over SSH or WinRM, and changes what differs from the cluster
/// that the inventory describes. The same command resumes after a failure, and changes nothing when nothing differs.
#[derive(Parser)]
#[command(
    name = "k8swin",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_long_help = "\
A first cluster:
  k8swin init --linux lin01=10.5.6.215,control-plane --windows win01=10.5.6.216
  k8swin rehearse        the whole run against simulated hosts on this machine
  k8swin preflight       are the real hosts fit for it?
  k8swin plan            what would change?
  k8swin up              do it
  k8swin kubeconfig --merge

Exit codes:
  0    done
  1    failed
  2    the command line or the inventory is not valid
  3    preflight found errors
  4    some hosts failed, the others are done
  130  interrupted"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Whether arguments that could not be parsed ask for JSON: what is wrong with them is then told as JSON, too.
pub(crate) fn want_json(arguments: &[String]) -> bool {
    let joined = |argument: &String| matches!(argument.as_str(), "-ojson" | "-o=json" | "--output=json");
    let split =
        |pair: &[String]| matches!(pair, [name, value] if (name == "-o" || name == "--output") && value == "json");
    arguments.iter().any(joined) || arguments.windows(2).any(split)
}

/// What every command understands.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// How results are printed on standard output.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table, value_name = "FORMAT")]
    pub(crate) output: Output,

    /// Log what is done to standard error; twice for details.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Print progress only where something goes wrong.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Append a detailed log to this file. It holds no secrets.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log_file: Option<Utf8PathBuf>,

    /// Write a timeline of each host to this file, where a command works on hosts: ui.perfetto.dev shows it.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) trace: Option<Utf8PathBuf>,

    /// Colours: `auto` means on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,

    /// Folder for the cluster's keys and journal [default: .k8swin/NAME beside the inventory]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) state_dir: Option<Utf8PathBuf>,

    /// Folder for downloads of all clusters [default: the user's cache folder]
    #[arg(long, global = true, value_name = "FOLDER", env = "K8SWIN_CACHE_DIR", hide_env_values = true)]
    pub(crate) cache_dir: Option<Utf8PathBuf>,

    /// OpenSSH configuration file, or `none` [default: ~/.ssh/config]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ssh_config: Option<Utf8PathBuf>,

    /// Work on at most this many hosts at once.
    #[arg(long, global = true, value_name = "N", default_value_t = 32, value_parser = positive)]
    pub(crate) parallel: usize,

    /// Bring files to at most this many hosts at once.
    #[arg(long, global = true, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub(crate) uploads: usize,

    /// Restart at most this many nodes in service, or their services, at once [default: a quarter of the workers]
    #[arg(long, global = true, value_name = "N", value_parser = positive)]
    pub(crate) max_unavailable: Option<usize>,

    /// Answer yes where a command asks for confirmation.
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,

    /// Never ask anything: what would be asked is an error.
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables for people.
    Table,
    /// One JSON document.
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set or TERM is `dumb`.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write a new inventory.
    ///
    /// The inventory lists the hosts and what is needed to reach them. Without host options, and on a terminal, `init`
    /// asks. The file explains itself by its comments. An existing file is left alone unless --force is given.
    #[command(
        after_long_help = "Example:\n  k8swin init --linux lin01=10.5.6.215,control-plane --windows \"win01=10.5.6.216,Ethernet 2\""
    )]
    Init(Init),

    /// Look whether the hosts are fit for the cluster; change nothing.
    ///
    /// Connects to all hosts, gathers facts, lets the hosts connect to each other, and judges what was found. Every
    /// finding has a stable name and, where something is wrong, a remedy. What an earlier `up` made is fine. `up` does the
    /// same first and refuses while there are errors.
    #[command(
        after_long_help = "Examples:\n  k8swin preflight\n  k8swin preflight --ignore swap,win01:memory --output-file report.html"
    )]
    Preflight(Preflight),

    /// Show what `up` would change; change nothing.
    ///
    /// Lists each difference between the hosts and the inventory, by phase. With --explain it adds the commands by
    /// which you would make the same change by hand.
    #[command(after_long_help = "Example:\n  k8swin plan --explain")]
    Plan(Plan),

    /// Build the cluster, or bring it back to what the inventory says.
    ///
    /// Changes what differs and nothing else: a second run finds nothing to do. After a failure or Ctrl-C the same
    /// command goes on where it stopped. One failing host does not stop the others.
    #[command(after_long_help = "Example:\n  k8swin up inventory.toml --log-file up.log")]
    Up(Up),

    /// Show how much of each host is as desired, and the state of its node.
    #[command(after_long_help = "Example:\n  k8swin status -o json")]
    Status(Inventory),

    /// Prove that the cluster works: nodes, pods, routes, services.
    ///
    /// Asks the API server for the nodes, runs a pod on every worker, lets all hosts connect to the pods of the others and to
    /// a service address, lets the API servers reach the kubelets, looks at the certificates, and leaves nothing behind.
    /// `up` does the same at its end.
    #[command(
        after_long_help = "Examples:\n  k8swin verify\n  k8swin verify --wait 0\n  k8swin verify --windows-image microsoft/iis"
    )]
    Verify(Verify),

    /// Take the cluster apart: remove what k8swin made, and nothing else.
    ///
    /// Removes services, files, keys, routes and networks that k8swin made, newest first, and the cluster's data with
    /// them. Installed Windows features stay. Asks for the cluster's name first, unless --yes is given.
    #[command(after_long_help = "Example:\n  k8swin reset inventory.toml")]
    Reset(Reset),

    /// Print the administrator's kubeconfig, or merge it into yours.
    ///
    /// A kubeconfig holds a private key: files are written for you only (mode 0600).
    #[command(
        after_long_help = "Examples:\n  k8swin kubeconfig --out demo.conf\n  k8swin kubeconfig --merge --context demo"
    )]
    Kubeconfig(Kubeconfig),

    /// Compile Kubernetes for Linux and Windows from its source, on this machine.
    ///
    /// Does what the walkthrough does by hand: Kubernetes' own `make`, for linux/amd64 and windows/amd64, from a folder or
    /// a git tag. Looks first whether all tools are there and whether the Go fits: each Kubernetes minor needs one of its
    /// age, and a newer one compiles programs that do not work. What was built is kept: the same again takes no time.
    #[command(
        after_long_help = "Examples:\n  k8swin build inventory.toml\n  k8swin build --source ~/kubernetes --go ~/go1.15 --out programs\n  k8swin build --source https://github.com/kubernetes/kubernetes --tag v1.20.2 --os windows"
    )]
    Build(Build),

    /// Run `up` against simulated twins of the inventory's hosts, on this machine only.
    ///
    /// The twins speak real SSH and WinRM on 127.0.0.1 and run the real agent on a simulated system. Nothing else is
    /// needed: no host is contacted, nothing is downloaded, no password is asked for.
    #[command(after_long_help = "Example:\n  k8swin rehearse inventory.toml")]
    Rehearse(Rehearse),

    /// Keep simulated twins of the inventory's hosts running, for any command or client.
    ///
    /// DIR/inventory.toml reaches the twins; DIR/hosts/NAME.json is the state of each, rewritten as it changes. Prints
    /// `ready` when all listen, and ends on Ctrl-C or SIGTERM.
    #[command(after_long_help = "Example:\n  k8swin lab inventory.toml --out lab &\n  k8swin up lab/inventory.toml")]
    Lab(Lab),

    /// Print completions for a shell.
    #[command(after_long_help = "Example:\n  k8swin completions bash > /etc/bash_completion.d/k8swin")]
    Completions(Completions),

    /// Print the manual page, or write all pages into a folder.
    #[command(after_long_help = "Example:\n  k8swin man --out /usr/local/share/man/man1")]
    Man(Man),
}

impl Command {
    /// The name, as documents carry it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Preflight(_) => "preflight",
            Self::Plan(_) => "plan",
            Self::Up(_) => "up",
            Self::Status(_) => "status",
            Self::Verify(_) => "verify",
            Self::Reset(_) => "reset",
            Self::Kubeconfig(_) => "kubeconfig",
            Self::Build(_) => "build",
            Self::Rehearse(_) => "rehearse",
            Self::Lab(_) => "lab",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }
}

/// The inventory of a command.
#[derive(Args)]
pub(crate) struct Inventory {
    /// The inventory.
    #[arg(value_name = "INVENTORY", default_value = "inventory.toml")]
    pub(crate) path: Utf8PathBuf,
}

/// Checks whose errors do not count.
#[derive(Args)]
pub(crate) struct Ignore {
    /// Show findings of this preflight check and do not count them; may be given more than once. `preflight --list` and
    /// docs/preflight.md have the names.
    #[arg(long = "ignore", value_name = "[HOST:]CHECK", value_delimiter = ',')]
    pub(crate) checks: Vec<Ignored>,
}

/// The cluster's lock.
#[derive(Args)]
pub(crate) struct Lock {
    /// Take the cluster's lock from a run that is known to be dead.
    #[arg(long)]
    pub(crate) break_lock: bool,
}

/// How long hosts are waited for while they change.
#[derive(Args)]
pub(crate) struct Patience {
    /// How long a host waits for this machine to confirm a change of its network over a new connection, before it takes
    /// the change back. 0 changes networks without that safeguard.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) confirm_within: u32,

    /// How long a host may take to come back from a restart: installing a Windows role takes minutes.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub(crate) restart_within: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { confirm_within: 120, restart_within: 900 }
    }
}

/// Arguments of `init`.
#[derive(Args)]
pub(crate) struct Init {
    /// The cluster's name: lower-case letters, digits and dashes.
    #[arg(long, default_value = "demo", value_parser = cluster_name)]
    pub(crate) name: String,

    /// The Kubernetes version, such as 1.5.8.
    #[arg(long, value_name = "VERSION", default_value = "1.5.8", value_parser = kubernetes_version)]
    pub(crate) kubernetes: KubernetesVersion,

    /// A Linux host; may be given more than once. Without `control-plane` on any, the first becomes the control plane.
    #[arg(long, value_name = "NAME=ADDRESS[,control-plane]", value_parser = linux_host)]
    pub(crate) linux: Vec<NewHost>,

    /// A Windows host, with its second network adapter by name, MAC or IPv4 address [default: "Ethernet 2"].
    #[arg(long, value_name = "NAME=ADDRESS[,ADAPTER]", value_parser = windows_host)]
    pub(crate) windows: Vec<NewHost>,

    /// The range of all pods; each host gets a part of it.
    #[arg(long, value_name = "CIDR", default_value = "192.168.0.0/16")]
    pub(crate) pod_cidr: Ipv4Net,

    /// The range of service addresses.
    #[arg(long, value_name = "CIDR", default_value = "172.30.0.0/16")]
    pub(crate) service_cidr: Ipv4Net,

    /// Where to write.
    #[arg(long, value_name = "FILE", default_value = "inventory.toml")]
    pub(crate) out: Utf8PathBuf,

    /// Overwrite an existing file.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Arguments of `preflight`.
#[derive(Args)]
pub(crate) struct Preflight {
    #[command(flatten)]
    pub(crate) inventory: Inventory,
    #[command(flatten)]
    pub(crate) ignore: Ignore,

    /// Write the findings and a drawing of the network into one HTML page, to be sent to a colleague.
    #[arg(long, value_name = "FILE")]
    pub(crate) output_file: Option<Utf8PathBuf>,

    /// Print all checks with what they look at, why, and what to do; look at no host.
    #[arg(long, conflicts_with_all = ["checks", "output_file"])]
    pub(crate) list: bool,
}

/// Arguments of `plan`.
#[derive(Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) inventory: Inventory,

    /// Add the commands by which each change would be made by hand.
    #[arg(long)]
    pub(crate) explain: bool,
}

/// Arguments of `up`.
#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) inventory: Inventory,
    #[command(flatten)]
    pub(crate) ignore: Ignore,
    #[command(flatten)]
    pub(crate) lock: Lock,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// Arguments of `verify`.
#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) inventory: Inventory,

    /// How long nodes may take to be Ready, and pods to run, before they are judged. An image that is on its way is waited
    /// for longer.
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub(crate) wait: u32,

    /// An image that serves HTTP, to be run on a Windows host and asked from the others [default: windows_test_image of the
    /// inventory]
    #[arg(long, value_name = "IMAGE")]
    pub(crate) windows_image: Option<String>,

    /// Where that image serves HTTP.
    #[arg(long, value_name = "PORT", default_value_t = 80, requires = "windows_image")]
    pub(crate) windows_port: u16,
}

/// Arguments of `reset`.
#[derive(Args)]
pub(crate) struct Reset {
    #[command(flatten)]
    pub(crate) inventory: Inventory,
    #[command(flatten)]
    pub(crate) lock: Lock,
}

/// Arguments of `kubeconfig`.
#[derive(Args)]
pub(crate) struct Kubeconfig {
    #[command(flatten)]
    pub(crate) inventory: Inventory,

    /// Write it to this file instead of standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "merge")]
    pub(crate) out: Option<Utf8PathBuf>,

    /// Merge it into the first file of $KUBECONFIG, or ~/.kube/config, and make it the current context.
    #[arg(long)]
    pub(crate) merge: bool,

    /// The name of the context [default: the cluster's name].
    #[arg(long, value_name = "NAME", requires = "merge")]
    pub(crate) context: Option<String>,
}

/// Arguments of `build`.
#[derive(Args)]
pub(crate) struct Build {
    /// The inventory: its Kubernetes version, the systems of its hosts, and its [cluster.artifacts] with source =
    /// "build" [default: inventory.toml, unless --source is given]
    #[arg(value_name = "INVENTORY")]
    pub(crate) inventory: Option<Utf8PathBuf>,

    /// Kubernetes' source: a folder, or a git URL together with --tag.
    #[arg(long, value_name = "FOLDER|URL")]
    pub(crate) source: Option<String>,

    /// The git tag to build.
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub(crate) tag: Option<String>,

    /// The Kubernetes version, where the source does not say it.
    #[arg(long, value_name = "VERSION", value_parser = kubernetes_version)]
    pub(crate) kubernetes: Option<KubernetesVersion>,

    /// The Go to build with: its folder or its `go` program [default: one of this machine that fits]
    #[arg(long, value_name = "PATH")]
    pub(crate) go: Option<Utf8PathBuf>,

    /// Take a Go that is known to give broken programs.
    #[arg(long)]
    pub(crate) allow_toolchain: bool,

    /// Build for this system only.
    #[arg(long, value_name = "linux|windows", value_delimiter = ',', value_parser = system)]
    pub(crate) os: Vec<Os>,

    /// Copy the programs, sha256sums and manifest.json into this folder, for source = "local".
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<Utf8PathBuf>,
}

/// Arguments of `rehearse`.
#[derive(Args)]
pub(crate) struct Rehearse {
    #[command(flatten)]
    pub(crate) inventory: Inventory,
    #[command(flatten)]
    pub(crate) ignore: Ignore,
}

/// Arguments of `lab`.
#[derive(Args)]
pub(crate) struct Lab {
    #[command(flatten)]
    pub(crate) inventory: Inventory,

    /// The folder for the twins' inventory, keys and state: a new or empty one, or that of an earlier lab.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Utf8PathBuf,
}

/// Arguments of `completions`.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Arguments of `man`.
#[derive(Args)]
pub(crate) struct Man {
    /// Write one page for each command into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<Utf8PathBuf>,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number from 1 on".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// The shape of a version. Whether there is such a release, the inventory's own check says, as for one written by hand.
pub(crate) fn kubernetes_version(text: &str) -> Result<KubernetesVersion, String> {
    text.parse().map_err(|error: NoProfile| error.to_string())
}

/// A name that git does not take for an option.
fn tag(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('-') {
        return Err("expected a tag, such as v1.5.8".to_owned());
    }
    Ok(text.to_owned())
}

fn system(text: &str) -> Result<Os, String> {
    [Os::Linux, Os::Windows]
        .into_iter()
        .find(|os| os.as_str() == text)
        .ok_or_else(|| "expected linux or windows".to_owned())
}

/// `NAME=ADDRESS[,control-plane]`. A control plane runs ordinary pods, too: a Linux cluster of one host is complete.
pub(crate) fn linux_host(text: &str) -> Result<NewHost, String> {
    let (name, address, rest) = host(text)?;
    let control_plane = match rest {
        None => false,
        Some("control-plane") => true,
        Some(other) => return Err(format!("`{other}` is not a role; only `control-plane` can follow the address")),
    };
    let system = NewSystem::Linux { control_plane, worker: true };
    Ok(NewHost { name: name.to_owned(), address: address.to_owned(), node_address: None, system })
}

/// `NAME=ADDRESS[,ADAPTER]`.
pub(crate) fn windows_host(text: &str) -> Result<NewHost, String> {
    let (name, address, adapter) = host(text)?;
    let adapter = adapter.unwrap_or("Ethernet 2");
    let pod_adapter = adapter
        .parse::<Ipv4Addr>()
        .map_or_else(|_| AdapterSelector::Name(adapter.to_owned()), AdapterSelector::Address);
    let system = NewSystem::Windows { pod_adapter };
    Ok(NewHost { name: name.to_owned(), address: address.to_owned(), node_address: None, system })
}

fn host(text: &str) -> Result<(&str, &str, Option<&str>), String> {
    let (name, rest) = text.split_once('=').ok_or("expected NAME=ADDRESS, such as lin01=10.5.6.215")?;
    let (address, rest) = rest.split_once(',').map_or((rest, None), |(address, rest)| (address, Some(rest)));
    let [name, address] = [name, address].map(str::trim);
    if name.is_empty() || address.is_empty() {
        return Err("name and address must not be empty".to_owned());
    }
    // What this machine makes of a DNS name says little about how the hosts reach each other.
    if address.parse::<Ipv4Addr>().is_err() {
        return Err(format!(
            "`{address}` is not an IPv4 address; for a DNS name write the inventory by hand, with `node_address` beside it"
        ));
    }
    Ok((name, address, rest.map(str::trim).filter(|rest| !rest.is_empty())))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn json_is_recognised_in_any_spelling() {
        let want = |text: &str| want_json(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for text in ["up --bogus -o json", "up -ojson --bogus", "--output json frob", "--output=json frob"] {
            assert!(want(text), "{text}");
            assert!(Cli::try_parse_from(["k8swin"].into_iter().chain(text.split(' '))).is_err(), "{text}");
        }
        assert!(!want("up --bogus"));
        assert!(!want("up -o table json"));
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_is_as_it_was() {
        insta::assert_snapshot!(Cli::command().term_width(100).render_long_help().to_string());
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let example = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.contains(&format!("\n  k8swin {}", command.get_name())), "{}", command.get_name());
            assert!(command.get_about().is_some());
        }
    }

    #[test]
    fn the_inventory_has_a_default() {
        let cli = Cli::try_parse_from(["k8swin", "preflight"]).ok().unwrap();
        let Command::Preflight(arguments) = cli.command else { panic!() };
        assert_eq!(arguments.inventory.path, "inventory.toml");
        assert_eq!(cli.global.parallel, 32);
        assert_eq!(cli.global.output, Output::Table);
    }

    #[test]
    fn global_options_stand_before_and_after_the_command() {
        for line in [["k8swin", "-o", "json", "up"], ["k8swin", "up", "-o", "json"]] {
            assert_eq!(Cli::try_parse_from(line).ok().unwrap().global.output, Output::Json);
        }
        assert!(Cli::try_parse_from(["k8swin", "up", "--parallel", "0"]).is_err());
    }

    #[test]
    fn hosts_are_read_with_and_without_extras() {
        let linux = linux_host("lin01=10.5.6.215,control-plane").unwrap();
        assert_eq!((linux.name.as_str(), linux.address.as_str()), ("lin01", "10.5.6.215"));
        assert_eq!(linux.system, NewSystem::Linux { control_plane: true, worker: true });
        let adapter = |text| match windows_host(text).unwrap().system {
            NewSystem::Windows { pod_adapter } => pod_adapter.to_string(),
            NewSystem::Linux { .. } => panic!(),
        };
        assert_eq!(adapter("win01=10.5.6.216"), "Ethernet 2");
        assert_eq!(adapter("win01=10.5.6.216,Ethernet 3"), "Ethernet 3");
        assert_eq!(adapter("win01=10.5.6.216,00-15-5d-01-02-03"), "00-15-5d-01-02-03");
        for wrong in ["lin01", "=10.0.0.1", "lin01=", "lin01=10.0.0.1,boss", "lin01=lin01.example"] {
            assert!(linux_host(wrong).is_err(), "{wrong}");
        }
    }
}
