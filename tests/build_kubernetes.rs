//! `k8swin build` with the real `make` and `rsync`, on a source that has the shape of Kubernetes and compiles nothing.
//!
//! The Go is a Makefile that answers what k8swin asks; the programs are made by the test, byte by byte.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Run, interrupt, k8swin};

const LINUX: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];
const WINDOWS: [&str; 2] = ["kubelet.exe", "kube-proxy.exe"];

/// The build of the fake source: `make` as Kubernetes uses it, with the same outputs in the same places. It checks that
/// the generators ran first, and for this machine.
const MAKEFILE: &str = r#"
SHELL := /bin/bash
words = $(filter-out -v,$(WHAT))
generated_files:
	@test -z "$(KUBE_BUILD_PLATFORMS)" || { echo "generators for $(KUBE_BUILD_PLATFORMS)"; exit 1; }
	@mkdir -p _output/local && touch _output/local/generated && echo '+++ Generating'
	@echo run >> $(HOME)/generated
all:
	@test -f _output/local/generated || { echo 'nothing was generated'; exit 1; }
	@. $$KUBE_GIT_VERSION_FILE && echo "version $$KUBE_GIT_VERSION of `go version`"
	@test "$(filter -v,$(WHAT))" && for name in $(words); do echo k8s.io/kubernetes/$$name; done
	@if [ -f fail ]; then cat fail >&2; exit 2; fi
	@if [ -f wait ]; then echo $$$$ > $(HOME)/waiting; echo k8s.io/waits; sleep 600; fi
	@mkdir -p _output/local/bin/$(KUBE_BUILD_PLATFORMS)
	@for name in $(notdir $(words)); do \
	  if [ "$(KUBE_BUILD_PLATFORMS)" = windows/amd64 ]; then cp program.exe _output/local/bin/windows/amd64/$$name.exe; \
	  else cp program _output/local/bin/linux/amd64/$$name && chmod 755 _output/local/bin/linux/amd64/$$name; fi; done
.DEFAULT_GOAL := all
"#;

/// A folder with a source, a Go, a home and a cache.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["source/cmd/kubelet", "home"] {
            std::fs::create_dir_all(machine.path(folder)).unwrap();
        }
        std::fs::write(machine.path("source/Makefile"), MAKEFILE).unwrap();
        std::fs::write(machine.path("source/cmd/kubelet/kubelet.go"), "package main\n").unwrap();
        machine.programs("Kubernetes v1.20.2\n");
        machine.go("go", "go1.15.15");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the build will come to: programs that print this as their version.
    fn programs(&self, says: &str) {
        std::fs::write(self.path("source/program"), elf(says)).unwrap();
        std::fs::write(self.path("source/program.exe"), pe()).unwrap();
    }

    /// A Go of that version: a Makefile that knows the two questions.
    fn go(&self, name: &str, version: &str) -> PathBuf {
        let root = self.path(name);
        for folder in ["bin", "src/runtime"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let text = format!("#!/usr/bin/make -sf\nversion:\n\t@echo go version {version} linux/amd64\n");
        let program = root.join("bin/go");
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        root
    }

    fn build(&self, arguments: &[&str]) -> Command {
        let mut command = k8swin();
        command.env("HOME", self.path("home")).arg("build");
        command.arg("--source").arg(self.path("source")).arg("--cache-dir").arg(self.path("cache")).args(arguments);
        command
    }

    /// A build of 1.20.2 with the Go that fits.
    fn usual(&self, arguments: &[&str]) -> Command {
        let mut command = self.build(arguments);
        command.args(["--kubernetes", "1.20.2", "-o", "json", "--go"]).arg(self.path("go"));
        command
    }

    /// How often the generators ran.
    fn generated(&self) -> usize {
        std::fs::read_to_string(self.path("home/generated")).map_or(0, |text| text.lines().count())
    }
}

fn run(command: &mut Command) -> Run {
    Run::new(command.output().unwrap())
}

/// A program for Linux on x86-64 that writes a text and ends: an ELF header, one segment, and 39 bytes of code.
fn elf(says: &str) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut code: Vec<u8> = Vec::new();
    // write(1, text, length); exit(0)
    code.extend([0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0x48, 0xbe]);
    let text = BASE + HEADERS + 39;
    code.extend(text.to_le_bytes());
    code.push(0xba);
    code.extend((says.len() as u32).to_le_bytes());
    code.extend([0x0f, 0x05, 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05, 0x90, 0x90, 0x90]);
    assert_eq!(code.len(), 39);
    let size = HEADERS + code.len() as u64 + says.len() as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [BASE + HEADERS, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    bytes.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, size, size, 0x1000] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(code);
    bytes.extend(says.as_bytes());
    bytes
}

