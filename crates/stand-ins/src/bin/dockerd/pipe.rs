//! The engine's named pipe, which kubelet.exe and docker.exe ask by default: its connections go to the engine's port.

use std::io;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::thread;

use k8swin_stand_ins::engine::PORT;
use tokio::net::TcpStream;
use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};

const PIPE: &str = r"\\.\pipe\docker_engine";

/// Lets named pipes be called as Windows lets them.
const OBJECT_NAMES: &str = r"C:\stand-ins\object-names.exe";

/// Listens from now on.
pub(super) fn listen() -> Result<(), String> {
    let mut names = Command::new(OBJECT_NAMES);
    let named = names.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !named.is_ok_and(|status| status.success()) {
        return Err(format!("{OBJECT_NAMES} failed"));
    }
    let failed = |error: io::Error| format!("{PIPE}: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let first = {
        let _inside = runtime.enter();
        ServerOptions::new().first_pipe_instance(true).create(PIPE).map_err(failed)?
    };
    thread::spawn(move || runtime.block_on(serve(first)));
    Ok(())
}

async fn serve(mut waiting: NamedPipeServer) -> io::Result<()> {
    loop {
        waiting.connect().await?;
        // The next one is there before this one is served: nobody finds no pipe.
        let next = ServerOptions::new().create(PIPE)?;
        let connected = std::mem::replace(&mut waiting, next);
        tokio::spawn(pass_on(connected));
    }
}

/// Either side may go away in the middle.
async fn pass_on(mut pipe: NamedPipeServer) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).await?;
    tokio::io::copy_bidirectional(&mut pipe, &mut stream).await.map(drop)
}
