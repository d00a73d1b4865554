//! The desk of a stand-in that runs under Wine: Linux by way of `linux-side`, the registry, and files in `C:\stand-ins`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use windows_registry::LOCAL_MACHINE;

use crate::FOLDER;
use crate::linux::{Answer, FORWARD, IP, SETTING};
use crate::netsh::{Desk, Persistent};

/// The program of Linux that changes the network. Wine starts it as it is.
const LINUX_SIDE: &str = r"C:\stand-ins\linux-side";

/// What is kept for the next boot.
const PERSISTENT: &str = r"C:\stand-ins\network.json";

/// Far longer than any answer of Linux takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The desk of this host.
pub struct WineDesk;

/// Writes a line with the time into the log of a stand-in. A log that cannot be written is no reason to do less.
pub fn log(name: &str, line: &serde_json::Value) {
    let _ = fs::create_dir_all(FOLDER);
    let file = fs::OpenOptions::new().create(true).append(true).open(format!(r"{FOLDER}\{name}.log"));
    if let Ok(mut file) = file {
        let milliseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let line = json!({"ms": u64::try_from(milliseconds).unwrap_or(u64::MAX), "what": line});
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// Writes a file as a whole.
///
/// # Errors
/// When it cannot be written.
pub fn write_whole(path: &str, text: &str) -> io::Result<()> {
    let beside = format!("{path}.new");
    fs::write(&beside, text)?;
    fs::rename(beside, path)
}

/// Asks Linux. Its answer comes over a connection of its own, since Wine hands out neither exit codes nor pipes of Linux'
/// programs.
fn ask(verb: &str, arguments: &[&str]) -> Result<Answer, String> {
    let failed = |error: io::Error| format!("ask Linux: {error}");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port().to_string();
    let mut started = Command::new(LINUX_SIDE);
    started.arg(port).arg(verb).args(arguments);
    // Its handle means nothing to Wine.
    drop(started.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(failed)?);
    let mut answer = Vec::new();
    accept(&listener).and_then(|mut stream| stream.read_to_end(&mut answer)).map_err(failed)?;
    serde_json::from_slice(&answer).map_err(|error| format!("an answer of Linux: {error}"))
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    }
}

impl Desk for WineDesk {
    fn ip(&mut self, arguments: &[&str]) -> Result<String, String> {
        ask(IP, arguments)?.into_result()
    }

    fn setting(&mut self, path: &str, value: &str) -> Result<(), String> {
        ask(SETTING, &[path, value])?.into_result().map(drop)
    }

    fn forward(&mut self, listen: SocketAddrV4, connect: SocketAddrV4) -> Result<(), String> {
        ask(FORWARD, &[&listen.to_string(), &connect.to_string()])?.into_result().map(drop)
    }

    fn texts(&mut self, key: &str) -> Result<BTreeMap<String, String>, String> {
        let Ok(key) = LOCAL_MACHINE.open(key) else { return Ok(BTreeMap::new()) };
        let values = key.values().map_err(|error| error.message())?;
        Ok(values.filter_map(|(name, value)| Some((name, String::try_from(value).ok()?))).collect())
    }

    fn put_text(&mut self, key: &str, name: &str, text: &str) -> Result<(), String> {
        LOCAL_MACHINE.create(key).and_then(|key| key.set_string(name, text)).map_err(|error| error.message())
    }

    fn put_number(&mut self, key: &str, name: &str, number: u32) -> Result<(), String> {
        LOCAL_MACHINE.create(key).and_then(|key| key.set_u32(name, number)).map_err(|error| error.message())
    }

    fn remove(&mut self, key: &str, name: &str) -> Result<(), String> {
        LOCAL_MACHINE.create(key).and_then(|key| key.remove_value(name)).map_err(|error| error.message())
    }

    fn new_name(&mut self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let digits = format!("{:032X}", now ^ (u128::from(std::process::id()) << 96));
        let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
        let parts: Vec<_> = parts.into_iter().filter_map(|(from, to)| digits.get(from..to)).collect();
        format!("{{{}}}", parts.join("-"))
    }

    fn persistent(&mut self) -> Result<Persistent, String> {
        match fs::read_to_string(PERSISTENT) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{PERSISTENT}: {error}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Persistent::default()),
            Err(error) => Err(format!("{PERSISTENT}: {error}")),
        }
    }

    fn keep(&mut self, persistent: &Persistent) -> Result<(), String> {
        let text = serde_json::to_string_pretty(persistent).map_err(|error| error.to_string())?;
        write_whole(PERSISTENT, &text).map_err(|error| format!("{PERSISTENT}: {error}"))
    }
}
