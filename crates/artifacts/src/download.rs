//! One file over HTTP(S) into the cache: streamed, resumed after interruptions, verified, and only then under its name.

use std::fs::TryLockError;
use std::io::SeekFrom;
use std::time::Duration;

use camino::Utf8PathBuf;
use k8swin_protocol::Sha256;
use k8swin_protocol::digest::Hasher;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::Progress;
use crate::error::{ArtifactError, DownloadFault, io};

/// Attempts in a row that bring not one byte, before it is given up.
const ATTEMPTS: u32 = 5;

/// Bytes between two reports of progress, where the size is not known; otherwise there are ten reports.
const REPORT: u64 = 32 << 20;

/// How long a server may take to answer whether it has a file.
const PROBE: Duration = Duration::from_secs(10);

/// A download.
pub(crate) struct Download {
    url: String,
    sha256: Sha256,
    path: Utf8PathBuf,
    pause: Duration,
}

/// How an attempt ended that did not end well.
enum Interrupted {
    /// It may go better the next time.
    Again(String),
    /// It will not.
    Final(ArtifactError),
}

impl Download {
    /// A download of the file with that digest to `path`.
    pub(crate) fn new(url: String, sha256: Sha256, path: Utf8PathBuf) -> Self {
        Self { url, sha256, path, pause: Duration::from_secs(1) }
    }

