//! What the two bootstrap scripts do, done without a shell: the same input, the same exit codes, the same files. There is
//! no PowerShell to run the one for Windows, neither for simulated hosts nor under Wine.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8swin_agent::simulated::SimulatedHost;
use k8swin_protocol::bootstrap::{Bootstrap, EXIT_DIGEST_DIFFERS, Verb};
use k8swin_protocol::resource::Protection;
use k8swin_protocol::{HostPath, Os, Sha256};

use crate::pipe::Console;

/// The exit code of both scripts when the first word is none of theirs.
const EXIT_USAGE: i32 = 64;

/// The largest program that is taken: a bound on memory.
const MAX_BYTES: usize = 256 << 20;

/// Where the agent is put.
pub trait AgentPlace {
    /// Writes the program with the folders above it; an error is what the script would say.
    ///
    /// # Errors
    /// When it cannot be written.
    fn put(&self, path: &HostPath, bytes: &[u8]) -> Result<(), String>;

    /// Takes it away, and the two folders above it if they are empty then.
    fn remove(&self, path: &HostPath);
}

impl AgentPlace for SimulatedHost {
    fn put(&self, path: &HostPath, bytes: &[u8]) -> Result<(), String> {
        self.write_file(path, bytes, Protection::Executable).map_err(|error| error.answer)
    }

    fn remove(&self, path: &HostPath) {
        self.remove_file(path);
    }
}

/// How the script ended: its exit code and what it wrote to standard error. `None` when it was ended from outside, which
/// leaves the host as it was.
pub async fn run(os: Os, host: &impl AgentPlace, console: &mut Console) -> Option<(i32, String)> {
    let mut input = Input { console, buffer: Vec::new(), at_end: false };
    let header = input.line().await?;
    let Some(header) = std::str::from_utf8(&header).ok().and_then(Bootstrap::parse_header) else {
        return Some((EXIT_USAGE, String::new()));
    };
    if header.verb == Verb::Remove {
        host.remove(&header.path);
        return Some((0, String::new()));
    }
    let uploaded = match os {
        Os::Linux => input.rest().await?,
        Os::Windows => match input.base64_lines().await? {
            Ok(bytes) => bytes,
            Err(message) => return Some((1, message.to_owned())),
        },
    };
    if Sha256::of(&uploaded) != header.sha256 {
        return Some((EXIT_DIGEST_DIFFERS, "sha256 of the upload differs".to_owned()));
    }
    match host.put(&header.path, &uploaded) {
        Ok(()) => Some((0, String::new())),
        Err(answer) => Some((1, answer)),
    }
}

struct Input<'c> {
    console: &'c mut Console,
    buffer: Vec<u8>,
    at_end: bool,
}

impl Input<'_> {
    /// Waits for more bytes; `None` when the script is ended or the input is unreasonably long.
    async fn fill(&mut self) -> Option<()> {
        match self.console.read().await {
            Some(bytes) => self.buffer.extend_from_slice(&bytes),
            None => self.at_end = true,
        }
        (!self.console.ended.is_cancelled() && self.buffer.len() <= MAX_BYTES).then_some(())
    }

    /// The next line without its ending; what is left at the end of the input.
    async fn line(&mut self) -> Option<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(length) = self.buffer.iter().skip(searched).position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(searched + length + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Some(line.trim_ascii_end().to_vec());
            }
            if self.at_end {
                return Some(std::mem::take(&mut self.buffer));
            }
            searched = self.buffer.len();
            self.fill().await?;
        }
    }

    async fn rest(&mut self) -> Option<Vec<u8>> {
        while !self.at_end {
            self.fill().await?;
        }
        Some(std::mem::take(&mut self.buffer))
    }

    /// Base64 lines up to a line with a dot.
    async fn base64_lines(&mut self) -> Option<Result<Vec<u8>, &'static str>> {
        let mut bytes = Vec::new();
        loop {
            let line = self.line().await?;
            if line == b"." {
                return Some(Ok(bytes));
            }
            if self.at_end && self.buffer.is_empty() && line.is_empty() {
                return Some(Err("the upload ended early"));
            }
            match BASE64.decode(&line) {
                Ok(decoded) if bytes.len() + decoded.len() <= MAX_BYTES => bytes.extend(decoded),
                _ => return Some(Err("The input is not a valid Base-64 string")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use k8swin_agent::simulated::{HostSpec, SimulatedCluster};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::pipe::streams;

    async fn feed(os: Os, input: Vec<u8>, host: &SimulatedHost) -> Option<(i32, String)> {
        let (running, mut console) = streams(CancellationToken::new());
        tokio::spawn(async move {
            for chunk in input.chunks(7) {
                if running.stdin.send(Bytes::copy_from_slice(chunk)).await.is_err() {
                    return;
                }
            }
        });
        run(os, host, &mut console).await
    }

    fn host(os: Os) -> SimulatedHost {
        let address = std::net::Ipv4Addr::new(10, 0, 0, 1);
        let mut spec = HostSpec::linux("a", address);
        spec.os = os;
        SimulatedHost::new(spec, SimulatedCluster::new("v1.5.8"))
    }

    fn header(verb: Verb, os: Os, content: &[u8]) -> (Vec<u8>, HostPath) {
        let sha256 = Sha256::of(content);
        (Bootstrap { verb, sha256, path: os.agent(sha256) }.header().into_bytes(), os.agent(sha256))
    }

    #[tokio::test]
    async fn a_linux_upload_is_verified_and_removed_again() {
        let content = b"an agent\nwith \x00 bytes";
        let host = host(Os::Linux);
        let (mut put, path) = header(Verb::Put, Os::Linux, content);
        put.extend_from_slice(content);
        assert_eq!(feed(Os::Linux, put.clone(), &host).await, Some((0, String::new())));
        assert_eq!(host.read_file(&path).as_deref(), Some(content.as_slice()));
        put.pop();
        assert_eq!(feed(Os::Linux, put, &host).await.unwrap().0, EXIT_DIGEST_DIFFERS);
        let (remove, _) = header(Verb::Remove, Os::Linux, content);
        assert_eq!(feed(Os::Linux, remove, &host).await, Some((0, String::new())));
        assert_eq!(host.read_file(&path), None);
        assert_eq!(feed(Os::Linux, b"get it\n".to_vec(), &host).await.unwrap().0, EXIT_USAGE);
    }

    #[tokio::test]
    async fn a_windows_upload_comes_in_base64_lines() {
        let content = vec![9; 1000];
        let host = host(Os::Windows);
        let (mut put, path) = header(Verb::Put, Os::Windows, &content);
        for chunk in content.chunks(300) {
            put.extend(BASE64.encode(chunk).bytes().chain(*b"\r\n"));
        }
        let early = feed(Os::Windows, put.clone(), &host).await;
        assert_eq!(early, Some((1, "the upload ended early".to_owned())));
        put.extend(b".\r\n");
        assert_eq!(feed(Os::Windows, put, &host).await, Some((0, String::new())));
        assert_eq!(host.read_file(&path), Some(content));
    }
}