/// The beginning of a program for Windows on x86-64.
fn pe() -> Vec<u8> {
    let mut bytes = vec![0; 256];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x86].copy_from_slice(&[b'P', b'E', 0, 0, 0x64, 0x86]);
    bytes[0x96] = 0x22;
    bytes
}

fn checks(document: &Value) -> Vec<(&str, &str)> {
    let findings = document["findings"].as_array().unwrap().iter();
    findings.map(|finding| (finding["check"].as_str().unwrap(), finding["severity"].as_str().unwrap())).collect()
}

#[test]
fn programs_are_built_examined_and_put_beside_their_sums() {
    let machine = Machine::new();
    let out = machine.path("programs");
    let run = run(machine.usual(&[]).arg("--out").arg(&out)).exits(0);
    let document = run.document();
    assert_eq!(
        (&document["command"], &document["result"], &document["cached"]),
        (&"build".into(), &"ok".into(), &false.into())
    );
    assert_eq!((&document["kubernetes"], &document["go"]), (&"1.20.2".into(), &"go1.15.15 linux/amd64".into()));
    let programs = document["programs"].as_array().unwrap();
    assert_eq!(programs.len(), LINUX.len() + WINDOWS.len());
    let sums = std::fs::read_to_string(out.join("sha256sums")).unwrap();
    for (os, name) in LINUX.map(|name| ("linux", name)).into_iter().chain(WINDOWS.map(|name| ("windows", name))) {
        let program = programs.iter().find(|program| program["name"] == name).unwrap();
        let sha256 = program["sha256"].as_str().unwrap();
        assert!(sums.contains(&format!("{sha256}  {os}/{name}\n")), "{sums}");
        assert_eq!(program["format"], if os == "linux" { "ELF x86-64, static" } else { "PE x86-64" });
        let runs_here = cfg!(target_arch = "x86_64") && os == "linux";
        assert_eq!(program["version"], if runs_here { "v1.20.2".into() } else { Value::Null });
        let file = out.join(os).join(name);
        assert_eq!(std::fs::read(file).unwrap(), if os == "linux" { elf("Kubernetes v1.20.2\n") } else { pe() });
    }
    let manifest: Value = serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let origin = &manifest["programs"]["windows/kubelet.exe"]["origin"];
    assert_eq!((&origin["kind"], &origin["kubernetes"]), (&"build".into(), &"v1.20.2".into()));
    assert!(origin["state"].as_str().unwrap().starts_with("tree "), "{origin}");
    for told in ["==> generated code", "==> Linux programs", "==> Windows programs", "2 packages in"] {
        assert!(run.stderr.contains(told), "`{told}` is not in\n{}", run.stderr);
    }
    let log = std::fs::read_to_string(document["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("version v1.20.2 of go version go1.15.15"), "{log}");
    assert!(!machine.path("source/_output").exists(), "the source stays as it is");
}

#[test]
fn the_same_again_is_found_and_a_change_is_built() {
    let machine = Machine::new();
    let out = machine.path("programs");
    run(machine.usual(&["--os", "windows"]).arg("--out").arg(&out)).exits(0);
    std::fs::write(out.join("notes"), "mine").unwrap();
    let again = run(machine.usual(&["--os", "windows"]).arg("--out").arg(&out)).exits(0).document();
    assert_eq!((&again["cached"], machine.generated()), (&true.into(), 1));
    assert!(again["build_ms"].as_u64().unwrap() > 0);
    assert!(out.join("notes").is_file());

    // The other system is added to what is there.
    let both = run(&mut machine.usual(&[])).exits(0).document();
    assert_eq!((&both["cached"], both["programs"].as_array().unwrap().len()), (&false.into(), 8));
    assert_eq!(run(&mut machine.usual(&[])).exits(0).document()["cached"], true);

    // A damaged program is built again.
    let built = Path::new(both["programs"][0]["path"].as_str().unwrap());
    std::fs::write(built, "damaged").unwrap();
    assert_eq!(run(&mut machine.usual(&[])).exits(0).document()["cached"], false);

    std::fs::write(machine.path("source/cmd/kubelet/kubelet.go"), "package other\n").unwrap();
    assert_eq!(run(&mut machine.usual(&[])).exits(0).document()["cached"], false);

    machine.go("go", "go1.15.2");
    assert_eq!(run(&mut machine.usual(&[])).exits(0).document()["cached"], false);
}

#[test]
fn a_go_that_gives_broken_programs_is_refused_by_name_unless_it_is_allowed() {
    let machine = Machine::new();
    let go = machine.go("new-go", "go1.19.8");
    let mut command = machine.build(&["--kubernetes", "1.20.2", "-o", "json", "--go"]);
    let refused = run(command.arg(&go)).exits(3);
    let document = refused.document();
    assert!(checks(&document).contains(&("go", "error")), "{document}");
    assert!(refused.stdout.contains("Go 1.19.8") && refused.stdout.contains("JSON PATCH"), "{}", refused.stdout);
    assert!(refused.stdout.contains("--allow-toolchain"), "{}", refused.stdout);
    assert_eq!(machine.generated(), 0, "something was started");

    let allowed = run(command.arg("--allow-toolchain")).exits(0);
    assert!(allowed.stderr.contains("warning: go: Go 1.19.8"), "{}", allowed.stderr);

    // The cure makes the same Go fit.
    let cure = machine.path("source/vendor/github.com/modern-go/reflect2");
    std::fs::create_dir_all(&cure).unwrap();
    std::fs::write(cure.join("go_above_118.go"), "package reflect2\n").unwrap();
    let mut command = machine.build(&["--kubernetes", "1.20.2", "--go"]);
    let cured = run(command.arg(&go)).exits(0);
    assert!(cured.stderr.contains("fits Kubernetes 1.20") && !cured.stderr.contains("warning: go"), "{}", cured.stderr);
}

#[test]
fn everything_that_is_missing_is_told_at_once() {
    let machine = Machine::new();
    std::fs::remove_file(machine.path("source/Makefile")).unwrap();
    let tools = machine.path("tools");
    std::fs::create_dir(&tools).unwrap();
    let mut command = k8swin();
    command.args(["build", "--kubernetes", "1.5.8", "-o", "json", "--source"]).arg(machine.path("source"));
    command.arg("--cache-dir").arg(machine.path("my cache")).arg("--go").arg(machine.path("no-go"));
    let refused = run(command.env("PATH", &tools));
    let document = refused.exits(3).document();
    for check in ["tools", "cache-folder", "source", "go"] {
        assert!(checks(&document).contains(&(check, "error")), "{check}: {document}");
    }
    let tools = document["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "tools").unwrap();
    assert_eq!(tools["detail"], "missing in PATH: make, bash, rsync, gcc, find, sed, sort");
    assert!(tools["remedy"].as_str().unwrap().contains("apt-get install make bash rsync"));
}

#[test]
fn a_build_that_fails_shows_its_last_lines_and_where_the_rest_is() {
    let machine = Machine::new();
    std::fs::write(machine.path("source/fail"), "kubelet.go:1: undefined: everything\n").unwrap();
    let failed = run(&mut machine.usual(&[])).exits(1);
    let document = failed.document();
    let message = document["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("Linux programs: make ended with exit status: 2"), "{message}");
    assert!(message.contains("  kubelet.go:1: undefined: everything"), "{message}");
    let log = message.split("the last lines of ").nth(1).unwrap().split(":\n").next().unwrap();
    assert!(std::fs::read_to_string(log).unwrap().contains("undefined: everything"));

    std::fs::remove_file(machine.path("source/fail")).unwrap();
    run(&mut machine.usual(&[])).exits(0);
}

#[test]
fn programs_that_are_not_what_they_should_be_are_refused() {
    let machine = Machine::new();
    machine.programs("Kubernetes v1.20.4\n");
    if cfg!(target_arch = "x86_64") {
        let failed = run(&mut machine.usual(&[])).exits(1);
        assert!(failed.stderr.contains("it says it is `Kubernetes v1.20.4` instead of v1.20.2"), "{}", failed.stderr);
    }
    std::fs::write(machine.path("source/program.exe"), elf("")).unwrap();
    let failed = run(&mut machine.usual(&["--os", "windows"])).exits(1);
    assert!(failed.stderr.contains("not a program for windows"), "{}", failed.stderr);
}

#[test]
fn ctrl_c_ends_all_that_was_started() {
    let machine = Machine::new();
    std::fs::write(machine.path("source/wait"), "").unwrap();
    let mut building = machine.usual(&["-vv"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(building.stderr.take().unwrap());
    let mut line = String::new();
    while !machine.path("home/waiting").exists() {
        // Until the stage is told there is something to read; after that the file is soon there.
        if !line.contains("==> Linux programs") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended by itself");
        }
        std::thread::yield_now();
    }
    let shell = loop {
        if let Ok(process) = std::fs::read_to_string(machine.path("home/waiting")).unwrap().trim().parse::<u32>() {
            break process;
        }
    };
    interrupt(building.id());
    assert_eq!(building.wait().unwrap().code(), Some(130));
    let stat = PathBuf::from(format!("/proc/{shell}/stat"));
    // A killed process stays in the list until whoever inherits it has looked at it.
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
        std::thread::yield_now();
    }

    std::fs::remove_file(machine.path("source/wait")).unwrap();
    run(&mut machine.usual(&[])).exits(0);
    assert_eq!(machine.generated(), 2, "what an interrupted build generated is not trusted");
}

#[test]
fn a_git_tag_is_fetched_and_says_its_version() {
    let machine = Machine::new();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=test", "-c", "user.email=test@example.com", "-C"]).arg(machine.path("source"));
        let output = command.args(arguments).env("HOME", machine.path("home")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "source"]);
    git(&["tag", "v1.20.2"]);
    std::fs::write(machine.path("source/Makefile"), "not what was tagged").unwrap();

    let url = format!("file://{}", machine.path("source").display());
    let build = |tag: &str| {
        let mut command = k8swin();
        command.env("HOME", machine.path("home")).args(["build", "--source", &url, "--tag", tag, "-o", "json", "--go"]);
        run(command.arg(machine.path("go")).arg("--cache-dir").arg(machine.path("cache")))
    };
    let missing = build("v1.20.9").exits(3);
    assert!(missing.stdout.contains("it has no tag v1.20.9"), "{}{}", missing.stdout, missing.stderr);
    let built = build("v1.20.2").exits(0).document();
    assert!(built["state"].as_str().unwrap().starts_with("commit "), "{built}");
    assert_eq!((&built["kubernetes"], &built["cached"]), (&"1.20.2".into(), &false.into()));
    assert_eq!(build("v1.20.2").exits(0).document()["cached"], true);

    // Without the repository, what was fetched before is taken.
    std::fs::rename(machine.path("source"), machine.path("moved")).unwrap();
    let offline = build("v1.20.2").exits(0);
    assert_eq!(offline.document()["cached"], true);
    assert!(offline.stderr.contains("warning: source:"), "{}", offline.stderr);
}

#[test]
fn an_inventory_says_what_to_build_and_up_takes_it_from_there() {
    let machine = Machine::new();
    let inventory = machine.path("inventory.toml");
    let text = "schema = 1\n[cluster]\nname = \"demo\"\nkubernetes = \"1.20.2\"\npod_cidr = \"192.168.0.0/16\"\n\
                service_cidr = \"172.30.0.0/16\"\n[cluster.artifacts]\nsource = \"build\"\nrepository = \"source\"\n\
                go = \"go\"\nagents = \"agents\"\n[[host]]\nname = \"lin01\"\nos = \"linux\"\nroles = [\"control-plane\"]\n\
                address = \"127.0.0.1\"\nnode_address = \"10.5.6.215\"\nport = 9\n";
    std::fs::write(&inventory, text).unwrap();
    std::fs::create_dir(machine.path("agents")).unwrap();
    std::fs::write(machine.path("agents/k8swin-agent"), "agent").unwrap();
    let command = |name: &str| {
        let mut command = k8swin();
        command.env("HOME", machine.path("home")).arg(name).arg(&inventory).args(["-o", "json", "--cache-dir"]);
        command.arg(machine.path("cache"));
        command
    };
    let extra = machine.path("cache/extra");
    std::fs::create_dir_all(extra.join("linux")).unwrap();
    let names = ["etcd", "bridge", "host-local", "loopback", "portmap"];
    for name in names {
        std::fs::write(extra.join("linux").join(name), name).unwrap();
    }
    let sums = names.map(|name| format!("{}  linux/{name}\n", k8swin_protocol::Sha256::of(name.as_bytes()))).concat();
    std::fs::write(extra.join("sha256sums"), sums).unwrap();

    let unbuilt = run(&mut command("plan")).exits(1).document();
    let error = unbuilt["error"].to_string();
    assert!(error.contains("has not been built") && error.contains("k8swin build"), "{error}");

    let built = run(&mut command("build")).exits(0).document();
    assert_eq!(built["programs"].as_array().unwrap().len(), LINUX.len(), "only for the systems of the hosts");

    // The programs are found now: what fails is the connection to a port where nothing listens.
    let plan = run(&mut command("plan")).document();
    assert!(plan["hosts"]["lin01"]["error"].is_object() || plan["error"].to_string().contains("lin01"), "{plan}");
    assert!(!plan.to_string().contains("built"), "{plan}");
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let machine = Machine::new();
    let url = run(k8swin().args(["build", "--source", "https://me:hunter2@example.com/k.git"])).exits(2);
    assert!(url.stderr.contains("needs a tag") && !url.stderr.contains("hunter2"), "{}", url.stderr);
    let nothing = run(k8swin().arg("build").current_dir(machine.folder.path())).exits(2);
    assert!(nothing.stderr.contains("cannot read the inventory inventory.toml"), "{}", nothing.stderr);
    let other = run(&mut machine.build(&["--kubernetes", "1.20.2", "--os", "beos"])).exits(2);
    assert!(other.stderr.contains("expected linux or windows"), "{}", other.stderr);
}
