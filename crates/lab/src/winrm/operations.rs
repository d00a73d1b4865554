//! Carries out the requests of an authenticated client.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use quick_xml::escape::escape;

use super::Limits;
use super::command::{Received, Stream};
use super::envelope::{self, CMD, CONFIGURATION, NewShell, Operation, Refused, Request, SHELL, Signal};
use super::fault::Fault;
use super::shell::{Shell, Shells};
use crate::program::SharedHost;

/// Bytes that an answer to a Receive needs beside the output.
const FRAME: usize = 2048;

/// The service behind all connections of a host.
pub(super) struct Operations {
    pub(super) host: SharedHost,
    pub(super) limits: Limits,
    pub(super) shells: Arc<Shells>,
}

/// An answer: its HTTP status and its envelope.
pub(super) struct Answer {
    /// 200, or 500 for a fault.
    pub(super) status: u16,
    /// The envelope.
    pub(super) envelope: String,
}

impl Operations {
    /// Answers an envelope.
    pub(super) async fn answer(&self, body: &[u8]) -> Answer {
        let answered = match Request::parse(body) {
            Ok(Request { message_id, timeout, max_envelope, operation }) => {
                // Windows waits no longer than MaxTimeoutms, whatever the client says.
                let timeout = timeout.map_or(self.limits.timeout, |asked| asked.min(self.limits.timeout));
                let envelope = max_envelope.map_or(self.limits.envelope, |asked| asked.min(self.limits.envelope));
                let carried_out = self.carry_out(operation, timeout, envelope, message_id.as_deref()).await;
                carried_out.map_err(|fault| Refused { message_id, fault })
            }
            Err(refused) => Err(refused),
        };
        match answered {
            Ok(envelope) => Answer { status: 200, envelope },
            Err(Refused { message_id, fault }) => {
                tracing::debug!(%fault, "a WinRM request is answered by a fault");
                let envelope = envelope::fault(&fault, message_id.as_deref(), self.host.name());
                Answer { status: 500, envelope }
            }
        }
    }

    async fn carry_out(
        &self,
        operation: Operation,
        timeout: Duration,
        max_envelope: usize,
        id: Option<&str>,
    ) -> Result<String, Fault> {
        Ok(match operation {
            Operation::Identify => envelope::identity(true),
            Operation::GetConfiguration => envelope::transfer_answer("GetResponse", id, &configuration(&self.limits)),
            Operation::Create(new) => {
                let shell = self.shells.create(&new)?;
                envelope::transfer_answer("CreateResponse", id, &created(&shell, &new, &self.host.account().user))
            }
            Operation::Delete { shell } => {
                let shell = self.shells.find(&shell)?;
                self.shells.close(&shell);
                envelope::transfer_answer("DeleteResponse", id, "")
            }
            Operation::Command { shell, command } => {
                let started = self.shells.find(&shell)?.start(command)?;
                let body = format!(
                    "<rsp:CommandResponse><rsp:CommandId>{}</rsp:CommandId></rsp:CommandResponse>",
                    escape(&started)
                );
                envelope::shell_answer("CommandResponse", id, &body)
            }
            Operation::Send { shell, command, input } => {
                let shell = self.shells.find(&shell)?;
                shell.command(&command)?.send(input, timeout).await?;
                envelope::shell_answer("SendResponse", id, "<rsp:SendResponse/>")
            }
            Operation::Receive { shell, command } => {
                let shell = self.shells.find(&shell)?;
                let room = max_envelope.saturating_sub(FRAME) / 4 * 3;
                let received = shell.command(&command)?.receive(room, timeout).await?;
                envelope::shell_answer("ReceiveResponse", id, &receive_response(&command, &received))
            }
            Operation::Signal { shell, command, signal } => {
                let shell = self.shells.find(&shell)?;
                match signal {
                    Signal::Interrupt => shell.command(&command)?.interrupt(),
                    Signal::Terminate => shell.terminate(&command)?,
                }
                envelope::shell_answer("SignalResponse", id, "<rsp:SignalResponse/>")
            }
        })
    }
}

