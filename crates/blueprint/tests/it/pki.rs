//! Keys and certificates: what the real programs need, and what changes when.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{VERSIONS, cluster, now, seed};
use jiff::{SignedDuration, Timestamp};
use k8swin_blueprint::{Pki, PkiError, admin_kubeconfig};
use k8swin_inventory::Cluster;
use k8swin_protocol::SecretBytes;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509StoreContext};
use x509_parser::pem::{Pem, parse_x509_pem};
use x509_parser::prelude::GeneralName;

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn pem(pki: &Pki, name: &str) -> Pem {
    parse_x509_pem(pki.files()[name].expose()).unwrap().1
}

fn text(pki: &Pki, name: &str) -> String {
    String::from_utf8(pki.files()[name].expose().to_vec()).unwrap()
}

fn names(pki: &Pki, name: &str) -> BTreeSet<String> {
    let pem = pem(pki, name);
    let certificate = pem.parse_x509().unwrap();
    let Some(extension) = certificate.subject_alternative_name().unwrap() else { return BTreeSet::new() };
    let names = extension.value.general_names.iter().map(|name| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => bytes.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        other => panic!("{other:?}"),
    });
    names.collect()
}

/// Which files differ between two sets, and which are in one only.
fn changed(before: &Pki, after: &Pki) -> Vec<String> {
    let all: BTreeSet<_> = before.files().keys().chain(after.files().keys()).collect();
    all.into_iter().filter(|name| before.files().get(*name) != after.files().get(*name)).cloned().collect()
}

fn completed(pki: &Pki, cluster: &Cluster, now: Timestamp) -> (bool, Pki) {
    let mut pki = pki.clone();
    (pki.complete(cluster, now).unwrap(), pki)
}

#[test]
fn every_certificate_is_of_its_ca_and_has_its_key() {
    let pki = Pki::generate(&cluster("ha", VERSIONS[0]), now()).unwrap();
    for name in pki.files().keys().filter(|name| name.ends_with(".crt")) {
        let etcd = name.contains("etcd/") || name.starts_with("apiserver-etcd");
        let authority = X509::from_pem(pki.files()[if etcd { "etcd/ca.crt" } else { "ca.crt" }].expose()).unwrap();
        let certificate = X509::from_pem(pki.files()[name].expose()).unwrap();
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(authority).unwrap();
        store.set_flags(openssl::x509::verify::X509VerifyFlags::X509_STRICT).unwrap();
        // The store's clock is this machine's: the moment of the tests may be before or after it.
        store.set_flags(openssl::x509::verify::X509VerifyFlags::NO_CHECK_TIME).unwrap();
        let store = store.build();
        let mut context = X509StoreContext::new().unwrap();
        let none = Stack::new().unwrap();
        let (verified, reason) =
            context.init(&store, &certificate, &none, |context| Ok((context.verify_cert()?, context.error()))).unwrap();
        assert!(verified, "{name}: {reason}");

        let key = PKey::private_key_from_pem(pki.files()[&name.replace(".crt", ".key")].expose()).unwrap();
        assert!(certificate.public_key().unwrap().public_eq(&key), "{name}");
        assert_eq!(key.ec_key().unwrap().group().curve_name(), Some(openssl::nid::Nid::X9_62_PRIME256V1), "{name}");
    }
}

#[test]
fn subjects_and_purposes_are_those_that_kubernetes_reads() {
    let pki = Pki::generate(&seed(), now()).unwrap();
    let shown = pki.files().keys().filter(|name| name.ends_with(".crt")).map(|name| {
        let pem = pem(&pki, name);
        let certificate = pem.parse_x509().unwrap();
        let usage = certificate.extended_key_usage().unwrap().map(|extension| extension.value);
        let purpose = usage.map_or("ca", |usage| match (usage.server_auth, usage.client_auth) {
            (true, true) => "server and client",
            (true, false) => "server",
            (false, true) => "client",
            (false, false) => "none",
        });
        assert_eq!(certificate.is_ca(), purpose == "ca");
        let names: Vec<_> = names(&pki, name).into_iter().collect();
        format!("{name}: {}; {purpose}; {}\n", certificate.subject(), names.join(" "))
    });
    insta::assert_snapshot!(shown.collect::<String>());
}

