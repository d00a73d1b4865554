//! The service `docker`: the engine behind its port and its pipe.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8swin_stand_ins::desk::{WineDesk, log, write_whole};
use k8swin_stand_ins::engine::{
    Engine, PORT, Reply, Request, State, World, frame, read_request, write_head, write_json,
};
use k8swin_stand_ins::netsh::Desk;
use k8swin_stand_ins::service;
use serde_json::json;
use windows_service::service::{ServiceAccess, ServiceErrorControl, ServiceInfo, ServiceStartType, ServiceType};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_service::{define_windows_service, service_dispatcher};

use super::pipe;

const NAME: &str = "docker";
const FOLDER: &str = r"C:\ProgramData\docker";
const STATE: &str = r"C:\ProgramData\docker\stand-in.json";

/// How often something that is waited for is looked at.
const POLL: Duration = Duration::from_millis(50);

/// The service's own code for an engine that cannot start.
const NOT_STARTED: u32 = 1;

pub(super) fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("--register-service") => register(),
        Some("--unregister-service") => unregister(),
        Some("--run-service") => service_dispatcher::start(NAME, service_main),
        _ => return ExitCode::FAILURE,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn register() -> windows_service::Result<()> {
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: "Docker Engine".into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: std::env::current_exe().map_err(windows_service::Error::Winapi)?,
        launch_arguments: vec!["--run-service".into()],
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    ServiceManager::local_computer(None::<&OsStr>, access)?.create_service(&info, ServiceAccess::QUERY_STATUS).map(drop)
}

fn unregister() -> windows_service::Result<()> {
    let manager = ServiceManager::local_computer(None::<&OsStr>, ServiceManagerAccess::CONNECT)?;
    manager.open_service(NAME, ServiceAccess::DELETE)?.delete()
}

define_windows_service!(service_main, serve);

fn serve(_arguments: Vec<OsString>) {
    let begin = || {
        start().map_err(|error| {
            log("dockerd", &json!({"error": error}));
            NOT_STARTED
        })
    };
    service::serve(NAME, begin, |engine| {
        lock(&engine).stop();
        Ok(())
    });
}

type Shared = Arc<Mutex<Engine<Wine>>>;

fn lock(engine: &Shared) -> MutexGuard<'_, Engine<Wine>> {
    engine.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start() -> Result<Shared, String> {
    fs::create_dir_all(FOLDER).map_err(|error| format!("{FOLDER}: {error}"))?;
    let state = match fs::read_to_string(STATE) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{STATE}: {error}"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
        Err(error) => return Err(format!("{STATE}: {error}")),
    };
    let host = std::env::var("COMPUTERNAME").unwrap_or_default().to_lowercase();
    let mut engine = Engine::new(state, Wine::default(), host);
    engine.boot().map_err(|refused| refused.message)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).map_err(|error| format!("port {PORT}: {error}"))?;
    let engine = Arc::new(Mutex::new(engine));
    let shared = Arc::clone(&engine);
    thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let engine = Arc::clone(&shared);
            // Who goes away in the middle wants no answer.
            thread::spawn(move || drop(converse(&stream, &engine)));
        }
    });
    pipe::listen()?;
    Ok(engine)
}

fn converse(stream: &TcpStream, engine: &Shared) -> io::Result<()> {
    let mut input = BufReader::new(stream);
    while let Some(request) = read_request(&mut input)? {
        let reply = lock(engine).handle(&request);
        let code = if let Reply::Json(code, _) = &reply { *code } else { 200 };
        let said = if let Reply::Json(400.., Some(value)) = &reply { value.clone() } else { json!(null) };
        log("dockerd", &json!({"method": request.method, "path": request.path, "code": code, "said": said}));
        let last = answer(stream, engine, &request, reply)?;
        if last || request.headers.get("connection").is_some_and(|word| word.eq_ignore_ascii_case("close")) {
            break;
        }
    }
    stream.shutdown(std::net::Shutdown::Both)
}