fn created(shell: &Shell, new: &NewShell, owner: &str) -> String {
    let Shell { id, idle_timeout, .. } = shell;
    format!(
        "<x:ResourceCreated><a:Address>/wsman</a:Address><a:ReferenceParameters><w:ResourceURI>{CMD}</w:ResourceURI>\
         <w:SelectorSet><w:Selector Name=\"ShellId\">{id}</w:Selector></w:SelectorSet></a:ReferenceParameters></x:ResourceCreated>\
         <rsp:Shell><rsp:ShellId>{id}</rsp:ShellId><rsp:ResourceUri>{CMD}</rsp:ResourceUri><rsp:Owner>{}</rsp:Owner>\
         <rsp:ClientIP>127.0.0.1</rsp:ClientIP><rsp:IdleTimeOut>PT{:.3}S</rsp:IdleTimeOut>\
         <rsp:InputStreams>{}</rsp:InputStreams><rsp:OutputStreams>{}</rsp:OutputStreams></rsp:Shell>",
        escape(owner),
        idle_timeout.as_secs_f64(),
        escape(&new.input_streams),
        escape(&new.output_streams),
    )
}

fn receive_response(command: &str, received: &Received) -> String {
    let command = escape(command);
    let mut body = String::from("<rsp:ReceiveResponse>");
    for (stream, bytes) in &received.pieces {
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        // Writing to a String does not fail.
        let _ =
            write!(body, "<rsp:Stream Name=\"{name}\" CommandId=\"{command}\">{}</rsp:Stream>", BASE64.encode(bytes));
    }
    let _ = match received.exit {
        // Windows writes exit codes as unsigned numbers: 4294967295 for -1.
        Some(code) => write!(
            body,
            "<rsp:Stream Name=\"stdout\" CommandId=\"{command}\" End=\"true\"/>\
             <rsp:Stream Name=\"stderr\" CommandId=\"{command}\" End=\"true\"/>\
             <rsp:CommandState CommandId=\"{command}\" State=\"{SHELL}/CommandState/Done\"><rsp:ExitCode>{}</rsp:ExitCode></rsp:CommandState>",
            code.cast_unsigned()
        ),
        None => write!(body, "<rsp:CommandState CommandId=\"{command}\" State=\"{SHELL}/CommandState/Running\"/>"),
    };
    body.push_str("</rsp:ReceiveResponse>");
    body
}

/// The part of `winrm get winrm/config` that clients look at (its last part: MS-WSMV 2.2.4.42).
fn configuration(limits: &Limits) -> String {
    format!(
        "<cfg:Config xmlns:cfg=\"{CONFIGURATION}\"><cfg:MaxEnvelopeSizekb>{}</cfg:MaxEnvelopeSizekb>\
         <cfg:MaxTimeoutms>{}</cfg:MaxTimeoutms><cfg:MaxBatchItems>32000</cfg:MaxBatchItems>\
         <cfg:Service><cfg:AllowUnencrypted>false</cfg:AllowUnencrypted></cfg:Service>\
         <cfg:Winrs><cfg:AllowRemoteShellAccess>true</cfg:AllowRemoteShellAccess><cfg:IdleTimeout>{}</cfg:IdleTimeout>\
         <cfg:MaxConcurrentUsers>10</cfg:MaxConcurrentUsers><cfg:MaxShellRunTime>2147483647</cfg:MaxShellRunTime>\
         <cfg:MaxProcessesPerShell>{}</cfg:MaxProcessesPerShell><cfg:MaxMemoryPerShellMB>1024</cfg:MaxMemoryPerShellMB>\
         <cfg:MaxShellsPerUser>{}</cfg:MaxShellsPerUser></cfg:Winrs></cfg:Config>",
        limits.envelope / 1024,
        limits.timeout.as_millis(),
        limits.idle_timeout.as_millis(),
        limits.processes_per_shell,
        limits.shells_per_user,
    )
}
