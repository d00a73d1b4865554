//! The faults of WS-Management that Windows answers with: codes from wsmerror.h and winerror.h, texts from Windows.

/// A fault: the content of an answer with HTTP status 500.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subcode} ({code}): {message}")]
pub(super) struct Fault {
    /// Who is to blame: `s:Sender` or `s:Receiver`.
    pub(super) role: &'static str,
    /// The WS-Management or WS-Addressing subcode.
    pub(super) subcode: &'static str,
    /// The error code of Windows.
    pub(super) code: u32,
    /// The text of Windows.
    pub(super) message: String,
}

const SENDER: &str = "s:Sender";
const RECEIVER: &str = "s:Receiver";

impl Fault {
    fn new(role: &'static str, subcode: &'static str, code: u32, message: impl Into<String>) -> Self {
        Self { role, subcode, code, message: message.into() }
    }

    /// ERROR_WSMAN_OPERATION_TIMEDOUT: nothing happened within the operation's time. The answer to a Receive without
    /// output (MS-WSMV 3.1.4.14); clients ask again.
    pub(super) fn timed_out() -> Self {
        let message =
            "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.  ";
        Self::new(RECEIVER, "w:TimedOut", 0x8033_8029, message)
    }

    /// ERROR_WSMAN_UNEXPECTED_SELECTORS, as Windows answers for a shell that it does not have (WinRb/WinRM#253).
    pub(super) fn shell_not_found(id: &str) -> Self {
        let message = format!(
            "The request for the Windows Remote Shell with ShellId {id} failed because the shell was not found on the \
             server. Possible causes are: the specified ShellId is incorrect or the shell no longer exists on the \
             server. Provide the correct ShellId or create a new shell and retry the operation. "
        );
        Self::new(SENDER, "w:InvalidSelectors", 0x8033_805B, message)
    }

    /// A command that its shell does not have. No source gives Windows' own code for it: it is answered like a missing
    /// shell, since clients treat both alike.
    pub(super) fn command_not_found(id: &str) -> Self {
        let message = format!("The Windows Remote Shell has no command with CommandId {id}. ");
        Self::new(SENDER, "w:InvalidSelectors", 0x8033_805B, message)
    }

    /// ERROR_WSMAN_QUOTA_MAX_SHELLS: MaxShellsPerUser is reached.
    pub(super) fn too_many_shells(most: usize) -> Self {
        let message = format!(
            "The WS-Management service cannot process the request. This user is allowed a maximum number of {most} \
             concurrent shells, which has been exceeded. Close existing shells or raise the quota for this user. "
        );
        Self::new(SENDER, "w:QuotaLimit", 0x8033_81A5, message)
    }

    /// MaxProcessesPerShell is reached. Windows enforces it with the shell's job object, so that the start of the
    /// process fails with ERROR_NOT_ENOUGH_QUOTA (deduced).
    pub(super) fn too_many_processes() -> Self {
        Self::new(RECEIVER, "w:QuotaLimit", 1816, "Not enough quota is available to process this command. ")
    }

    /// ERROR_OPERATION_ABORTED: the shell or the command ended while the request waited (WinRb/WinRM's clean-up expects it).
    pub(super) fn aborted() -> Self {
        let message = "The I/O operation has been aborted because of either a thread exit or an application request. ";
        Self::new(RECEIVER, "w:InternalError", 995, message)
    }

    /// ERROR_BROKEN_PIPE: the program that should read the input has ended (ansible#69595).
    pub(super) fn pipe_ended() -> Self {
        Self::new(RECEIVER, "w:InternalError", 109, "The pipe has been ended. ")
    }

    /// ERROR_WSMAN_INVALID_XML: not an envelope, or one without what the operation needs.
    pub(super) fn malformed(what: impl std::fmt::Display) -> Self {
        let message =
            format!("The WS-Management service cannot process the request because the XML is invalid: {what}. ");
        Self::new(SENDER, "w:SchemaValidationError", 0x8033_8043, message)
    }

    /// ERROR_WSMAN_ACTION_NOT_SUPPORTED.
    pub(super) fn action_not_supported(action: &str) -> Self {
        let message = format!("The WS-Management service does not support the action {action} for this resource. ");
        Self::new(SENDER, "a:ActionNotSupported", 0x8033_8013, message)
    }

    /// ERROR_WSMAN_INVALID_RESOURCE_URI: wsmerror.h gives it the subcode DestinationUnreachable.
    pub(super) fn resource_not_found(resource: &str) -> Self {
        let message = format!(
            "The WS-Management service cannot process the request. The resource URI {resource} was not found. "
        );
        Self::new(SENDER, "a:DestinationUnreachable", 0x8033_803B, message)
    }

    /// ERROR_WSMAN_MIN_ENVELOPE_SIZE.
    pub(super) fn envelope_too_small() -> Self {
        let message = "The WS-Management service cannot process the request because the envelope size in the request is too small. ";
        Self::new(SENDER, "w:EncodingLimit", 0x8033_807E, message)
    }

    /// ERROR_WSMAN_INVALID_TIMEOUT_HEADER.
    pub(super) fn invalid_timeout() -> Self {
        let message = "The WS-Management service cannot process the request because the timeout header in the request is invalid. ";
        Self::new(SENDER, "w:SchemaValidationError", 0x8033_8081, message)
    }

    /// ERROR_WINRS_IDLETIMEOUT_OUTOFBOUNDS: an idle timeout under one minute.
    pub(super) fn idle_timeout_out_of_bounds(milliseconds: u128) -> Self {
        let message = format!(
            "The WS-Management service cannot process the request. The requested IdleTimeout of {milliseconds} is \
             outside the allowed range. "
        );
        Self::new(SENDER, "w:InvalidParameter", 0x8033_81F2, message)
    }
}