/// Answers. Whether the connection is used up.
fn answer(mut stream: &TcpStream, engine: &Shared, request: &Request, reply: Reply) -> io::Result<bool> {
    const RAW: (&str, &str) = ("Content-Type", "application/vnd.docker.raw-stream");
    match reply {
        Reply::Json(code, body) => write_json(&mut stream, code, body.as_ref()).map(|()| false),
        Reply::Pong => {
            write_head(&mut stream, 200, &[("Content-Type", "text/plain"), ("Content-Length", "2")])?;
            // The answer to HEAD has no body.
            if request.method == "GET" { stream.write_all(b"OK").map(|()| false) } else { Ok(false) }
        }
        Reply::Progress(values) => {
            let text: String = values.iter().map(|value| format!("{value}\r\n")).collect();
            let length = text.len().to_string();
            write_head(&mut stream, 200, &[("Content-Type", "application/json"), ("Content-Length", &length)])?;
            stream.write_all(text.as_bytes()).map(|()| false)
        }
        Reply::Wait(container) => {
            let code = loop {
                match lock(engine).ended(&container) {
                    Some(code) => break code,
                    None => thread::sleep(POLL),
                }
            };
            write_json(&mut stream, 200, Some(&json!({"StatusCode": code}))).map(|()| false)
        }
        Reply::Log { container, follow, timestamps, tail } => {
            write_head(&mut stream, 200, &[RAW, ("Connection", "close")])?;
            write_log(stream, engine, &container, follow, timestamps, tail).map(|()| true)
        }
        Reply::Attach(container) => {
            upgrade(stream, request)?;
            write_log(stream, engine, &container, true, false, Some(0)).map(|()| true)
        }
        Reply::Output(id) => {
            upgrade(stream, request)?;
            let output = lock(engine).execute(&id);
            stream.write_all(&frame(1, &output)).map(|()| true)
        }
        Reply::Events(mut seen) => {
            write_head(&mut stream, 200, &[("Content-Type", "application/json"), ("Connection", "close")])?;
            loop {
                let events = lock(engine).events_since(seen).to_vec();
                seen += events.len();
                for event in events {
                    stream.write_all(format!("{event}\n").as_bytes())?;
                }
                thread::sleep(POLL);
            }
        }
    }
}

fn upgrade(mut stream: &TcpStream, request: &Request) -> io::Result<()> {
    let raw = ("Content-Type", "application/vnd.docker.raw-stream");
    match request.headers.get("upgrade") {
        Some(_) => write_head(&mut stream, 101, &[raw, ("Connection", "Upgrade"), ("Upgrade", "tcp")]),
        None => write_head(&mut stream, 200, &[raw, ("Connection", "close")]),
    }
}

fn write_log(
    mut stream: &TcpStream,
    engine: &Shared,
    container: &str,
    follow: bool,
    timestamps: bool,
    tail: Option<usize>,
) -> io::Result<()> {
    let mut seen = None;
    loop {
        let (lines, runs) = match lock(engine).log(container) {
            Some((log, runs)) => {
                let from = seen.unwrap_or_else(|| tail.map_or(0, |tail| log.len().saturating_sub(tail)));
                seen = Some(log.len());
                (log.get(from..).unwrap_or_default().to_vec(), runs)
            }
            None => (Vec::new(), false),
        };
        for (at, line) in lines {
            let line = if timestamps { format!("{} {line}\n", rfc3339(at)) } else { format!("{line}\n") };
            stream.write_all(&frame(1, &line))?;
        }
        if !follow || !runs {
            return Ok(());
        }
        thread::sleep(POLL);
    }
}

fn rfc3339(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds).map(|time| time.to_string()).unwrap_or_default()
}

/// The engine's world under Wine.
#[derive(Default)]
struct Wine {
    desk: Option<WineDesk>,
    servers: BTreeMap<String, Arc<AtomicBool>>,
}

impl World for Wine {
    fn desk(&mut self) -> &mut dyn Desk {
        self.desk.get_or_insert(WineDesk)
    }

    fn now_ms(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        i64::try_from(now).unwrap_or(i64::MAX)
    }

    fn start(&mut self, container: &str, image: &str, address: Ipv4Addr) {
        if !image.contains("iis") {
            return;
        }
        let stop = Arc::new(AtomicBool::new(false));
        self.servers.insert(container.to_owned(), Arc::clone(&stop));
        let page = format!("<html><title>IIS</title>stand-in for {image} in {container}</html>\n");
        thread::spawn(move || {
            if let Err(error) = web_server(address, &page, &stop) {
                log("dockerd", &json!({"error": format!("web server at {address}: {error}")}));
            }
        });
    }

    fn stop(&mut self, container: &str) {
        if let Some(stop) = self.servers.remove(container) {
            stop.store(true, Ordering::Relaxed);
        }
    }

    fn keep(&mut self, state: &State) -> Result<(), String> {
        let text = serde_json::to_string_pretty(state).map_err(|error| error.to_string())?;
        write_whole(STATE, &text).map_err(|error| format!("{STATE}: {error}"))
    }
}

/// What a web server's container shows: one page, at port 80.
fn web_server(address: Ipv4Addr, page: &str, stop: &AtomicBool) -> io::Result<()> {
    let listener = TcpListener::bind((address, 80))?;
    listener.set_nonblocking(true)?;
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                let page = page.to_owned();
                thread::spawn(move || drop(show(&stream, &page)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(POLL),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn show(mut stream: &TcpStream, page: &str) -> io::Result<()> {
    read_request(&mut BufReader::new(stream))?;
    let length = page.len().to_string();
    write_head(
        &mut stream,
        200,
        &[("Content-Type", "text/html"), ("Content-Length", &length), ("Connection", "close")],
    )?;
    stream.write_all(page.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)
}