    /// Asks the server for the file's header only.
    pub(crate) async fn probe(&self) -> Result<(), ArtifactError> {
        let client = self.client().map_err(|fault| self.failed(fault))?;
        let unreachable =
            |error: reqwest::Error| self.failed(DownloadFault::Unreachable { cause: with_causes(&error), attempts: 1 });
        let answer = client.head(&self.url).timeout(PROBE).send().await.map_err(unreachable)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(self.failed(DownloadFault::Status(status.to_string()))),
        }
    }

    /// Downloads the file, going on where an earlier attempt or process stopped.
    pub(crate) async fn run(&self, progress: &impl Fn(Progress)) -> Result<(), ArtifactError> {
        let _lock = self.lock()?;
        let part = Utf8PathBuf::from(format!("{}.part", self.path));
        let client = self.client().map_err(|fault| self.failed(fault))?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&part)
            .await
            .map_err(io("open", &part))?;
        let found = file.seek(SeekFrom::End(0)).await.map_err(io("read", &part))?;
        self.fetch(&client, &mut file, found, progress).await?;
        let mut actual = self.digest(&mut file).await?;
        if actual != self.sha256 && found > 0 {
            // What an earlier process left may be of another file: one more time, from the start.
            self.fetch_from_start(&client, &mut file, progress).await?;
            actual = self.digest(&mut file).await?;
        }
        file.sync_all().await.map_err(io("write", &part))?;
        drop(file);
        if actual != self.sha256 {
            tokio::fs::remove_file(&part).await.map_err(io("delete", &part))?;
            return Err(ArtifactError::Digest { url: self.shown(), expected: self.sha256, actual });
        }
        tokio::fs::rename(&part, &self.path).await.map_err(io("replace", &self.path))
    }

    /// Keeps a second process away from the same file; the lock ends with the process.
    fn lock(&self) -> Result<std::fs::File, ArtifactError> {
        let path = Utf8PathBuf::from(format!("{}.lock", self.path));
        let file = std::fs::File::create(&path).map_err(io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(ArtifactError::Busy { path: self.path.clone() }),
            Err(TryLockError::Error(error)) => Err(io("lock", &path)(error)),
        }
    }

    fn client(&self) -> Result<Client, DownloadFault> {
        // An error means that a provider is there already, which is all that is needed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = reqwest::Url::parse(&self.url).map_err(|error| DownloadFault::Client(error.to_string()))?;
        let mut builder = Client::builder()
            .user_agent(concat!("k8swin/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(Duration::from_secs(60));
        if url.host_str().and_then(|host| host.parse::<std::net::IpAddr>().ok()).is_some_and(|ip| ip.is_loopback()) {
            // No proxy can reach this machine's own loopback addresses.
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| DownloadFault::Client(with_causes(&error)))
    }

    async fn fetch_from_start(
        &self,
        client: &Client,
        file: &mut File,
        progress: &impl Fn(Progress),
    ) -> Result<(), ArtifactError> {
        file.set_len(0).await.map_err(io("write", &self.path))?;
        self.fetch(client, file, 0, progress).await
    }

    /// Fetches all bytes after the first `done`, in as many attempts as it takes while there is progress.
    async fn fetch(
        &self,
        client: &Client,
        file: &mut File,
        mut done: u64,
        progress: &impl Fn(Progress),
    ) -> Result<(), ArtifactError> {
        let mut fruitless = 0;
        loop {
            let before = done;
            match self.attempt(client, file, &mut done, progress).await {
                Ok(()) => return Ok(()),
                Err(Interrupted::Final(error)) => return Err(error),
                Err(Interrupted::Again(cause)) => {
                    tracing::info!(url = %self.shown(), done, %cause, "the download was interrupted");
                    fruitless = if done > before { 0 } else { fruitless + 1 };
                    if fruitless == ATTEMPTS {
                        return Err(self.failed(DownloadFault::Unreachable { cause, attempts: ATTEMPTS }));
                    }
                    tokio::time::sleep(self.pause * fruitless.max(1)).await;
                }
            }
        }
    }

    async fn attempt(
        &self,
        client: &Client,
        file: &mut File,
        done: &mut u64,
        progress: &impl Fn(Progress),
    ) -> Result<(), Interrupted> {
        let mut request = client.get(&self.url);
        if *done > 0 {
            request = request.header(RANGE, format!("bytes={done}-"));
        }
        let again = |error: reqwest::Error| Interrupted::Again(with_causes(&error.without_url()));
        let writing = |error| Interrupted::Final(io("write", &self.path)(error));
        let mut response = request.send().await.map_err(again)?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(*done) => {}
            // The whole file, or another range than asked for: only the start is certain to be right.
            StatusCode::OK => *done = 0,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if *done > 0 => {
                // Either all bytes are there already, which the digest tells, or they are of another file.
                file.seek(SeekFrom::Start(0)).await.map_err(writing)?;
                if digest_of(file).await.map_err(writing)? == self.sha256 {
                    return Ok(());
                }
                *done = 0;
                file.set_len(0).await.map_err(writing)?;
                return Err(Interrupted::Again("the server does not have the rest of what was begun".to_owned()));
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Interrupted::Again(format!("the server answered {status}")));
            }
            status => return Err(Interrupted::Final(self.failed(DownloadFault::Status(status.to_string())))),
        }
        file.set_len(*done).await.map_err(writing)?;
        file.seek(SeekFrom::Start(*done)).await.map_err(writing)?;
        let total = response.content_length().map(|rest| rest + *done);
        let name = self.path.file_name().unwrap_or_default();
        let report = |done| progress(Progress::Downloading { file: name.to_owned(), done, total });
        let step = total.map_or(REPORT, |total| total / 10);
        let mut reported = *done;
        report(*done);
        while let Some(bytes) = response.chunk().await.map_err(again)? {
            file.write_all(&bytes).await.map_err(writing)?;
            *done += bytes.len() as u64;
            if *done >= reported + step && total != Some(*done) {
                reported = *done;
                report(*done);
            }
        }
        file.flush().await.map_err(writing)?;
        report(*done);
        Ok(())
    }

    async fn digest(&self, file: &mut File) -> Result<Sha256, ArtifactError> {
        file.seek(SeekFrom::Start(0)).await.map_err(io("read", &self.path))?;
        digest_of(file).await.map_err(io("read", &self.path))
    }

    fn failed(&self, fault: DownloadFault) -> ArtifactError {
        ArtifactError::Download { url: self.shown(), fault }
    }

    fn shown(&self) -> String {
        without_credentials(&self.url)
    }
}

/// An address for people: that of a mirror or a repository may be written with user and password.
pub(crate) fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// The digest of what follows in an open file. Hashing hundreds of megabytes takes a second: it yields between pieces.
async fn digest_of(file: &mut File) -> std::io::Result<Sha256> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(hasher.finish()) };
        hasher.update(bytes);
    }
}

