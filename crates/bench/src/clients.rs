//! The clients that are measured beside k8swin, each run as a process of its own: a plain copy over TLS, and winrm-rs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use camino::Utf8Path;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use winrm_rs::{AuthMethod, EncryptionMode, TlsProvider, WinrmClient, WinrmConfig, WinrmCredentials, WinrmError};

use crate::uploads::{SINK, USER};

/// Copies a file over one TLS connection and waits for the byte that says that all of it is there. Gives the seconds from
/// the end of the handshake on.
pub(crate) fn copy(port: u16, ca: &Utf8Path, file: &Utf8Path) -> Result<f64, String> {
    let told = |error: &dyn std::fmt::Display| format!("copy: {error}");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).map_err(|e| told(&e))?).map_err(|e| told(&e))?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| told(&e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(|e| told(&e))?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|e| told(&e))?;
    let socket = TcpStream::connect(("127.0.0.1", port)).map_err(|e| told(&e))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.conn.complete_io(&mut stream.sock).map_err(|e| told(&e))?;
    let started = Instant::now();
    let mut source = std::fs::File::open(file).map_err(|e| told(&e))?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = source.read(&mut buffer).map_err(|e| told(&e))?;
        if read == 0 {
            break;
        }
        stream.write_all(buffer.get(..read).unwrap_or_default()).map_err(|e| told(&e))?;
    }
    stream.conn.send_close_notify();
    stream.flush().map_err(|e| told(&e))?;
    stream.read_exact(&mut [0]).map_err(|e| told(&e))?;
    Ok(started.elapsed().as_secs_f64())
}

/// Bytes of one Send, as k8swin has it: what fits the envelopes that a Windows Server 2016 takes.
const SEND: usize = 360 << 10;

/// Uploads a file with winrm-rs' own `upload_file`. Gives the seconds from the opening of the shell on.
pub(crate) fn upload_file(port: u16, ca: &Utf8Path, password: &Utf8Path, file: &Utf8Path) -> Result<f64, String> {
    // As k8swin has it: one handshake serves the whole connection.
    timed(port, ca, password, EncryptionMode::Always, async |client| {
        client.upload_file("localhost", file.as_std_path(), r"C:\upload.bin").await.map(drop)
    })
}

/// Sends a file with winrm-rs to a program's standard input, where it is thrown away: what WinRM alone takes for these bytes.
/// Gives the seconds from the opening of the shell on.
pub(crate) fn send_input(
    port: u16,
    ca: &Utf8Path,
    password: &Utf8Path,
    file: &Utf8Path,
    sealed: bool,
) -> Result<f64, String> {
    let content = std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    // Where TLS is there, `Auto` leaves NTLM's seal away, and winrm-rs logs in for each request.
    let encryption = if sealed { EncryptionMode::Always } else { EncryptionMode::Auto };
    timed(port, ca, password, encryption, async |client| {
        let shell = client.open_shell("localhost").await?;
        let command = shell.start_command(SINK, &[]).await?;
        for piece in content.chunks(SEND) {
            shell.send_input(&command, piece, false).await?;
        }
        shell.send_input(&command, b"", true).await?;
        while !shell.receive_next(&command).await?.done {}
        shell.close().await
    })
}

/// Does `work` with a client of the host for other tools. Gives the seconds it took.
fn timed(
    port: u16,
    ca: &Utf8Path,
    password: &Utf8Path,
    encryption: EncryptionMode,
    work: impl AsyncFnOnce(&WinrmClient) -> Result<(), WinrmError>,
) -> Result<f64, String> {
    let told = |error: &dyn std::fmt::Display| format!("winrm-rs: {error}");
    let password = std::fs::read_to_string(password).map_err(|e| told(&e))?;
    let config = WinrmConfig {
        port: Some(port),
        use_tls: true,
        auth_method: AuthMethod::Ntlm,
        encryption,
        ..WinrmConfig::default()
    };
    let client = WinrmClient::builder(config)
        .tls_provider(TlsProvider::Ring)
        .add_root_certificates_pem(ca.as_std_path())
        .credentials(WinrmCredentials::new(USER, password.trim(), ""))
        .build()
        .map_err(|e| told(&e))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| told(&e))?;
    let started = Instant::now();
    runtime.block_on(work(&client)).map_err(|e| told(&e))?;
    Ok(started.elapsed().as_secs_f64())
}
