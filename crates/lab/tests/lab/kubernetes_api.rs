//! The API server of a simulated control plane: real TLS, from the files on its host.

use std::net::Ipv4Addr;
use std::sync::Arc;

use k8swin_agent::Host;
use k8swin_agent::simulated::SimulatedHost;
use k8swin_protocol::resource::Protection;
use k8swin_protocol::{HostPath, Os};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::common::{self, Running};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "kubernetes-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, as PEM.
fn issue(authority: &Authority, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    params.extended_key_usages.push(usage);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

fn write(host: &SimulatedHost, path: &str, text: &str) {
    host.write_file(&HostPath::new(path).unwrap(), text.as_bytes(), Protection::Public).unwrap();
}

/// Puts an API server on the host, as the installer would, and starts it.
fn install(host: &SimulatedHost, authority: &Authority) {
    let pki = Os::Linux.pki();
    let (certificate, key) = issue(authority, "kube-apiserver", ExtendedKeyUsagePurpose::ServerAuth);
    write(host, &format!("{pki}/ca.crt"), &authority.pem());
    write(host, &format!("{pki}/apiserver.crt"), &certificate);
    write(host, &format!("{pki}/apiserver.key"), &key);
    write(host, "/opt/k8swin/bin/kube-apiserver", "#!simulated kube-apiserver 1.5.8\n");
    write(
        host,
        "/etc/systemd/system/kube-apiserver.service",
        &format!("[Service]\nExecStart=/opt/k8swin/bin/kube-apiserver --tls-cert-file={pki}/apiserver.crt\n"),
    );
    let Host::Linux(mut linux) = host.platform() else { panic!("a control plane is Linux") };
    linux.reload_units().unwrap();
    linux.restart_unit("kube-apiserver").unwrap();
}

/// The status line and body that the API server answers; an error when there is no TLS connection.
async fn get(
    running: &Running,
    trusted: &Authority,
    client: Option<(String, String)>,
    path: &str,
) -> std::io::Result<(String, serde_json::Value)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let endpoint = running.cluster.host("lin01").unwrap().api_endpoint.clone().unwrap();
    let socket = TcpStream::connect(endpoint).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: lin01\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Ok((head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_of_the_clusters_ca_are_served() {
    let running = common::start().await;
    let (ours, foreign) = (authority(), authority());
    let admin = || Some(issue(&ours, "admin", ExtendedKeyUsagePurpose::ClientAuth));
    assert!(get(&running, &ours, admin(), "/version").await.is_err(), "no API server runs yet");

    install(running.lab.host("lin01").unwrap().simulated(), &ours);
    let (status, version) = get(&running, &ours, admin(), "/version").await.unwrap();
    assert_eq!((status.as_str(), version["gitVersion"].as_str()), ("HTTP/1.1 200 OK", Some("v1.5.8")));

    let (status, refusal) = get(&running, &ours, None, "/version").await.unwrap();
    assert_eq!((status.as_str(), refusal["reason"].as_str()), ("HTTP/1.1 401 Unauthorized", Some("Unauthorized")));
    let stranger = Some(issue(&foreign, "admin", ExtendedKeyUsagePurpose::ClientAuth));
    assert_eq!(get(&running, &ours, stranger, "/version").await.unwrap().1["code"], 401);
    let server = Some(issue(&ours, "kubelet-server", ExtendedKeyUsagePurpose::ServerAuth));
    assert_eq!(get(&running, &ours, server, "/version").await.unwrap().1["code"], 401);

    let other_trust = get(&running, &foreign, admin(), "/version").await;
    assert!(other_trust.is_err(), "the server's certificate is verified, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_mean_new_certificates_and_a_stopped_server_refuses() {
    let running = common::start().await;
    let (first, second) = (authority(), authority());
    let host = running.lab.host("lin01").unwrap().simulated();
    let client = |authority| Some(issue(authority, "admin", ExtendedKeyUsagePurpose::ClientAuth));
    install(host, &first);
    assert!(get(&running, &first, client(&first), "/version").await.is_ok());
    install(host, &second);
    assert!(get(&running, &second, client(&second), "/version").await.is_ok());
    assert!(get(&running, &first, client(&first), "/version").await.is_err());
    let Host::Linux(mut linux) = host.platform() else { panic!("a control plane is Linux") };
    linux.stop_unit("kube-apiserver").unwrap();
    assert!(get(&running, &second, client(&second), "/version").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_find_out_what_there_is_and_are_told_what_is_not() {
    let running = common::start().await;
    let ours = authority();
    let host = running.lab.host("lin01").unwrap().simulated();
    install(host, &ours);
    write(host, "/opt/k8swin/bin/etcd", "#!simulated etcd 3.0.17\n");
    write(host, "/etc/systemd/system/etcd.service", "[Service]\nExecStart=/opt/k8swin/bin/etcd\n");
    let Host::Linux(mut linux) = host.platform() else { panic!("a control plane is Linux") };
    linux.reload_units().unwrap();
    linux.restart_unit("etcd").unwrap();
    let ask = async |path: &str| {
        let admin = Some(issue(&ours, "admin", ExtendedKeyUsagePurpose::ClientAuth));
        get(&running, &ours, admin, path).await.unwrap()
    };
    assert_eq!(ask("/api").await.1["versions"][0], "v1");
    let (_, resources) = ask("/api/v1").await;
    let nodes = resources["resources"].as_array().unwrap().iter().find(|resource| resource["name"] == "nodes").unwrap();
    assert_eq!((nodes["kind"].as_str(), nodes["namespaced"].as_bool()), (Some("Node"), Some(false)));
    assert_eq!(ask("/api/v1/nodes").await.0, "HTTP/1.1 200 OK");
    for path in ["/api/v1/pods?limit=1&watch=true", "/api/v1/watch/pods", "/api/v1/namespaces/default/pods/iis/log"] {
        let (status, refusal) = ask(path).await;
        assert_eq!(status, "HTTP/1.1 405 Method Not Allowed", "{path}");
        assert!(refusal["message"].as_str().unwrap().contains("k8swin lab: "), "{path}: {refusal}");
    }
}
