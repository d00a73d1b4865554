//! For tests: a web server on 127.0.0.1 that knows ranges and can be made to break connections.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The server; it ends with this value.
pub(crate) struct TestServer {
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    ranges: Mutex<Vec<usize>>,
    cut_after: AtomicUsize,
}

impl TestServer {
    pub(crate) async fn start<const N: usize>(files: [(&str, Vec<u8>); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let files = files.into_iter().map(|(path, content)| (path.to_owned(), content)).collect();
        let shared = Arc::new(Shared { files, ranges: Mutex::default(), cut_after: AtomicUsize::new(usize::MAX) });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // A client that goes away is no concern of the test.
                tokio::spawn(async move { shared.answer(stream).await });
            }
        });
        Self { address, shared, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first byte that each request asked for, in order.
    pub(crate) fn ranges(&self) -> Vec<usize> {
        self.shared.ranges.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.ranges().len()
    }

    /// From now on each answer breaks off after that many bytes of content.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.shared.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// New connections are refused from now on.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    async fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if stream.read_line(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let range =
            request.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let start = range.as_deref().and_then(|range| range.trim_end_matches('-').parse().ok()).unwrap_or(0);
        self.ranges.lock().unwrap().push(start);
        let (status, headers, body) = match self.files.get(path) {
            None => ("404 Not Found", String::new(), &[][..]),
            Some(content) if start >= content.len() => ("416 Range Not Satisfiable", String::new(), &[][..]),
            Some(content) if range.is_some() => {
                let (last, size) = (content.len() - 1, content.len());
                ("206 Partial Content", format!("Content-Range: bytes {start}-{last}/{size}\r\n"), &content[start..])
            }
            Some(content) => ("200 OK", String::new(), &content[..]),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body[..length.min(self.cut_after.load(Ordering::SeqCst))]).await?;
        stream.shutdown().await
    }
}