#[test]
fn the_api_server_answers_to_every_way_to_it() {
    let pki = Pki::generate(&cluster("ha", VERSIONS[0]), now()).unwrap();
    let names = names(&pki, "apiserver.crt");
    let expected = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.ha.example.com",
        "localhost",
        "127.0.0.1",
        "172.30.0.1",
        "control01",
        "control01.ha.example.com",
        "10.20.0.11",
        "control02",
        "10.20.0.12",
        "control03",
        "10.20.0.13",
        "203.0.113.7",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
}

#[test]
fn certificates_begin_an_hour_before_and_end_after_a_year() {
    let pki = Pki::generate(&seed(), now()).unwrap();
    for (name, days) in [("ca.crt", 3650), ("etcd/ca.crt", 3650), ("apiserver.crt", 365), ("admin.crt", 365)] {
        let pem = pem(&pki, name);
        let validity = pem.parse_x509().unwrap().validity().clone();
        assert_eq!(validity.not_before.timestamp(), now().as_second() - 3600, "{name}");
        assert_eq!(validity.not_after.timestamp(), now().as_second() + days * 86400, "{name}");
    }
    let serials: BTreeSet<_> = pki
        .files()
        .keys()
        .filter(|name| name.ends_with(".crt"))
        .map(|name| pem(&pki, name).parse_x509().unwrap().raw_serial().to_vec())
        .collect();
    assert_eq!(serials.len(), pki.files().keys().filter(|name| name.ends_with(".crt")).count());
}

