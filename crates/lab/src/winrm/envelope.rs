//! SOAP envelopes of WS-Management: reads a request as far as the server acts on it, and writes answers and faults.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use quick_xml::escape::escape;

use super::fault::Fault;
use super::guid;
use super::xml::Element;

const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer";
const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";
const WSMAN_MICROSOFT: &str = "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd";
const IDENTITY: &str = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd";
/// The namespace of shells; actions, signals and states are named below it.
pub(super) const SHELL: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell";
/// The resource of cmd shells.
pub(super) const CMD: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/cmd";
/// The resource of the service's configuration.
pub(super) const CONFIGURATION: &str = "http://schemas.microsoft.com/wbem/wsman/1/config";
const ANONYMOUS: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous";

/// The least MaxEnvelopeSize a client may ask for, in bytes (DSP0226, MaxEnvelopeSize).
const LEAST_ENVELOPE: usize = 8192;

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    /// What the answer relates to.
    pub(super) message_id: Option<String>,
    /// How long the operation may take (OperationTimeout).
    pub(super) timeout: Option<Duration>,
    /// The largest answer the client takes, in bytes (MaxEnvelopeSize).
    pub(super) max_envelope: Option<usize>,
    /// What is to be done.
    pub(super) operation: Operation,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Who are you?
    Identify,
    /// `winrm get winrm/config`.
    GetConfiguration,
    /// Opens a shell.
    Create(NewShell),
    /// Ends a shell with all that runs in it.
    Delete { shell: String },
    /// Starts a command.
    Command { shell: String, command: NewCommand },
    /// Writes to a command's standard input.
    Send { shell: String, command: String, input: Vec<Input> },
    /// Waits for output.
    Receive { shell: String, command: String },
    /// Interrupts or ends a command.
    Signal { shell: String, command: String, signal: Signal },
}

/// A shell to be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewShell {
    /// IdleTimeOut.
    pub(super) idle_timeout: Option<Duration>,
    /// InputStreams, as the client named them.
    pub(super) input_streams: String,
    /// OutputStreams, as the client named them.
    pub(super) output_streams: String,
}

/// A command to be started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewCommand {
    /// The identity the client wants it to have.
    pub(super) id: Option<String>,
    /// The command element.
    pub(super) command: String,
    /// The argument elements.
    pub(super) arguments: Vec<String>,
    /// WINRS_SKIP_CMD_SHELL: no cmd.exe in between.
    pub(super) skip_cmd_shell: bool,
}

/// A piece of standard input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Input {
    /// The bytes.
    pub(super) bytes: Bytes,
    /// Whether the stream ends after them.
    pub(super) end: bool,
}

/// A signal to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Ctrl-C or Ctrl-Break.
    Interrupt,
    /// The client is done with the command: it ends, and the shell forgets it.
    Terminate,
}

/// A request that cannot be carried out, with what its fault relates to.
#[derive(Debug)]
pub(super) struct Refused {
    /// The identity of the request, as far as it was readable.
    pub(super) message_id: Option<String>,
    /// Why.
    pub(super) fault: Fault,
}

impl Request {
    /// Reads an envelope.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refused> {
        let anonymous = |fault| Refused { message_id: None, fault };
        let envelope = Element::parse(body).map_err(|error| anonymous(Fault::malformed(error)))?;
        if !envelope.is(SOAP, "Envelope") {
            return Err(anonymous(Fault::malformed("not a SOAP 1.2 envelope")));
        }
        let body = envelope.child(SOAP, "Body").ok_or_else(|| anonymous(Fault::malformed("no Body")))?;
        if body.child(IDENTITY, "Identify").is_some() {
            return Ok(Self { message_id: None, timeout: None, max_envelope: None, operation: Operation::Identify });
        }
        let header = envelope.child(SOAP, "Header").ok_or_else(|| anonymous(Fault::malformed("no Header")))?;
        let message_id = text_of(header, ADDRESSING, "MessageID").map(str::to_owned);
        let with_id = |fault| Refused { message_id: message_id.clone(), fault };
        let timeout = match text_of(header, WSMAN, "OperationTimeout") {
            Some(text) => Some(duration(text).ok_or_else(|| with_id(Fault::invalid_timeout()))?),
            None => None,
        };
        let max_envelope = text_of(header, WSMAN, "MaxEnvelopeSize").and_then(|text| text.parse().ok());
        if max_envelope.is_some_and(|size: usize| size < LEAST_ENVELOPE) {
            return Err(with_id(Fault::envelope_too_small()));
        }
        let operation = Operation::parse(header, body).map_err(with_id)?;
        Ok(Self { message_id, timeout, max_envelope, operation })
    }
}

