use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use k8swin_protocol::depot::{OpenDepot, Pull, Store};
use k8swin_protocol::resource::Blob;
use k8swin_protocol::wire::{CHUNK, Chunk, WireBytes};
use k8swin_protocol::{SecretBytes, Sha256};

use super::{Depot, pull};
use crate::platform::{Platform, SharedFile};
use crate::simulated::{Faults, HostSpec, SimulatedCluster, SimulatedHost};
use crate::{Host, blobs};

const TOKEN: &[u8] = b"0123456789abcdef";

/// A zstd frame of raw blocks, which need no compressor (RFC 8878, 3.1.1).
fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
    let mut blocks = bytes.chunks(100_000).peekable();
    while let Some(block) = blocks.next() {
        let header = (block.len() << 3) | usize::from(blocks.peek().is_none());
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    frame
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|number| u8::try_from(number * number % 251).unwrap()).collect()
}

fn blob(content: &[u8]) -> Blob {
    Blob { sha256: Sha256::of(content), size: content.len() as u64 }
}

fn chunks(content: &[u8]) -> impl Iterator<Item = Chunk> {
    let (sha256, size) = (Sha256::of(content), content.len() as u64);
    content.chunks(CHUNK).enumerate().map(move |(number, piece)| Chunk {
        sha256,
        size,
        offset: (number * CHUNK) as u64,
        zstd: WireBytes(SecretBytes::new(frame(piece))),
        store: Store::Depot,
    })
}

/// Two hosts, a depot on the first, and how to pull from it.
struct Case {
    giver: SimulatedHost,
    taker: SimulatedHost,
    depot: Depot,
    pull: Pull,
}

fn platform(host: &SimulatedHost) -> Box<dyn Platform> {
    match host.platform() {
        Host::Linux(platform) => platform,
        Host::Windows(platform) => platform,
    }
}

impl Case {
    fn with(faults: Faults) -> Self {
        let cluster = SimulatedCluster::new("v1.5.8");
        let [giver, taker] = [215, 216].map(|last| {
            SimulatedHost::new(HostSpec::linux(format!("lin{last}"), [10, 5, 6, last].into()), cluster.clone())
        });
        giver.set_faults(faults);
        let mut depot = Depot::default();
        let address = Ipv4Addr::new(10, 5, 6, 215);
        let token = WireBytes(SecretBytes::new(TOKEN));
        let peers = vec![Ipv4Addr::new(10, 5, 6, 216)];
        let open = depot.open(platform(&giver).as_mut(), &OpenDepot { address, peers, token: token.clone() }).unwrap();
        let pull = Pull { address, depot: open, token, blobs: Vec::new() };
        Self { giver, taker, depot, pull }
    }

    fn stock(&mut self, content: &[u8]) {
        for chunk in chunks(content) {
            self.depot.stock(platform(&self.giver).as_mut(), &chunk).unwrap();
        }
    }

    /// Pulls: how many bytes came, and what was wrong.
    fn pull(&self, content: &[u8]) -> (u64, Option<String>) {
        let wanted = Pull { blobs: vec![blob(content)], ..self.pull.clone() };
        let pulled = pull(platform(&self.taker).as_mut(), &wanted, &mut |_, _, _| Ok(())).unwrap();
        (pulled.received, pulled.trouble)
    }

    fn staged(&self, content: &[u8]) -> Option<Vec<u8>> {
        self.taker.read_file(&blobs::path(self.taker.os(), Sha256::of(content)))
    }
}

#[test]
fn what_is_stocked_is_pulled_and_not_twice() {
    let mut case = Case::with(Faults::default());
    for length in [1, CHUNK, 5 * CHUNK + 77] {
        let content = content(length);
        case.stock(&content);
        let (received, trouble) = case.pull(&content);
        assert_eq!(trouble, None);
        assert!(received > length as u64 && received < length as u64 + 1000, "as it was packed: {received}");
        assert_eq!(case.staged(&content), Some(content.clone()));
        assert_eq!(case.pull(&content), (0, None));
    }
}

#[test]
fn what_an_earlier_attempt_left_is_not_pulled_again() {
    let mut case = Case::with(Faults::default());
    let content = content(6 * CHUNK);
    case.stock(&content);
    let path = blobs::path(case.taker.os(), Sha256::of(&content));
    // Not the end of a record: the one that holds it comes again.
    case.taker.write_file(&path, &content[..3 * CHUNK + 5], k8swin_protocol::resource::Protection::Secret).unwrap();
    let (received, trouble) = case.pull(&content);
    assert_eq!((trouble, case.staged(&content)), (None, Some(content)));
    assert!(received < 3 * CHUNK as u64 + 1000, "{received}");
}