#[test]
fn service_account_keys_have_the_forms_that_go_1_7_reads() {
    let pki = Pki::generate(&seed(), now()).unwrap();
    assert!(text(&pki, "sa.key").starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    assert!(text(&pki, "sa.pub").starts_with("-----BEGIN PUBLIC KEY-----\n"));
    let key = PKey::private_key_from_pem(pki.files()["sa.key"].expose()).unwrap();
    assert_eq!(key.rsa().unwrap().size(), 256);
}

#[test]
fn what_is_complete_stays_as_it_is() {
    let cluster = seed();
    let pki = Pki::generate(&cluster, now()).unwrap();
    assert_eq!(completed(&pki, &cluster, now()), (false, pki.clone()));
    assert_eq!(completed(&pki, &cluster, now() + DAY * 334), (false, pki.clone()));
    let restored = Pki::from_files(pki.files().clone()).unwrap();
    assert_eq!(restored, pki);
}

#[test]
fn certificates_are_renewed_in_their_last_month_and_authorities_are_kept() {
    let cluster = seed();
    let pki = Pki::generate(&cluster, now()).unwrap();
    let (renewed, after) = completed(&pki, &cluster, now() + DAY * 336);
    assert!(renewed);
    let kept = ["ca.crt", "ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub"];
    let all: Vec<_> = pki.files().keys().filter(|name| !kept.contains(&name.as_str())).cloned().collect();
    assert_eq!(changed(&pki, &after), all);

    // A certificate does not outlive its CA, and a CA that has ended is not used.
    let (_, last) = completed(&pki, &cluster, now() + DAY * 3640);
    let last = pem(&last, "admin.crt");
    assert_eq!(last.parse_x509().unwrap().validity().not_after.timestamp(), (now() + DAY * 3650).as_second());
    let ended = pki.clone().complete(&cluster, now() + DAY * 3651).unwrap_err();
    assert!(matches!(&ended, PkiError::Ended { name, .. } if name == "ca.crt"), "{ended}");
}

#[test]
fn only_what_a_change_of_the_inventory_touches_is_made_again() {
    let cluster = seed();
    let pki = Pki::generate(&cluster, now()).unwrap();
    let mut moved = cluster.clone();
    moved.hosts[1].node_address = "10.5.6.250".parse().unwrap();
    let (_, after) = completed(&pki, &moved, now());
    assert_eq!(changed(&pki, &after), ["hosts/win01/kubelet.crt", "hosts/win01/kubelet.key"]);

    let mut reached = cluster.clone();
    reached.hosts[0].api_endpoint = Some("127.0.0.1:40443".into());
    assert!(!completed(&pki, &reached, now()).0, "loopback is among the names already");
    reached.hosts[0].api_endpoint = Some("cluster.example.com:443".into());
    let (_, after) = completed(&pki, &reached, now());
    assert_eq!(changed(&pki, &after), ["apiserver.crt", "apiserver.key"]);

    let mut smaller = cluster.clone();
    smaller.hosts.retain(|host| host.name != "win02");
    let (less, after) = completed(&pki, &smaller, now());
    let own = ["kubelet-client.crt", "kubelet-client.key", "kubelet.crt", "kubelet.key"];
    assert_eq!((less, changed(&pki, &after)), (true, own.map(|name| format!("hosts/win02/{name}")).to_vec()));
    let (more, again) = completed(&after, &cluster, now());
    assert_eq!((more, changed(&after, &again)), (true, own.map(|name| format!("hosts/win02/{name}")).to_vec()));
}

#[test]
fn what_a_control_plane_has_is_enough_to_go_on() {
    let cluster = seed();
    let pki = Pki::generate(&cluster, now()).unwrap();
    let there =
        ["ca", "etcd/ca", "apiserver", "admin"].iter().flat_map(|stem| [format!("{stem}.crt"), format!("{stem}.key")]);
    let mut files: BTreeMap<_, _> = there
        .chain(["sa.key".into(), "sa.pub".into()])
        .map(|name| (name.clone(), pki.files()[&name].clone()))
        .collect();
    files.insert("kubelet.crt".into(), SecretBytes::new("of the host itself"));
    let found = Pki::from_files(files).unwrap();
    assert_eq!(admin_kubeconfig(&cluster, &found).unwrap(), admin_kubeconfig(&cluster, &pki).unwrap());
    let (_, after) = completed(&found, &cluster, now());
    assert_eq!(after.files().keys().collect::<Vec<_>>(), pki.files().keys().collect::<Vec<_>>());
    assert_eq!(after.files()["apiserver.key"], pki.files()["apiserver.key"]);
}

#[test]
fn a_damaged_certificate_is_made_again_and_a_damaged_authority_is_refused() {
    let cluster = seed();
    let pki = Pki::generate(&cluster, now()).unwrap();
    let other = Pki::generate(&cluster, now()).unwrap();
    let with = |name: &str, bytes: &SecretBytes| {
        let mut files = pki.files().clone();
        files.insert(name.to_owned(), bytes.clone());
        Pki::from_files(files)
    };
    for (name, bytes) in [
        ("scheduler.crt", &SecretBytes::new("damaged")),
        ("scheduler.key", &other.files()["scheduler.key"]),
        ("scheduler.crt", &pki.files()["scheduler.key"]),
    ] {
        let (made, after) = completed(&with(name, bytes).unwrap(), &cluster, now());
        assert!(made);
        assert_eq!(changed(&pki, &after), ["scheduler.crt", "scheduler.key"]);
    }
    let mut foreign = pki.files().clone();
    for name in ["admin.crt", "admin.key"] {
        foreign.insert(name.to_owned(), other.files()[name].clone());
    }
    assert!(completed(&Pki::from_files(foreign).unwrap(), &cluster, now()).0, "another CA's certificate is not kept");

    for (name, bytes) in [
        ("ca.key", &other.files()["ca.key"]),
        ("ca.crt", &pki.files()["admin.crt"]),
        ("etcd/ca.crt", &SecretBytes::new("damaged")),
        ("sa.pub", &other.files()["sa.pub"]),
        ("sa.key", &SecretBytes::new("damaged")),
    ] {
        let error = with(name, bytes).unwrap_err();
        assert!(matches!(error, PkiError::Unusable { .. }), "{name}: {error}");
        assert!(!error.to_string().contains("PRIVATE"), "{error}");
    }
    let mut files = pki.files().clone();
    files.remove("ca.key");
    assert!(matches!(Pki::from_files(files), Err(PkiError::Missing { name }) if name == "ca.key"));
}

#[test]
fn the_administrators_kubeconfig_embeds_what_it_needs() {
    let mut cluster = seed();
    let pki = Pki::generate(&cluster, now()).unwrap();
    let kubeconfig = |cluster: &Cluster| {
        let bytes = admin_kubeconfig(cluster, &pki).unwrap();
        String::from_utf8(bytes.expose().to_vec()).unwrap()
    };
    let text = kubeconfig(&cluster);
    assert!(text.contains("server: \"https://10.5.6.215:6443\""), "{text}");
    let keys: Vec<_> = text.lines().filter(|line| line.contains("-data: \"")).collect();
    assert_eq!(keys.len(), 3);
    cluster.hosts[0].api_endpoint = Some("127.0.0.1:40443".into());
    assert!(kubeconfig(&cluster).contains("server: \"https://127.0.0.1:40443\""));
}

#[test]
fn debug_shows_no_key() {
    let pki = Pki::generate(&seed(), now()).unwrap();
    assert!(!format!("{pki:?}").contains("PRIVATE"));
}
