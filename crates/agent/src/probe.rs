//! Listening for other hosts' agents and connecting to them, on any operating system.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use k8swin_protocol::probe::{Ask, BULK, Connect, Listen, Outcome, Target};

/// Between two looks for a new connection.
const POLL: Duration = Duration::from_millis(5);

/// How long one connection may keep a listener's thread.
const PATIENCE: Duration = Duration::from_secs(5);

/// At most so many connections at once.
const AT_ONCE: usize = 32;

/// The longest token that is read.
const LONGEST_TOKEN: u64 = 256;

/// Ports on which this agent listens. They are given back when it is dropped.
#[derive(Default)]
pub(crate) struct Listeners {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Listeners {
    /// Listens on those of the ports that are free, in place of all earlier ones.
    pub(crate) fn listen(&mut self, wanted: &Listen) -> Vec<u16> {
        self.end();
        self.stop = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + Duration::from_secs(wanted.seconds.into());
        let mut ports = Vec::new();
        for port in &wanted.ports {
            // What holds the port is told by the facts.
            let Ok(listener) = TcpListener::bind((wanted.address, *port)) else { continue };
            let (stop, token) = (Arc::clone(&self.stop), wanted.token.clone());
            let thread = thread::Builder::new()
                .name(format!("probe {port}"))
                .spawn(move || accept(&listener, &token, &stop, deadline));
            if let Ok(thread) = thread {
                self.threads.push(thread);
                ports.push(*port);
            }
        }
        ports
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has closed its port, too.
            let _ = thread.join();
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.end();
    }
}

fn accept(listener: &TcpListener, token: &str, stop: &AtomicBool, deadline: Instant) {
    if listener.set_nonblocking(true).is_err() {
        return;
    }
    while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
        match listener.accept() {
            Ok((stream, _)) => {
                let token = token.to_owned();
                // What goes wrong with one connection is the other side's to tell.
                let _ = thread::Builder::new().name("probe".to_owned()).spawn(move || answer(stream, &token));
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// The listening side: takes the token, gives it back, then takes and gives the bulk.
fn answer(stream: TcpStream, token: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    patient(&stream, PATIENCE)?;
    let mut reader = BufReader::new(stream);
    if read_token(&mut reader)? != token {
        return Ok(());
    }
    reader.get_mut().write_all(format!("{token}\n").as_bytes())?;
    reader.read_exact(&mut vec![0; BULK])?;
    reader.get_mut().write_all(&vec![0; BULK])
}

fn read_token(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    reader.take(LONGEST_TOKEN).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn patient(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))
}

/// Tries all targets, many at once.
pub(crate) fn connect(wanted: &Connect) -> Vec<Outcome> {
    let patience = Duration::from_millis(wanted.timeout_ms.into());
    let queue: Mutex<VecDeque<(usize, &Target)>> = Mutex::new(wanted.targets.iter().enumerate().collect());
    let done: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..wanted.targets.len().min(AT_ONCE) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((index, target)) = next else { return };
                    let outcome = attempt(target, patience);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

fn attempt(target: &Target, patience: Duration) -> Outcome {
    let address = SocketAddr::from((target.address, target.port));
    let asked = Instant::now();
    let stream = match TcpStream::connect_timeout(&address, patience) {
        Ok(stream) => stream,
        Err(error) => return refused(&error),
    };
    let microseconds = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
    match &target.ask {
        Ask::Connection => Outcome::Answered { microseconds },
        Ask::Http => match serves_http(stream, target.address, patience) {
            true => Outcome::Answered { microseconds },
            false => Outcome::Stranger,
        },
        Ask::Token(token) => match exchange(stream, token, patience) {
            Exchange::Whole => Outcome::Answered { microseconds },
            Exchange::TokenOnly => Outcome::Stalled,
            Exchange::Nothing => Outcome::Stranger,
        },
    }
}

fn refused(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Outcome::Silent,
        _ => Outcome::Failed { answer: error.to_string() },
    }
}

/// Whether a web server answers, with whatever status.
fn serves_http(mut stream: TcpStream, address: Ipv4Addr, patience: Duration) -> bool {
    const START: &[u8] = b"HTTP/1.";
    let mut start = [0; START.len()];
    let request = format!("GET / HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answered = patient(&stream, patience)
        .and_then(|()| stream.write_all(request.as_bytes()))
        .and_then(|()| stream.read_exact(&mut start));
    answered.is_ok() && start == START
}

/// How much of the conversation took place.
enum Exchange {
    Whole,
    TokenOnly,
    Nothing,
}

fn exchange(stream: TcpStream, token: &str, patience: Duration) -> Exchange {
    let mut reader = BufReader::new(stream);
    let greeted = patient(reader.get_ref(), patience)
        .and_then(|()| reader.get_mut().write_all(format!("{token}\n").as_bytes()))
        .and_then(|()| read_token(&mut reader));
    if !greeted.is_ok_and(|answer| answer == token) {
        return Exchange::Nothing;
    }
    let bulk = reader.get_mut().write_all(&vec![0; BULK]).and_then(|()| reader.read_exact(&mut vec![0; BULK]));
    if bulk.is_ok() { Exchange::Whole } else { Exchange::TokenOnly }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn listen(port: u16) -> Listen {
        Listen { address: Ipv4Addr::LOCALHOST, ports: vec![port], token: TOKEN.to_owned(), seconds: 30 }
    }

    fn try_port(port: u16, token: Option<&str>) -> Outcome {
        ask_port(port, token.map_or(Ask::Connection, |token| Ask::Token(token.to_owned())))
    }

    fn ask_port(port: u16, ask: Ask) -> Outcome {
        let target = Target { address: Ipv4Addr::LOCALHOST, port, ask };
        connect(&Connect { targets: vec![target], timeout_ms: 2000 }).remove(0)
    }

    fn free_port() -> u16 {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn agents_answer_each_other_and_give_their_ports_back() {
        let port = free_port();
        let mut listeners = Listeners::default();
        assert_eq!(listeners.listen(&listen(port)), [port]);
        assert!(matches!(try_port(port, Some(TOKEN)), Outcome::Answered { microseconds: 1.. }));
        assert!(matches!(try_port(port, None), Outcome::Answered { .. }));
        assert_eq!(try_port(port, Some("another")), Outcome::Stranger);
        drop(listeners);
        assert_eq!(try_port(port, Some(TOKEN)), Outcome::Refused);
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[test]
    fn a_port_that_is_taken_is_left_alone_and_one_that_says_nothing_is_a_stranger() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut listeners = Listeners::default();
        assert_eq!(listeners.listen(&listen(port)), [0_u16; 0]);
        let silent = thread::spawn(move || {
            let (mut stream, _) = taken.accept().unwrap();
            stream.write_all(b"220 mail.example.org\n").unwrap();
            thread::sleep(Duration::from_millis(200));
        });
        assert_eq!(try_port(port, Some(TOKEN)), Outcome::Stranger);
        silent.join().unwrap();
    }

    #[test]
    fn a_web_server_is_told_from_what_else_listens() {
        for (says, served) in
            [("HTTP/1.1 404 Not Found\r\n\r\n", true), ("220 mail.example.org\r\n", false), ("", false)]
        {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = thread::spawn(move || {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                reader.get_mut().write_all(says.as_bytes()).unwrap();
                line
            });
            let outcome = ask_port(port, Ask::Http);
            assert_eq!(matches!(outcome, Outcome::Answered { .. }), served, "{says:?}: {outcome:?}");
            assert_eq!(outcome == Outcome::Stranger, !served, "{says:?}");
            assert_eq!(server.join().unwrap(), "GET / HTTP/1.0\r\n");
        }
        assert_eq!(ask_port(free_port(), Ask::Http), Outcome::Refused);
    }

    #[test]
    fn a_path_that_loses_large_packets_stalls() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let lossy = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let token = read_token(&mut reader).unwrap();
            reader.get_mut().write_all(format!("{token}\n").as_bytes()).unwrap();
            // The rest never arrives.
            reader
        });
        let target = Target { address: Ipv4Addr::LOCALHOST, port, ask: Ask::Token(TOKEN.to_owned()) };
        let outcomes = connect(&Connect { targets: vec![target], timeout_ms: 300 });
        assert_eq!(outcomes[0], Outcome::Stalled);
        drop(lossy.join().unwrap());
    }
}
