"""Uploads a file with pywinrm as Ansible's winrm connection plugin does (ansible-core, plugins/connection/winrm.py,
put_file): pieces of 250,000 bytes, each base64 in a line of standard input, which WinRM's envelope has in base64 again."""

import base64
import sys
import time

import xmltodict
from winrm.protocol import Protocol

PORT, CA, PASSWORD, FILE = sys.argv[1:5]
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
# What Ansible's script does with each line; the server of the benchmark knows it by `$input`.
SCRIPT = """begin { $path = "C:\\upload.bin"; $fd = [System.IO.File]::Create($path) }
process { $bytes = [System.Convert]::FromBase64String($input); $fd.Write($bytes, 0, $bytes.Length) }
end { $fd.Close() }"""

protocol = Protocol(
    endpoint=f"https://localhost:{PORT}/wsman",
    transport="ntlm",
    username="Administrator",
    password=open(PASSWORD).read().strip(),
    ca_trust_path=CA,
)
started = time.monotonic()
shell = protocol.open_shell(codepage=65001)
encoded = base64.b64encode(SCRIPT.encode("utf-16-le")).decode()
command = protocol.run_command(
    shell, "powershell", ["-NoProfile", "-NonInteractive", "-EncodedCommand", encoded], console_mode_stdin=False
)


def send(data, end):
    request = {
        "env:Envelope": protocol._get_soap_header(
            resource_uri=f"{SHELL}/cmd", action=f"{SHELL}/Send", shell_id=shell
        )
    }
    stream = request["env:Envelope"].setdefault("env:Body", {}).setdefault("rsp:Send", {}).setdefault("rsp:Stream", {})
    stream["@Name"] = "stdin"
    stream["@CommandId"] = command
    stream["#text"] = base64.b64encode(data).decode()
    if end:
        stream["@End"] = "true"
    protocol.send_message(xmltodict.unparse(request))


with open(FILE, "rb") as source:
    piece = source.read(250_000)
    while piece:
        following = source.read(250_000)
        send(base64.b64encode(piece) + b"\r\n", not following)
        piece = following
stdout, stderr, code = protocol.get_command_output(shell, command)
assert code == 0, stderr
protocol.cleanup_command(shell, command)
protocol.close_shell(shell)
print(time.monotonic() - started)
