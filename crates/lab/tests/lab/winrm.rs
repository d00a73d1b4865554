//! The Windows hosts of a lab, reached with nothing but the files that the lab wrote.

use k8swin_inventory::cluster::{SecretSource, ServerTrust, System, WinRmTransport};
use winrm_rs::{CommandOutput, WinrmClient, WinrmConfig, WinrmCredentials, WinrmError};

use crate::common;

/// Runs a command with a client of its own runtime. winrm-rs sends the parts of a handshake over pooled connections, and on
/// a runtime with several threads now and then takes a new connection for the next part (its change log calls this race
/// mitigated, not closed); over loopback that is every other time.
fn run(client: WinrmClient, address: String, command: &'static str) -> Result<CommandOutput, WinrmError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.run_command(&address, command, &[]))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_transports_are_reached_with_the_inventory_of_the_twin() {
    let running = common::start().await;
    for name in ["win02", "win01"] {
        let host = running.cluster.host(name).unwrap();
        let System::Windows(windows) = &host.system else { panic!("{name} is a Windows host") };
        let SecretSource::File(password) = &windows.winrm.password else { panic!("the password is in a file") };
        let password = std::fs::read_to_string(password).unwrap();
        let trust = match &windows.winrm.transport {
            WinRmTransport::Https(ServerTrust::Ca(ca)) => Some(ca),
            WinRmTransport::Http => None,
            other => panic!("{other:?}"),
        };
        let config = WinrmConfig { port: Some(host.port()), use_tls: trust.is_some(), ..WinrmConfig::default() };
        let (domain, user) = windows.winrm.user.split_once('\\').unwrap_or(("", &windows.winrm.user));
        let builder = WinrmClient::builder(config).credentials(WinrmCredentials::new(user, password.as_str(), domain));
        let client = match trust {
            Some(ca) => builder.add_root_certificates_pem(ca),
            None => builder,
        };
        let (client, address) = (client.build().unwrap(), host.address.clone());
        let ran = tokio::task::spawn_blocking(move || run(client, address, "hostname")).await.unwrap();
        let output = ran.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((output.stdout, output.exit_code), (format!("{name}\r\n").into_bytes(), 0));
        let shells = running.lab.host(name).unwrap().winrm().unwrap();
        assert_eq!((shells.shells_created(), shells.shells_open()), (1, 0));
    }
    assert!(running.lab.host("lin01").unwrap().winrm().is_none());
}
