//! The Windows hosts of a lab, reached with nothing but the files that the lab wrote.

use k8swin_inventory::cluster::{SecretSource, ServerTrust, System, WinRmTransport};
use winrm_rs::{WinrmClient, WinrmConfig, WinrmCredentials};

use crate::common;

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
        let builder =
            WinrmClient::builder(config).credentials(WinrmCredentials::new(&windows.winrm.user, password.as_str(), ""));
        let client = match trust {
            Some(ca) => builder.add_root_certificates_pem(ca),
            None => builder,
        };
        let ran = client.build().unwrap().run_command(&host.address, "hostname", &[]).await;
        let output = ran.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((output.stdout, output.exit_code), (format!("{name}\r\n").into_bytes(), 0));
        let shells = running.lab.host(name).unwrap().winrm().unwrap();
        assert_eq!((shells.shells_created(), shells.shells_open()), (1, 0));
    }
    assert!(running.lab.host("lin01").unwrap().winrm().is_none());
}
