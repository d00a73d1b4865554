//! The connection keys of hosts, which may stand in `[defaults.*]` and in a `[[host]]`.

use camino::{Utf8Path, Utf8PathBuf};
use toml::de::DeValue;

use crate::cluster::{
    AdapterSelector, DockerZip, ForwardingMode, SecretSource, ServerTrust, Ssh, UnknownHostKey, WinRm, WinRmTransport,
    WindowsHost,
};
use crate::diagnostics::Diagnostics;
use crate::schema::{CONNECTION, WINDOWS};
use crate::section::{Reading, Section};
use crate::values;

const DEFAULT_WINDOWS_USER: &str = "Administrator";
const DEFAULT_PAUSE_BASE_IMAGE: &str = "mcr.microsoft.com/windows/nanoserver:sac2016";
const HTTPS_PORT: u16 = 5986;
const HTTP_PORT: u16 = 5985;

/// The keys of [`crate::schema::CONNECTION`] and [`crate::schema::LINUX`].
#[derive(Clone, Default)]
pub(crate) struct LinuxKeys {
    user: Reading<String>,
    port: Reading<u16>,
    identity: Reading<Utf8PathBuf>,
    passphrase: Reading<SecretSource>,
    password: Reading<SecretSource>,
    known_hosts: Reading<Utf8PathBuf>,
    host_key: Reading<UnknownHostKey>,
    proxy_jump: Reading<String>,
}

const HOST_KEYS: &[(&str, UnknownHostKey)] =
    &[("strict", UnknownHostKey::Refuse), ("accept-new", UnknownHostKey::AcceptNew)];

impl LinuxKeys {
    pub(crate) fn read(section: &Section<'_>, folder: &Utf8Path, diagnostics: &mut Diagnostics<'_>) -> Self {
        let path = |value: &DeValue<'_>| values::path(value, folder);
        Self {
            user: section.read("user", diagnostics, values::user),
            port: section.read("port", diagnostics, values::port),
            identity: section.read("identity", diagnostics, path),
            passphrase: read_secret(section, "passphrase", folder, diagnostics),
            password: read_secret(section, "password", folder, diagnostics),
            known_hosts: section.read("known_hosts", diagnostics, path),
            host_key: section.read("host_key", diagnostics, |value| values::one_of(value, HOST_KEYS)),
            proxy_jump: section.read("proxy_jump", diagnostics, values::proxy_jump),
        }
    }

    /// These keys, and the defaults for those that are absent.
    pub(crate) fn or(self, defaults: &Self) -> Self {
        let defaults = defaults.clone();
        Self {
            user: self.user.or(defaults.user),
            port: self.port.or(defaults.port),
            identity: self.identity.or(defaults.identity),
            passphrase: self.passphrase.or(defaults.passphrase),
            password: self.password.or(defaults.password),
            known_hosts: self.known_hosts.or(defaults.known_hosts),
            host_key: self.host_key.or(defaults.host_key),
            proxy_jump: self.proxy_jump.or(defaults.proxy_jump),
        }
    }

    pub(crate) fn resolve(self) -> Ssh {
        Ssh {
            user: self.user.value(),
            port: self.port.value(),
            identity: self.identity.value(),
            passphrase: self.passphrase.value(),
            password: self.password.value(),
            known_hosts: self.known_hosts.value(),
            unknown_host_key: self.host_key.value().unwrap_or(UnknownHostKey::Refuse),
            proxy_jump: self.proxy_jump.value(),
        }
    }
}

/// The keys of [`crate::schema::CONNECTION`] and [`crate::schema::WINDOWS`].
#[derive(Clone, Default)]
pub(crate) struct WindowsKeys {
    user: Reading<String>,
    port: Reading<u16>,
    password: Reading<SecretSource>,
    transport: Reading<Protection>,
    trust: Reading<ServerTrust>,
    pub(crate) pod_adapter: Reading<AdapterSelector>,
    forwarding: Reading<ForwardingMode>,
    pause_base_image: Reading<String>,
    pub(crate) docker: Reading<DockerZip>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    Https,
    Http,
}

const TRANSPORTS: &[(&str, Protection)] = &[("https", Protection::Https), ("http", Protection::Http)];
const FORWARDINGS: &[(&str, ForwardingMode)] =
    &[("rras", ForwardingMode::Rras), ("per-adapter", ForwardingMode::PerAdapter)];

