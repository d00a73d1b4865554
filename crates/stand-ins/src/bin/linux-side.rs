//! The Linux side of the stand-ins: does one thing to the network of the namespace it runs in, and sends the answer back over
//! a loopback connection. `linux-side PORT ip ARGUMENT…`, `linux-side PORT setting PATH VALUE` or `linux-side PORT forward
//! LISTEN CONNECT`, which goes on after its answer.
//!
//! `linux-side boot` is for whoever boots the host, before Wine runs: adapters get the addresses and routes that are kept.

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    unix::main()
}

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}

#[cfg(unix)]
mod unix {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::Write as _;
    use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
    use std::path::PathBuf;
    use std::process::{Command, ExitCode, Stdio};
    use std::thread;

    use k8swin_stand_ins::linux::{Answer, BOOT, FORWARD, IP, NAMESPACE_FILE, PERSISTENT_FILE, SETTING};
    use k8swin_stand_ins::netsh::{self, Desk, Persistent};

    pub(super) fn main() -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let done = match arguments.as_slice() {
            [verb] if verb == BOOT => in_a_namespace_of_its_own().and_then(|()| netsh::boot(&mut LinuxDesk)),
            [port, verb, listen, connect] if verb == FORWARD => forward(port, listen, connect),
            [port, verb, rest @ ..] => answer(port, act(verb, rest)),
            _ => Err("unknown request".to_owned()),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Whether anybody reads it is the caller's concern.
                let _ = writeln!(std::io::stderr(), "linux-side: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn answer(port: &str, outcome: Result<String, String>) -> Result<(), String> {
        let port: u16 = port.parse().map_err(|_| format!("the port {port}"))?;
        let answer = match outcome {
            Ok(output) => Answer { code: Some(0), output, error: String::new() },
            Err(error) => Answer { code: None, output: String::new(), error },
        };
        let text = serde_json::to_vec(&answer).map_err(|error| error.to_string())?;
        let sent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut stream| stream.write_all(&text));
        sent.map_err(|error| format!("answer to port {port}: {error}"))
    }

    fn act(verb: &str, arguments: &[String]) -> Result<String, String> {
        in_a_namespace_of_its_own()?;
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        match (verb, words.as_slice()) {
            (IP, words) => LinuxDesk.ip(words),
            (SETTING, [path, value]) => LinuxDesk.setting(path, value).map(|()| String::new()),
            _ => Err(format!("unknown request: {verb} {}", words.join(" "))),
        }
    }

    /// Leads connections on. Where they go is written down, so that somebody else can change it while this one listens.
    fn forward(port: &str, listen: &str, connect: &str) -> Result<(), String> {
        let listening = in_a_namespace_of_its_own().and_then(|()| {
            let (listen, connect): (SocketAddrV4, SocketAddrV4) = match (listen.parse(), connect.parse()) {
                (Ok(listen), Ok(connect)) => (listen, connect),
                _ => return Err(format!("{listen} or {connect} is no address with a port")),
            };
            let file = beside(&format!("forward-{}-{}", listen.ip(), listen.port()))?;
            fs::write(&file, connect.to_string()).map_err(|error| format!("write {}: {error}", file.display()))?;
            match TcpListener::bind(listen) {
                Ok(listener) => Ok(Some((listener, file))),
                // An earlier one of these listens, and reads the file.
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Ok(None),
                Err(error) => Err(format!("listen on {listen}: {error}")),
            }
        });
        answer(port, listening.as_ref().map(|_| "Ok.\n".to_owned()).map_err(Clone::clone))?;
        let Some((listener, file)) = listening? else { return Ok(()) };
        for arrived in listener.incoming() {
            let leads = fs::read_to_string(&file).ok().and_then(|text| TcpStream::connect(text.trim()).ok());
            if let (Ok(arrived), Some(onward)) = (arrived, leads) {
                join(&arrived, &onward);
            }
        }
        Ok(())
    }

    /// Passes on what each side says until it is silent for ever.
    fn join(one: &TcpStream, other: &TcpStream) {
        for (from, to) in [(one, other), (other, one)] {
            // A connection that cannot be passed on ends, which its ends notice.
            let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { continue };
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    }

    fn beside(file: &str) -> Result<PathBuf, String> {
        let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
        Ok(program.with_file_name(file))
    }

    /// The machine that runs the tests keeps its network.
    fn in_a_namespace_of_its_own() -> Result<(), String> {
        let own =
            fs::read_link("/proc/self/ns/net").map_err(|error| format!("look at the network namespace: {error}"))?;
        let file = beside(NAMESPACE_FILE)?;
        let allowed = fs::read_to_string(&file).map_err(|error| format!("read {}: {error}", file.display()))?;
        if own.as_os_str() == allowed.trim() {
            Ok(())
        } else {
            Err(format!("this is the network namespace {}, and only {} may be changed", own.display(), allowed.trim()))
        }
    }

    /// The desk without the registry, which only Wine has.
    struct LinuxDesk;

    const NO_REGISTRY: &str = "Linux has no registry";

    impl Desk for LinuxDesk {
        fn ip(&mut self, arguments: &[&str]) -> Result<String, String> {
            let output = Command::new("/sbin/ip").args(arguments).env_clear().stdin(Stdio::null()).output();
            let output = output.map_err(|error| format!("run /sbin/ip: {error}"))?;
            if output.status.success() {
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            } else {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(format!("ip {}: {said}", arguments.join(" ")))
            }
        }

        fn setting(&mut self, path: &str, value: &str) -> Result<(), String> {
            if path.contains("..") {
                return Err(format!("the setting {path}"));
            }
            let path = format!("/proc/sys/net/ipv4/{path}");
            fs::write(&path, value).map_err(|error| format!("write {path}: {error}"))
        }

        fn forward(&mut self, _listen: SocketAddrV4, _connect: SocketAddrV4) -> Result<(), String> {
            Err("whoever boots the host forwards nothing".to_owned())
        }

        fn texts(&mut self, _key: &str) -> Result<BTreeMap<String, String>, String> {
            Err(NO_REGISTRY.to_owned())
        }

        fn put_text(&mut self, _key: &str, _name: &str, _text: &str) -> Result<(), String> {
            Err(NO_REGISTRY.to_owned())
        }

        fn put_number(&mut self, _key: &str, _name: &str, _number: u32) -> Result<(), String> {
            Err(NO_REGISTRY.to_owned())
        }

        fn remove(&mut self, _key: &str, _name: &str) -> Result<(), String> {
            Err(NO_REGISTRY.to_owned())
        }

        fn new_name(&mut self) -> String {
            String::new()
        }

        fn persistent(&mut self) -> Result<Persistent, String> {
            let file = beside(PERSISTENT_FILE)?;
            match fs::read_to_string(&file) {
                Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Persistent::default()),
                Err(error) => Err(format!("{}: {error}", file.display())),
            }
        }

        fn keep(&mut self, _persistent: &Persistent) -> Result<(), String> {
            Err("only the stand-ins change what is kept".to_owned())
        }
    }
}
