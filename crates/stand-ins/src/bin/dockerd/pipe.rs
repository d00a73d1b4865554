//! The engine's named pipe, which kubelet.exe and docker.exe ask by default: its connections go to the engine's port.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use k8swin_stand_ins::engine::PORT;
use tokio::net::TcpStream;
use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};

const PIPE: &str = r"\\.\pipe\docker_engine";

/// Lets named pipes be called as Windows lets them.
const OBJECT_NAMES: &str = r"C:\stand-ins\object-names.exe";

/// The pipe of kubelet.exe's own runtime service.
const KUBELET: &str = r"\\.\pipe\dockershim";

/// Shorter than kubelet.exe takes from making its pipe to asking it.
const LOOK: Duration = Duration::from_millis(2);

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
    thread::spawn(hold_first_instances);
    Ok(())
}

/// kubelet.exe makes the first instance of its pipe only for the name, without access to it; Windows lets nobody connect
/// there, Wine does, and who connects is never answered. So this is who connects.
fn hold_first_instances() {
    loop {
        if let Ok(mut pipe) = OpenOptions::new().read(true).write(true).open(KUBELET) {
            let mut ignored = [0; 64];
            // Until kubelet.exe ends, or ends the connection.
            while pipe.read(&mut ignored).is_ok_and(|length| length > 0) {}
        }
        thread::sleep(LOOK);
    }
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
