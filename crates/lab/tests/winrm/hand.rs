//! Requests written by hand, for what the client does not send or does not show.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const SHELL: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell";

/// An HTTP answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn between(&self, before: &str, after: &str) -> &str {
        let (_, rest) = self.body.split_once(before).unwrap_or_else(|| panic!("no {before} in {}", self.body));
        rest.split_once(after).unwrap().0
    }

    /// The standard output in an answer to a Receive.
    pub(crate) fn stdout(&self) -> Vec<u8> {
        let pieces = self.body.split("<rsp:Stream Name=\"stdout\" ").skip(1);
        let texts = pieces.filter_map(|piece| piece.split_once("</rsp:Stream>")?.0.split_once("\">"));
        texts.filter(|(head, _)| !head.contains("End")).flat_map(|(_, text)| BASE64.decode(text).unwrap()).collect()
    }
}

/// The header of Basic authentication.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64.encode(format!("{user}:{password}")))
}

/// Sends an envelope.
pub(crate) async fn request(stream: impl AsyncRead + AsyncWrite + Unpin, header: Option<&str>, body: &str) -> Answer {
    post(stream, header.unwrap_or_default(), body).await
}

/// Asks who the server is, without credentials.
pub(crate) async fn identify(stream: impl AsyncRead + AsyncWrite + Unpin) -> Answer {
    let body = "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Header/><s:Body>\
                <i:Identify xmlns:i='http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd'/></s:Body></s:Envelope>";
    post(stream, "WSMANIDENTIFY: unauthenticated\r\n", body).await
}

async fn post(mut stream: impl AsyncRead + AsyncWrite + Unpin, header: &str, body: &str) -> Answer {
    let head = format!(
        "POST /wsman HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/soap+xml;charset=UTF-8\r\n{header}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest.split_once('\r').unwrap().0);
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    Answer { status, head, body: String::from_utf8(body).unwrap() }
}

fn envelope(action: &str, resource: &str, header: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><env:Envelope xmlns:env=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" \
         xmlns:rsp=\"{SHELL}\"><env:Header><a:To>http://localhost/wsman</a:To><a:MessageID>uuid:by-hand</a:MessageID>\
         <a:Action>{action}</a:Action><w:ResourceURI>{resource}</w:ResourceURI>{header}</env:Header><env:Body>{body}</env:Body></env:Envelope>"
    )
}

fn of_shell(action: &str, shell: &str, header: &str, body: &str) -> String {
    let selector = format!("<w:SelectorSet><w:Selector Name=\"ShellId\">{shell}</w:Selector></w:SelectorSet>{header}");
    envelope(&format!("{SHELL}/{action}"), &format!("{SHELL}/cmd"), &selector, body)
}

pub(crate) fn create(timeout: &str) -> String {
    let options = "<w:OptionSet><w:Option Name=\"WINRS_NOPROFILE\">FALSE</w:Option><w:Option Name=\"WINRS_CODEPAGE\">65001</w:Option></w:OptionSet>";
    let header = format!("<w:OperationTimeout>{timeout}</w:OperationTimeout>{options}");
    let body = "<rsp:Shell><rsp:InputStreams>stdin</rsp:InputStreams><rsp:OutputStreams>stdout stderr</rsp:OutputStreams></rsp:Shell>";
    envelope("http://schemas.xmlsoap.org/ws/2004/09/transfer/Create", &format!("{SHELL}/cmd"), &header, body)
}

pub(crate) fn command(shell: &str, command: &str, argument: &str, skip_cmd_shell: bool) -> String {
    let options = format!(
        "<w:OptionSet><w:Option Name=\"WINRS_CONSOLEMODE_STDIN\">TRUE</w:Option>\
         <w:Option Name=\"WINRS_SKIP_CMD_SHELL\">{skip_cmd_shell}</w:Option></w:OptionSet>"
    );
    let body = format!(
        "<rsp:CommandLine><rsp:Command>{command}</rsp:Command><rsp:Arguments>{argument}</rsp:Arguments></rsp:CommandLine>"
    );
    of_shell("Command", shell, &options, &body)
}

pub(crate) fn receive(shell: &str, command: &str, timeout: &str, max_envelope: usize) -> String {
    let header = format!(
        "<w:OperationTimeout>{timeout}</w:OperationTimeout><w:MaxEnvelopeSize>{max_envelope}</w:MaxEnvelopeSize>"
    );
    let body = format!(
        "<rsp:Receive><rsp:DesiredStream CommandId=\"{command}\">stdout stderr</rsp:DesiredStream></rsp:Receive>"
    );
    of_shell("Receive", shell, &header, &body)
}

pub(crate) fn get_configuration() -> String {
    let resource = "http://schemas.microsoft.com/wbem/wsman/1/config";
    envelope("http://schemas.xmlsoap.org/ws/2004/09/transfer/Get", resource, "", "")
}