impl Operation {
    fn parse(header: &Element, body: &Element) -> Result<Self, Fault> {
        let resource = text_of(header, WSMAN, "ResourceURI").unwrap_or_default();
        let action = text_of(header, ADDRESSING, "Action").ok_or_else(|| Fault::malformed("no Action"))?;
        let shell = || {
            let selectors = header.child(WSMAN, "SelectorSet");
            let found = selectors.and_then(|set| {
                set.children(WSMAN, "Selector").find(|selector| selector.attribute("Name") == Some("ShellId"))
            });
            found.map(|selector| selector.text().to_owned()).ok_or_else(|| Fault::shell_not_found(""))
        };
        let of_transfer = action.strip_prefix(TRANSFER).and_then(|rest| rest.strip_prefix('/'));
        let of_shell = action.strip_prefix(SHELL).and_then(|rest| rest.strip_prefix('/'));
        let configuration = [CONFIGURATION, "winrm/config"].contains(&resource);
        match (of_transfer, of_shell) {
            (Some("Get"), _) if configuration => Ok(Self::GetConfiguration),
            _ if configuration => Err(Fault::action_not_supported(action)),
            _ if resource != CMD => Err(Fault::resource_not_found(resource)),
            (Some("Create"), _) => Ok(Self::Create(NewShell::parse(body)?)),
            (Some("Delete"), _) => Ok(Self::Delete { shell: shell()? }),
            (_, Some("Command")) => Ok(Self::Command { shell: shell()?, command: NewCommand::parse(header, body)? }),
            (_, Some("Send")) => send(shell()?, body),
            (_, Some("Receive")) => {
                let stream = within(body, "Receive")?.child(SHELL, "DesiredStream");
                let stream = stream.ok_or_else(|| Fault::malformed("no DesiredStream"))?;
                Ok(Self::Receive { shell: shell()?, command: command_id(stream)? })
            }
            (_, Some("Signal")) => {
                let element = within(body, "Signal")?;
                let signal = match text_of(element, SHELL, "Code").and_then(|code| code.rsplit('/').next()) {
                    Some("terminate" | "Terminate") => Signal::Terminate,
                    Some("ctrl_c" | "ctrl_break") => Signal::Interrupt,
                    _ => return Err(Fault::malformed("an unknown signal")),
                };
                Ok(Self::Signal { shell: shell()?, command: command_id(element)?, signal })
            }
            _ => Err(Fault::action_not_supported(action)),
        }
    }
}

impl NewShell {
    fn parse(body: &Element) -> Result<Self, Fault> {
        let shell = within(body, "Shell")?;
        let idle_timeout = match text_of(shell, SHELL, "IdleTimeOut").or_else(|| text_of(shell, SHELL, "IdleTimeout")) {
            Some(text) => Some(duration(text).ok_or_else(Fault::invalid_timeout)?),
            None => None,
        };
        let streams = |name, default: &str| text_of(shell, SHELL, name).unwrap_or(default).to_owned();
        Ok(Self {
            idle_timeout,
            input_streams: streams("InputStreams", "stdin"),
            output_streams: streams("OutputStreams", "stdout stderr"),
        })
    }
}

impl NewCommand {
    fn parse(header: &Element, body: &Element) -> Result<Self, Fault> {
        let line = within(body, "CommandLine")?;
        let command = line.child(SHELL, "Command").ok_or_else(|| Fault::malformed("no Command"))?;
        let options = header.child(WSMAN, "OptionSet");
        let skip = options.and_then(|set| {
            set.children(WSMAN, "Option").find(|option| option.attribute("Name") == Some("WINRS_SKIP_CMD_SHELL"))
        });
        Ok(Self {
            id: line.attribute("CommandId").map(str::to_owned),
            command: command.raw_text().to_owned(),
            arguments: line.children(SHELL, "Arguments").map(|argument| argument.raw_text().to_owned()).collect(),
            skip_cmd_shell: skip.is_some_and(|option| is_true(option.text())),
        })
    }
}

fn send(shell: String, body: &Element) -> Result<Operation, Fault> {
    let mut command = None;
    let mut input = Vec::new();
    for stream in within(body, "Send")?.children(SHELL, "Stream") {
        if stream.attribute("Name") != Some("stdin") {
            return Err(Fault::malformed("a stream other than stdin"));
        }
        command = Some(command_id(stream)?);
        let text = stream.text();
        let decoded = match text.bytes().any(|byte| byte.is_ascii_whitespace()) {
            false => BASE64.decode(text),
            true => BASE64.decode(text.split_ascii_whitespace().collect::<String>()),
        };
        let bytes = decoded.map_err(|_| Fault::malformed("a stream that is not base64"))?;
        input.push(Input { bytes: bytes.into(), end: stream.attribute("End").is_some_and(is_true) });
    }
    let command = command.ok_or_else(|| Fault::malformed("no Stream"))?;
    Ok(Operation::Send { shell, command, input })
}