impl WindowsKeys {
    pub(crate) fn read(section: &Section<'_>, folder: &Utf8Path, diagnostics: &mut Diagnostics<'_>) -> Self {
        let transport = section.read("transport", diagnostics, |value| values::one_of(value, TRANSPORTS));
        if let Some(transport) = transport.as_located().filter(|transport| transport.value == Protection::Http) {
            let warning = "WinRM over plain HTTP: NTLM message encryption protects what is sent, but nothing proves \
                           to this machine which host it talks to; \"https\" does";
            diagnostics.warn(&transport.place, warning);
            for key in ["ca", "fingerprint"].into_iter().filter(|key| section.has(key)) {
                let message = format!("`{key}` has a meaning only with transport = \"https\"");
                diagnostics.error_and_remedy(&section.place_of(key), message, "remove it, or change the transport");
            }
        }
        Self {
            user: section.read("user", diagnostics, values::user),
            port: section.read("port", diagnostics, values::port),
            password: read_secret(section, "password", folder, diagnostics),
            transport,
            trust: read_trust(section, folder, diagnostics),
            pod_adapter: section.read("pod_adapter", diagnostics, values::adapter),
            forwarding: section.read("forwarding", diagnostics, |value| values::one_of(value, FORWARDINGS)),
            pause_base_image: section.read("pause_base_image", diagnostics, values::word),
            docker: section.read("docker", diagnostics, |value| values::docker(value, folder)),
        }
    }

    /// These keys, and the defaults for those that are absent.
    pub(crate) fn or(self, defaults: &Self) -> Self {
        let defaults = defaults.clone();
        Self {
            user: self.user.or(defaults.user),
            port: self.port.or(defaults.port),
            password: self.password.or(defaults.password),
            transport: self.transport.or(defaults.transport),
            trust: self.trust.or(defaults.trust),
            pod_adapter: self.pod_adapter.or(defaults.pod_adapter),
            forwarding: self.forwarding.or(defaults.forwarding),
            pause_base_image: self.pause_base_image.or(defaults.pause_base_image),
            docker: self.docker.or(defaults.docker),
        }
    }

    fn protection(&self) -> Protection {
        self.transport.as_located().map_or(Protection::Https, |transport| transport.value)
    }

    /// The port of WinRM.
    pub(crate) fn port(&self) -> u16 {
        self.port.as_located().map_or_else(
            || match self.protection() {
                Protection::Https => HTTPS_PORT,
                Protection::Http => HTTP_PORT,
            },
            |port| port.value,
        )
    }

    /// The Windows part of a host. What is missing or unlikely is noted at the host's section.
    pub(crate) fn resolve(self, section: &Section<'_>, diagnostics: &mut Diagnostics<'_>) -> Option<WindowsHost> {
        if matches!(self.password, Reading::Absent) {
            section.missing("password", CONNECTION, diagnostics);
        }
        if matches!(self.pod_adapter, Reading::Absent) {
            section.missing("pod_adapter", WINDOWS, diagnostics);
        }
        if let Some(port) = self.port.as_located() {
            match (self.protection(), port.value) {
                (Protection::Https, HTTP_PORT) => {
                    diagnostics.warn(&port.place, "5985 is WinRM's port for HTTP, but the transport is https");
                }
                (Protection::Http, HTTPS_PORT) => {
                    diagnostics.warn(&port.place, "5986 is WinRM's port for HTTPS, but the transport is http");
                }
                _ => {}
            }
        }
        let port = self.port();
        let transport = match self.protection() {
            Protection::Https => WinRmTransport::Https(self.trust.value().unwrap_or(ServerTrust::Platform)),
            Protection::Http => WinRmTransport::Http,
        };
        let user = self.user.value().unwrap_or_else(|| DEFAULT_WINDOWS_USER.to_owned());
        Some(WindowsHost {
            winrm: WinRm { user, password: self.password.value()?, port, transport },
            pod_adapter: self.pod_adapter.value()?,
            forwarding: self.forwarding.value().unwrap_or(ForwardingMode::Rras),
            pause_base_image: self.pause_base_image.value().unwrap_or_else(|| DEFAULT_PAUSE_BASE_IMAGE.to_owned()),
            docker: self.docker.value(),
        })
    }
}

/// A CA or a fingerprint, not both in one table: it would not be clear which one counts.
fn read_trust(section: &Section<'_>, folder: &Utf8Path, diagnostics: &mut Diagnostics<'_>) -> Reading<ServerTrust> {
    if section.has("ca") && section.has("fingerprint") {
        let message = "`fingerprint` and `ca` are two ways to trust one certificate";
        diagnostics.error_and_remedy(&section.place_of("fingerprint"), message, "keep one of them");
    }
    let ca = section.read("ca", diagnostics, |value| values::path(value, folder).map(ServerTrust::Ca));
    ca.or(section.read("fingerprint", diagnostics, |value| values::fingerprint(value).map(ServerTrust::Pinned)))
}

fn read_secret(
    section: &Section<'_>,
    key: &str,
    folder: &Utf8Path,
    diagnostics: &mut Diagnostics<'_>,
) -> Reading<SecretSource> {
    let secret = section.read(key, diagnostics, |value| values::secret(value, folder));
    if let Some(secret) = secret.as_located().filter(|secret| matches!(secret.value, SecretSource::Literal(_))) {
        let warning = "the secret stands in the inventory itself; { env = \"NAME\" }, { file = \"path\" } and \
                       \"prompt\" keep it out of the file and of version control";
        diagnostics.warn(&secret.place, warning);
    }
    secret
}