#[test]
fn what_an_earlier_session_stocked_is_recovered_and_half_a_record_is_not() {
    let mut case = Case::with(Faults::default());
    let content = content(3 * CHUNK);
    let pieces: Vec<_> = chunks(&content).collect();
    let mut host = platform(&case.giver);
    assert_eq!(case.depot.stock(host.as_mut(), &pieces[0]).unwrap(), CHUNK as u64);
    let mut again = Depot::default();
    assert_eq!(again.stock(host.as_mut(), &pieces[0]).unwrap(), CHUNK as u64);
    assert_eq!(again.stock(host.as_mut(), &pieces[1]).unwrap(), 2 * CHUNK as u64);
    let path = super::store::path(host.os(), Sha256::of(&content));
    host.append_file(&path, &[1, 2, 3]).unwrap();
    let mut broken = Depot::default();
    assert_eq!(broken.stock(host.as_mut(), &pieces[2]).unwrap(), 0, "it begins anew");
    case.stock(&content);
}

#[test]
fn another_token_gets_nothing() {
    let mut case = Case::with(Faults::default());
    let content = content(1000);
    case.stock(&content);
    case.pull.token = WireBytes(SecretBytes::new(*b"0123456789abcdeF"));
    assert_eq!(case.pull(&content), (0, Some("the depot refuses this run's token".to_owned())));
    assert_eq!(case.staged(&content), None);
}

#[test]
fn another_key_is_not_this_runs_depot() {
    let mut case = Case::with(Faults::default());
    let content = content(1000);
    case.stock(&content);
    case.pull.depot.key = Sha256::of(b"another");
    let (received, trouble) = case.pull(&content);
    assert_eq!((received, case.staged(&content)), (0, None));
    assert!(trouble.unwrap().contains("its key is another"));
}

/// What the depot answers over a real connection, with these peers; its bytes before TLS if it says nothing.
fn over_loopback(case: &Case, peers: Vec<Ipv4Addr>, content: &[u8]) -> Result<super::message::Answer, Vec<u8>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (identity, key) = super::tls::Identity::new().unwrap();
    let goods = Arc::clone(case.depot.shelf.goods());
    let _server = super::Server::start(listener, identity, peers, SecretBytes::new(TOKEN), goods).unwrap();
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let link = crate::platform::link::dial(to, Duration::from_secs(5)).unwrap();
    let mut stream = rustls::StreamOwned::new(super::tls::connect(key).unwrap(), link);
    let asked = super::message::Asked { token: SecretBytes::new(TOKEN), sha256: Sha256::of(content), from: 0 };
    if super::message::write_question(&mut stream, &asked).is_err() {
        let mut said = Vec::new();
        let _ = stream.sock.read_to_end(&mut said);
        return Err(said);
    }
    Ok(super::message::read_answer(&mut stream).unwrap())
}

#[test]
fn peers_are_answered_and_strangers_are_refused_before_tls() {
    let mut case = Case::with(Faults::default());
    let content = content(1000);
    case.stock(&content);
    let found = over_loopback(&case, vec![Ipv4Addr::LOCALHOST], &content);
    assert!(matches!(found, Ok(super::message::Answer::Found { from: 0, size: 1000, .. })), "{found:?}");
    let stranger = over_loopback(&case, vec![Ipv4Addr::new(10, 5, 6, 216)], &content);
    assert_eq!(stranger, Err(Vec::new()));
}

#[test]
fn what_the_depot_does_not_have_is_said() {
    let case = Case::with(Faults::default());
    let (_, trouble) = case.pull(&content(10));
    assert!(trouble.unwrap().contains("does not have"));
}

#[test]
fn broken_bytes_are_noticed_and_not_kept() {
    let mut case = Case::with(Faults { depot_corrupts: true, ..Faults::default() });
    let content = content(CHUNK);
    case.stock(&content);
    let (_, trouble) = case.pull(&content);
    assert!(trouble.unwrap().contains("have the digest"));
    assert_eq!(case.staged(&content), None);
}

#[test]
fn a_depot_that_dies_leaves_a_good_beginning() {
    let mut case = Case::with(Faults { depot_dies_after_bytes: Some(3 * CHUNK as u64), ..Faults::default() });
    let content = content(6 * CHUNK);
    case.stock(&content);
    assert!(case.pull(&content).1.is_some());
    let staged = case.staged(&content).unwrap();
    assert!(!staged.is_empty() && staged.len() < content.len() && content.starts_with(&staged));
    assert!(case.pull(&content).1.is_some(), "it stays dead");
}

#[test]
fn a_closed_depot_is_gone_with_what_it_held() {
    let mut case = Case::with(Faults::default());
    let content = content(1000);
    case.stock(&content);
    case.depot.close(platform(&case.giver).as_mut()).unwrap();
    assert!(case.pull(&content).1.is_some());
    let path = super::store::path(case.giver.os(), Sha256::of(&content));
    assert_eq!(case.giver.read_file(&path), None);
}

#[test]
fn a_file_of_this_machine_is_read_at_any_place() {
    let content = content(3 * CHUNK);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, &content).unwrap();
    let shared: SharedFile = Arc::new(std::fs::File::open(&file).unwrap());
    let mut end = vec![0; 10];
    assert_eq!(crate::platform::read_fully(shared.as_ref(), &mut end, content.len() as u64 - 4).unwrap(), 4);
    assert_eq!(end[..4], content[content.len() - 4..]);
}