fn within<'a>(body: &'a Element, name: &'static str) -> Result<&'a Element, Fault> {
    body.child(SHELL, name).ok_or_else(|| Fault::malformed(format_args!("no {name}")))
}

fn command_id(element: &Element) -> Result<String, Fault> {
    element.attribute("CommandId").map(str::to_owned).ok_or_else(|| Fault::malformed("no CommandId"))
}

fn text_of<'a>(parent: &'a Element, namespace: &str, name: &str) -> Option<&'a str> {
    parent.child(namespace, name).map(Element::text)
}

fn is_true(text: &str) -> bool {
    text == "1" || text.eq_ignore_ascii_case("true")
}

/// Reads an `xs:duration` of days, hours, minutes and seconds.
fn duration(text: &str) -> Option<Duration> {
    let (days, mut rest) = match text.trim().strip_prefix('P')?.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (text.trim().strip_prefix('P').filter(|days| !days.is_empty())?, ""),
    };
    let mut seconds = match days.strip_suffix('D') {
        Some(days) => days.parse::<u32>().ok().map(f64::from)? * 86_400.0,
        None if days.is_empty() => 0.0,
        None => return None,
    };
    for (unit, factor) in [('H', 3600.0), ('M', 60.0), ('S', 1.0)] {
        if let Some((number, after)) = rest.split_once(unit) {
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
                return None;
            }
            seconds += number.parse::<f64>().ok()? * factor;
            rest = after;
        }
    }
    if rest.is_empty() { Duration::try_from_secs_f64(seconds).ok() } else { None }
}

/// The answer to Identify, to those who are authenticated and those who are not (DSP0226 section 11).
pub(super) fn identity(authenticated: bool) -> String {
    let system = if authenticated { "OS: 10.0.14393 SP: 0.0 Stack: 3.0" } else { "OS: 0.0.0 SP: 0.0 Stack: 3.0" };
    format!(
        "<s:Envelope xml:lang=\"en-US\" xmlns:s=\"{SOAP}\"><s:Header/><s:Body>\
         <wsmid:IdentifyResponse xmlns:wsmid=\"{IDENTITY}\"><wsmid:ProtocolVersion>{WSMAN}</wsmid:ProtocolVersion>\
         <wsmid:ProductVendor>Microsoft Corporation</wsmid:ProductVendor>\
         <wsmid:ProductVersion>{system}</wsmid:ProductVersion></wsmid:IdentifyResponse></s:Body></s:Envelope>"
    )
}

/// An answer: `body` is the content of the SOAP body.
pub(super) fn answer(action: &str, relates_to: Option<&str>, body: &str) -> String {
    let relates = relates_to.map_or_else(String::new, |id| format!("<a:RelatesTo>{}</a:RelatesTo>", escape(id)));
    format!(
        "<s:Envelope xml:lang=\"en-US\" xmlns:s=\"{SOAP}\" xmlns:a=\"{ADDRESSING}\" xmlns:x=\"{TRANSFER}\" \
         xmlns:w=\"{WSMAN}\" xmlns:rsp=\"{SHELL}\" xmlns:p=\"{WSMAN_MICROSOFT}\"><s:Header><a:Action>{action}</a:Action>\
         <a:MessageID>uuid:{}</a:MessageID><a:To>{ANONYMOUS}</a:To>{relates}</s:Header><s:Body>{body}</s:Body></s:Envelope>",
        guid()
    )
}

/// The answer of a WS-Transfer operation.
pub(super) fn transfer_answer(name: &str, relates_to: Option<&str>, body: &str) -> String {
    answer(&format!("{TRANSFER}/{name}"), relates_to, body)
}

/// The answer of a shell operation.
pub(super) fn shell_answer(name: &str, relates_to: Option<&str>, body: &str) -> String {
    answer(&format!("{SHELL}/{name}"), relates_to, body)
}

