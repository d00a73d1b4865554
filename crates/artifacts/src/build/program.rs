//! Programs of this machine: short questions, and builds whose output is followed line by line. Whatever a program
//! started ends with it, also when nobody waits for it any more.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// How long a question may take: `git` may have to reach a server for its answer.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// A program with all that it started, killed when this value goes before they have ended.
struct Tree {
    /// The process group, until its first process has ended.
    #[cfg(unix)]
    group: Option<rustix::process::Pid>,
}

impl Tree {
    fn spawn(command: &mut Command) -> io::Result<(Self, Child)> {
        // A group of its own: a Ctrl-C at the terminal then comes to us alone, and the whole tree can be named at once.
        #[cfg(unix)]
        command.process_group(0);
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn()?;
        #[cfg(unix)]
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        Ok((
            Self {
                #[cfg(unix)]
                group,
            },
            child,
        ))
    }

    /// Forgets a tree whose first process has ended and was waited for.
    fn ended(&mut self) {
        #[cfg(unix)]
        {
            self.group = None;
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(group) = self.group {
            // An error means that there is nothing left to kill.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// What a program that succeeded wrote to its standard output; else what went wrong, for people.
pub(crate) async fn ask(command: &mut Command) -> Result<String, String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut tree, child) = Tree::spawn(command).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no {name}"),
        _ => format!("cannot start {name}: {error}"),
    })?;
    let output = tokio::time::timeout(TIME_LIMIT, child.wait_with_output())
        .await
        .map_err(|_| format!("{name} did not answer within {} s", TIME_LIMIT.as_secs()))?
        .map_err(|error| format!("cannot run {name}: {error}"))?;
    tree.ended();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    Err(if said.is_empty() { format!("{name} ended with {}", output.status) } else { format!("{name}: {said}") })
}

/// Runs a program to its end and gives each line that it writes to `line`, without its line end.
pub(crate) async fn follow(command: &mut Command, mut line: impl FnMut(&str)) -> io::Result<ExitStatus> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut tree, mut child) = Tree::spawn(command)?;
    let (sender, mut lines) = mpsc::channel(64);
    let readers = [
        child.stdout.take().map(|output| tokio::spawn(read(output, sender.clone()))),
        child.stderr.take().map(|output| tokio::spawn(read(output, sender.clone()))),
    ];
    drop(sender);
    let mut status = None;
    // Output ends when the last process that writes it has ended, which may be after the first one.
    loop {
        tokio::select! {
            biased;
            next = lines.recv() => match next {
                Some(bytes) => line(String::from_utf8_lossy(&bytes).trim_end()),
                None => break,
            },
            ended = child.wait(), if status.is_none() => status = Some(ended?),
        }
    }
    for reader in readers.into_iter().flatten() {
        // It has ended: its sender is gone.
        let _ = reader.await;
    }
    let status = match status {
        Some(status) => status,
        None => child.wait().await?,
    };
    tree.ended();
    Ok(status)
}

async fn read(output: impl AsyncRead + Unpin, lines: mpsc::Sender<Vec<u8>>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        match output.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if lines.send(line).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_refusals_and_absence_are_told_apart() {
        assert_eq!(ask(Command::new("echo").arg("hello")).await.unwrap(), "hello");
        assert_eq!(ask(&mut Command::new("false")).await.unwrap_err(), "false ended with exit status: 1");
        let missing = ask(&mut Command::new("k8swin-no-such-program")).await.unwrap_err();
        assert_eq!(missing, "there is no k8swin-no-such-program");
        let refused = ask(Command::new("ls").arg("/k8swin-no-such-folder").env("LC_ALL", "C")).await.unwrap_err();
        assert!(refused.starts_with("ls: ls: cannot access"), "{refused}");
    }

    #[tokio::test]
    async fn all_lines_are_followed_to_the_last_one() {
        let mut lines = Vec::new();
        let status = follow(Command::new("seq").arg("3"), |line| lines.push(line.to_owned())).await.unwrap();
        assert!(status.success());
        assert_eq!(lines, ["1", "2", "3"]);
    }

    #[tokio::test]
    async fn a_program_that_nobody_waits_for_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Makefile");
        // make starts a shell, which starts sleep: three generations.
        std::fs::write(&file, "all:\n\t@echo $$$$; sleep 600; true\n").unwrap();
        let mut command = Command::new("make");
        command.arg("-f").arg(&file);
        let (sender, mut started) = mpsc::unbounded_channel();
        let following =
            tokio::spawn(async move { follow(&mut command, |line| sender.send(line.to_owned()).unwrap()).await });
        let shell = started.recv().await.unwrap();
        let process = std::path::Path::new("/proc").join(&shell);
        following.abort();
        assert!(following.await.unwrap_err().is_cancelled());
        // A killed process is gone when whoever inherits it has looked at it.
        let is_dead = || {
            std::fs::read_to_string(process.join("stat"))
                .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with(['Z', 'X'])))
        };
        while !is_dead() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