/// The first byte of the range that came: `bytes 100-199/200`.
fn range_start(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// An error with all its causes: reqwest's own text says too little.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::test_server::TestServer;

    const SIZE: usize = 3 << 20;

    fn content() -> Vec<u8> {
        (0..SIZE).map(|index| (index * 31 % 251) as u8).collect()
    }

    struct Target {
        folder: tempfile::TempDir,
    }

    impl Target {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn path(&self) -> Utf8PathBuf {
            Utf8PathBuf::from_path_buf(self.folder.path().join("file.tar.gz")).unwrap()
        }

        fn part(&self) -> Utf8PathBuf {
            Utf8PathBuf::from(format!("{}.part", self.path()))
        }

        async fn download(&self, url: String, sha256: Sha256) -> Result<(), ArtifactError> {
            let mut download = Download::new(url, sha256, self.path());
            download.pause = Duration::from_millis(1);
            download.run(&|_| ()).await
        }
    }

    #[tokio::test]
    async fn a_file_is_downloaded_with_progress_and_verified() {
        let server = TestServer::start([("/file", content())]).await;
        let target = Target::new();
        let reports = Mutex::new(Vec::new());
        Download::new(format!("{}/file", server.url()), Sha256::of(&content()), target.path())
            .run(&|report| reports.lock().unwrap().push(report))
            .await
            .unwrap();
        assert_eq!(std::fs::read(target.path()).unwrap(), content());
        assert!(!target.part().exists());
        let reports = reports.into_inner().unwrap();
        let size = SIZE as u64;
        let last = Progress::Downloading { file: "file.tar.gz".into(), done: size, total: Some(size) };
        assert_eq!(reports.last(), Some(&last));
        assert!(reports.len() >= 3);
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_resumed_where_it_broke() {
        let server = TestServer::start([("/file", content())]).await;
        server.cut_after(1 << 20);
        let target = Target::new();
        target.download(format!("{}/file", server.url()), Sha256::of(&content())).await.unwrap();
        assert_eq!(std::fs::read(target.path()).unwrap(), content());
        assert!(server.requests() >= 3);
        assert!(server.ranges().iter().skip(1).all(|start| *start > 0), "{:?}", server.ranges());
    }

    #[tokio::test]
    async fn what_an_earlier_process_left_is_not_downloaded_again() {
        let server = TestServer::start([("/file", content())]).await;
        let target = Target::new();
        std::fs::write(target.part(), &content()[..2_000_000]).unwrap();
        target.download(format!("{}/file", server.url()), Sha256::of(&content())).await.unwrap();
        assert_eq!(server.ranges(), [2_000_000]);

        // All bytes were there, only the rename was missing.
        std::fs::rename(target.path(), target.part()).unwrap();
        target.download(format!("{}/file", server.url()), Sha256::of(&content())).await.unwrap();
        assert_eq!(std::fs::read(target.path()).unwrap(), content());
    }

    #[tokio::test]
    async fn what_an_earlier_process_left_of_another_file_is_replaced() {
        let server = TestServer::start([("/file", content())]).await;
        let target = Target::new();
        for left in [1_000, SIZE + 1_000] {
            std::fs::write(target.part(), vec![0; left]).unwrap();
            target.download(format!("{}/file", server.url()), Sha256::of(&content())).await.unwrap();
            assert_eq!(std::fs::read(target.path()).unwrap(), content());
        }
    }

    #[tokio::test]
    async fn another_digest_is_an_error_and_leaves_nothing() {
        let server = TestServer::start([("/file", content())]).await;
        let target = Target::new();
        let error = target.download(format!("{}/file", server.url()), Sha256::of(b"official")).await.unwrap_err();
        assert!(matches!(&error, ArtifactError::Digest { actual, .. } if *actual == Sha256::of(&content())), "{error}");
        assert!(!target.path().exists() && !target.part().exists());
    }

    #[tokio::test]
    async fn offline_is_said_with_address_cause_and_remedy() {
        let server = TestServer::start([("/file", content())]).await;
        let url = format!("{}/file", server.url());
        server.stop();
        let error = Target::new().download(url.clone(), Sha256::of(b"")).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot download {url}: ")), "{text}");
        assert!(text.ends_with("(tried 5 times without a byte of progress)"), "{text}");
        assert!(error.hint().unwrap().contains("mirror"));
    }

    #[test]
    fn credentials_of_a_mirror_are_not_shown() {
        let shown = |url: &str| Download::new(url.into(), Sha256::of(b""), "file".into()).shown();
        assert_eq!(shown("https://admin:hunter2@mirror:8443/a@b"), "https://mirror:8443/a@b");
        assert_eq!(shown("https://dl.k8s.io/v1.5.8/file"), "https://dl.k8s.io/v1.5.8/file");
    }

    #[tokio::test]
    async fn a_refusal_is_not_tried_again() {
        let server = TestServer::start([("/file", content())]).await;
        let error = Target::new().download(format!("{}/other", server.url()), Sha256::of(b"")).await.unwrap_err();
        assert!(error.to_string().ends_with("the server answered 404 Not Found"), "{error}");
        assert_eq!(server.requests(), 1);
    }

    #[tokio::test]
    async fn two_processes_do_not_write_the_same_file() {
        let target = Target::new();
        let _held = Download::new(String::new(), Sha256::of(b""), target.path()).lock().unwrap();
        let error = target.download("http://127.0.0.1:1/file".into(), Sha256::of(b"")).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Busy { .. }), "{error}");
    }
}