/// A fault of `machine`.
pub(super) fn fault(fault: &Fault, relates_to: Option<&str>, machine: &str) -> String {
    let Fault { role, subcode, code, message } = fault;
    let (message, machine) = (escape(message.as_str()), escape(machine));
    let body = format!(
        "<s:Fault><s:Code><s:Value>{role}</s:Value><s:Subcode><s:Value>{subcode}</s:Value></s:Subcode></s:Code>\
         <s:Reason><s:Text xml:lang=\"en-US\">{message}</s:Text></s:Reason><s:Detail>\
         <f:WSManFault xmlns:f=\"http://schemas.microsoft.com/wbem/wsman/1/wsmanfault\" Code=\"{code}\" Machine=\"{machine}\">\
         <f:Message>{message}</f:Message></f:WSManFault></s:Detail></s:Fault>"
    );
    answer("http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", relates_to, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(action: &str, resource: &str, header: &str, body: &str) -> Result<Request, Refused> {
        let envelope = format!(
            "<s:Envelope xmlns:s='{SOAP}' xmlns:a='{ADDRESSING}' xmlns:w='{WSMAN}' xmlns:r='{SHELL}'><s:Header>\
             <a:Action>{action}</a:Action><a:MessageID>uuid:1</a:MessageID><w:ResourceURI>{resource}</w:ResourceURI>{header}\
             </s:Header><s:Body>{body}</s:Body></s:Envelope>"
        );
        Request::parse(envelope.as_bytes())
    }

    const OF_SHELL: &str = "<w:SelectorSet><w:Selector Name='ShellId'> S1 </w:Selector></w:SelectorSet>";

    #[test]
    fn a_command_keeps_its_arguments_as_they_are() {
        let options = "<w:OptionSet><w:Option Name='WINRS_SKIP_CMD_SHELL'>TRUE</w:Option></w:OptionSet>";
        let line = "<r:CommandLine><r:Command>a &amp; b</r:Command><r:Arguments> x </r:Arguments><r:Arguments/></r:CommandLine>";
        let read = request(&format!("{SHELL}/Command"), CMD, &format!("{OF_SHELL}{options}"), line).unwrap();
        let command = NewCommand {
            id: None,
            command: "a & b".into(),
            arguments: vec![" x ".into(), String::new()],
            skip_cmd_shell: true,
        };
        assert_eq!(read.operation, Operation::Command { shell: "S1".into(), command });
        assert_eq!(read.message_id.as_deref(), Some("uuid:1"));
    }

    #[test]
    fn input_is_decoded_with_its_end() {
        let body = "<r:Send><r:Stream Name='stdin' CommandId='C1'>aGVs\nbG8=</r:Stream><r:Stream Name='stdin' CommandId='C1' End='true'/></r:Send>";
        let read = request(&format!("{SHELL}/Send"), CMD, OF_SHELL, body).unwrap();
        let input =
            vec![Input { bytes: Bytes::from_static(b"hello"), end: false }, Input { bytes: Bytes::new(), end: true }];
        assert_eq!(read.operation, Operation::Send { shell: "S1".into(), command: "C1".into(), input });
    }

    #[test]
    fn what_cannot_be_done_is_a_fault_that_relates_to_the_request() {
        let code = |result: Result<Request, Refused>| {
            let refused = result.unwrap_err();
            assert_eq!(refused.message_id.as_deref(), Some("uuid:1"));
            refused.fault.code
        };
        let create = format!("{TRANSFER}/Create");
        assert_eq!(code(request(&create, "http://schemas.microsoft.com/powershell/X", "", "")), 2_150_858_811);
        assert_eq!(code(request(&format!("{TRANSFER}/Put"), CMD, "", "")), 2_150_858_771);
        assert_eq!(code(request(&format!("{TRANSFER}/Delete"), CMD, "", "")), 2_150_858_843);
        assert_eq!(code(request(&create, CMD, "<w:OperationTimeout>soon</w:OperationTimeout>", "")), 2_150_858_881);
        assert_eq!(code(request(&create, CMD, "<w:MaxEnvelopeSize>8191</w:MaxEnvelopeSize>", "")), 2_150_858_878);
        assert_eq!(code(request(&create, CMD, "", "")), 2_150_858_819);
    }

    #[test]
    fn durations() {
        for (text, seconds) in
            [("PT60S", 60.0), ("PT0.5S", 0.5), ("P1DT2H3M4S", 93_784.0), ("PT1M", 60.0), ("P2D", 172_800.0)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "P", "PT", "60", "PT-1S", "P1Y", "PT1", "PTS", "PT1S1M", "PT1e9S", "PTNaNS", "PT.S", "-PT1S"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_fault_says_what_windows_says() {
        let text = fault(&Fault::timed_out(), Some("uuid:1"), "WIN<01>");
        let envelope = Element::parse(text.as_bytes()).unwrap();
        let fault = envelope.child(SOAP, "Body").and_then(|body| body.child(SOAP, "Fault")).unwrap();
        let code = fault.child(SOAP, "Code").unwrap();
        assert_eq!(text_of(code, SOAP, "Value"), Some("s:Receiver"));
        assert_eq!(text_of(code.child(SOAP, "Subcode").unwrap(), SOAP, "Value"), Some("w:TimedOut"));
        let detail = fault.child(SOAP, "Detail").unwrap();
        let detail = detail.child("http://schemas.microsoft.com/wbem/wsman/1/wsmanfault", "WSManFault").unwrap();
        assert_eq!((detail.attribute("Code"), detail.attribute("Machine")), (Some("2150858793"), Some("WIN<01>")));
    }
}
