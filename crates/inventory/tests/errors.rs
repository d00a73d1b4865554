//! What broken inventories are told.
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use camino::Utf8Path;
use k8swin_inventory::{Cluster, InventoryErrors, parse};

const CLUSTER: &str = r#"[cluster]
name = "demo"
kubernetes = "1.5.8"
pod_cidr = "192.168.0.0/16"
service_cidr = "172.30.0.0/16"
"#;
const LINUX_HOST: &str = r#"
[[host]]
name = "lin01"
os = "linux"
roles = ["control-plane", "worker"]
address = "10.5.6.215"
"#;
const WINDOWS_HOST: &str = r#"
[[host]]
name = "win01"
os = "windows"
address = "10.5.6.216"
password = { env = "X" }
pod_adapter = "Ethernet 2"
"#;

fn parsed(text: &str) -> Result<Cluster, InventoryErrors> {
    parse(text, Utf8Path::new("inventory.toml"))
}

fn errors(text: &str) -> InventoryErrors {
    match parsed(text) {
        Ok(cluster) => panic!("no error in {cluster:?}"),
        Err(errors) => errors,
    }
}

/// The cluster of both hosts with one text replaced by another.
fn with(from: &str, to: &str) -> String {
    let text = format!("{CLUSTER}{LINUX_HOST}{WINDOWS_HOST}");
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

fn only_message(text: &str) -> String {
    let errors = errors(text);
    assert_eq!(errors.errors().len(), 1, "{errors}");
    let error = &errors.errors()[0];
    format!("{} {}: {} / {}", error.line, error.key, error.message, error.remedy.as_deref().unwrap_or("-"))
}

#[test]
fn the_unbroken_inventory_is_fine() {
    let cluster = parsed(&with("demo", "demo")).unwrap();
    assert_eq!((cluster.hosts.len(), cluster.warnings.len()), (2, 0));
}

#[test]
fn unknown_keys() {
    let text = r#"schema = 1
hosts = 3
kubernetes = "1.5.8"

[cluster]
name = "demo"
kubernetes = "1.5.8"
pod-cidr = "192.168.0.0/16"
service_cidr = "172.30.0.0/16"
colour = "blue"

[defaults]
user = "root"

[defaults.linux]
user = "root"
pod_adapter = "Ethernet 2"
address = "10.0.0.1"

[[host]]
name = "lin01"
os = "linux"
roles = ["control-plane"]
adress = "10.5.6.215"
pasword = "hunter2"
pod_adapter = "Ethernet 2"

[[host]]
name = "win01"
os = "windows"
address = "10.5.6.216"
password = { environment = "X" }
pod_adapter = "Ethernet 2"
identity = "key"
"#;
    let errors = errors(text).to_string();
    assert!(!errors.contains("hunter2"));
    insta::assert_snapshot!(errors);
}

#[test]
fn overlapping_ranges() {
    let text = r#"[cluster]
name = "demo"
kubernetes = "1.5.8"
pod_cidr = "10.0.0.0/16"
service_cidr = "10.0.128.0/20"

[[host]]
name = "lin01"
os = "linux"
roles = ["control-plane"]
address = "10.0.0.11"
pod_cidr = "10.0.1.0/24"

[[host]]
name = "lin02"
os = "linux"
address = "10.0.130.1"
pod_cidr = "10.0.1.0/24"

[[host]]
name = "lin03"
os = "linux"
address = "172.16.0.3"
pod_cidr = "10.0.1.128/25"

[[host]]
name = "lin04"
os = "linux"
address = "172.16.0.4"
pod_cidr = "10.1.0.0/24"
"#;
    insta::assert_snapshot!(errors(text));
}

#[test]
fn two_hosts_with_one_address() {
    let text = format!(
        "{CLUSTER}{LINUX_HOST}{}{}{}",
        LINUX_HOST.replace("lin01", "lin02"),
        LINUX_HOST.replace("lin01", "lin03").replace("address", "port = 2222\naddress"),
        LINUX_HOST.replace(".215", ".219"),
    );
    insta::assert_snapshot!(errors(&text));
}

#[test]
fn no_control_plane() {
    insta::assert_snapshot!(errors(&with("\"control-plane\", ", "")));
}

#[test]
fn windows_control_plane() {
    let text = with("os = \"windows\"", "os = \"windows\"\nroles = [\"control-plane\"]");
    insta::assert_snapshot!(errors(&text));
    assert!(parsed(&with("os = \"windows\"", "os = \"windows\"\nroles = [\"worker\"]")).is_ok());
}

#[test]
fn classful_trap() {
    let nodes = with("172.30.0.0/16", "10.96.0.0/12");
    let pods = with("172.30.0.0/16", "10.96.0.0/12").replace("192.168.0.0/16", "10.244.0.0/16");
    insta::assert_snapshot!(format!("{}\n\n--\n{}", errors(&nodes), errors(&pods)));
    let linux_only = format!("{CLUSTER}{LINUX_HOST}").replace("172.30.0.0/16", "10.96.0.0/12");
    assert!(parsed(&linux_only).is_ok());
}

#[test]
fn bad_toml() {
    let cases = [
        with("name = \"demo\"", "name = demo"),
        with("[[host]]", "[[host]"),
        with("[cluster]", "[cluster]\nname = \"twice\""),
        with("password = { env = \"X\" }", "password = \"hunter2"),
    ];
    let told: Vec<String> = cases.iter().map(|text| errors(text).to_string()).collect();
    assert!(!told.concat().contains("hunter2"));
    insta::assert_snapshot!(told.join("\n\n--\n"));
}

#[test]
fn several_at_once() {
    let text = r#"schema = 2

[cluster]
name = "My Cluster"
kubernetes = 1.5
pod_cidr = "192.168.1.5/16"
service_cidr = "172.30.0.0"
node_pod_prefix = "24"
api_port = 70000

[cluster.artifacts]
source = "locl"

[[host]]
name = "Lin01"
os = "linx"
address = "10.5.6.256"

[[host]]
name = "lin02"
os = "linux"
roles = "control-plane"
address = "127.0.0.1"
port = 0

[[host]]
name = "win01"
os = "windows"
roles = ["master"]
address = "win01.example.com"
fingerprint = "AB:CD"
api_endpoint = "10.0.0.1:6443"

[[host]]
"#;
    insta::assert_snapshot!(errors(text));
}

#[test]
fn empty_file() {
    insta::assert_snapshot!(errors(""));
}

#[test]
fn single_values() {
    let cases = [
        ("1.5.8", "1.5.2"),
        ("1.5.8", "1.5.9"),
        ("1.5.8", "1.5"),
        ("1.5.8", "v1.5.8"),
        ("1.5.8", "1.6.4"),
        ("192.168.0.0/16", "192.168.1.5/24"),
        ("192.168.0.0/16", "fd00::/64"),
        ("192.168.0.0/16", "127.0.0.0/8"),
        ("192.168.0.0/16", "192.168.0.0/24"),
        ("192.168.0.0/16", "192.168.0.0/25"),
        ("172.30.0.0/16", "172.30.0.0/28"),
        ("172.30.0.0/16", "100.64.0.0/10"),
        ("name = \"demo\"", "name = \"demo\"\nnode_pod_prefix = 29"),
        ("\"10.5.6.216\"", "\"127.0.0.1\""),
        ("\"10.5.6.216\"", "\"::1\""),
        ("\"10.5.6.216\"", "\"10.5.6.216:5986\""),
        ("\"10.5.6.216\"", "\"10.5.6.216\"\nnode_address = \"127.0.0.2\""),
        ("\"10.5.6.216\"", "\"10.5.6.219\"\nnode_address = \"10.5.6.215\""),
        ("win01", "win_01"),
        ("win01", "lin01"),
        ("password = { env = \"X\" }\n", ""),
        ("{ env = \"X\" }", "{ env = \"X\", file = \"y\" }"),
        ("{ env = \"X\" }", "{ prompt = false }"),
        ("{ env = \"X\" }", "{}"),
        ("{ env = \"X\" }", "5"),
        ("pod_adapter = \"Ethernet 2\"\n", ""),
        ("\"Ethernet 2\"", "2"),
        ("\"Ethernet 2\"", "\"10.5.6.216\""),
        ("os = \"windows\"", "os = \"windows\"\ntransport = \"htp\""),
        ("os = \"windows\"", "os = \"windows\"\ntransport = \"http\"\nca = \"ca.pem\""),
        ("os = \"windows\"", "os = \"windows\"\nfingerprint = \"00112233445566778899AABBCCDDEEFF00112233\""),
        ("os = \"linux\"", "os = \"linux\"\nproxy_jump = \"a,b\""),
        ("os = \"linux\"", "os = \"linux\"\nuser = \"-oProxyCommand=x\""),
        ("os = \"linux\"", "os = \"linux\"\nhost_key = \"yes\""),
        ("[cluster]", "cluster.artifacts.path = \"x\"\n[cluster]"),
        ("[cluster]", "cluster = 3\n[clusters]"),
    ];
    let told: Vec<String> =
        cases.iter().map(|(from, to)| format!("{to:?}\n    {}", told_for(&with(from, to)))).collect();
    insta::assert_snapshot!(told.join("\n"));
}

fn told_for(text: &str) -> String {
    let errors = errors(text);
    let told = errors.errors().iter().map(|error| {
        let remedy = error.remedy.as_deref().unwrap_or("-");
        format!("{}:{} {}: {} / {remedy}", error.line, error.column, error.key, error.message)
    });
    told.collect::<Vec<_>>().join("\n    ")
}

/// Each key of the schema is read: a date, which fits none of them, is an error of that key, and not an unknown key.
#[test]
fn every_key_of_the_schema_is_read() {
    use k8swin_inventory::schema::{self, ARTIFACTS, CONNECTION, DEFAULTS, HOST, TOP};
    let local = "[cluster.artifacts]\nsource = \"local\"\npath = \"x\"\n";
    let build = "[cluster.artifacts]\nsource = \"build\"\nrepository = \"x\"\n";
    let tables = [
        ("", vec![TOP], String::new()),
        ("cluster.", vec![schema::CLUSTER], CLUSTER.to_owned()),
        ("cluster.artifacts.", vec![&ARTIFACTS[..2], &ARTIFACTS[6..]], "[cluster.artifacts]\n".to_owned()),
        ("cluster.artifacts.", vec![&ARTIFACTS[2..3]], local.to_owned()),
        ("cluster.artifacts.", vec![&ARTIFACTS[3..6]], build.to_owned()),
        ("defaults.", vec![DEFAULTS], "[defaults]\n".to_owned()),
        ("defaults.linux.", vec![CONNECTION, schema::LINUX], "[defaults.linux]\n".to_owned()),
        ("defaults.windows.", vec![CONNECTION, schema::WINDOWS], "[defaults.windows]\n".to_owned()),
        ("host.", vec![HOST, CONNECTION, schema::LINUX], LINUX_HOST.to_owned()),
        ("host.", vec![HOST, CONNECTION, schema::WINDOWS], WINDOWS_HOST.to_owned()),
    ];
    for (path, keys, table) in tables {
        for key in keys.into_iter().flatten() {
            let others = table.lines().filter(|line| !line.starts_with(&format!("{} =", key.name)));
            let text: String = others
                .chain([format!("{} = 1979-05-27", key.name).as_str()])
                .fold(String::new(), |text, line| text + line + "\n");
            let errors = errors(&text);
            let path = format!("{path}{}", key.name);
            let told = errors.errors().iter().find(|error| error.key == path);
            assert!(told.is_some_and(|error| error.message.contains("found a date")), "{path}: {errors}");
        }
    }
}

#[test]
fn artifacts_of_another_source_are_refused() {
    let text = with("[[host]]", "[cluster.artifacts]\nsource = \"release\"\npath = \"x\"\n\n[[host]]");
    assert!(only_message(&text).contains("only with source = \"local\""));
    let text = with("[[host]]", "[cluster.artifacts]\nsource = \"build\"\n\n[[host]]");
    assert!(only_message(&text).contains("`repository` is missing"));
    let text = with("[[host]]", "[cluster.artifacts]\nmirror = \"ftp://me:hunter2@x\"\n\n[[host]]");
    let told = errors(&text);
    assert!(!format!("{told} {told:?}").contains("hunter2"), "{told}");
}

#[test]
fn warnings_are_no_errors() {
    let text = with("{ env = \"X\" }", "\"hunter2\"\ntransport = \"http\"\nport = 5986")
        .replace("win01", "windows-server-01")
        + &LINUX_HOST.replace("lin01", "lin02").replace("215", "217");
    let cluster = parsed(&text).unwrap();
    let warnings = cluster.warnings.join("\n");
    assert!(!format!("{cluster:?}").contains("hunter2"));
    insta::assert_snapshot!(warnings);
}

#[test]
fn adapters_by_mac_belong_to_one_host() {
    let text = with("\"Ethernet 2\"", "\"00:15:5D:00:00:01\"")
        + &WINDOWS_HOST.replace("win01", "win02").replace("216", "217").replace("Ethernet 2", "00-15-5d-00-00-01");
    assert!(only_message(&text).contains("the adapter 00-15-5d-00-00-01 is already that of `win01` on line 18"));
}

#[test]
fn files_that_are_too_large_are_refused_unread() {
    let errors = errors(&"x".repeat(5 * 1024 * 1024));
    assert_eq!(errors.errors().len(), 1);
    assert!(errors.to_string().len() < 300, "{errors}");
}

#[test]
fn garbage_below_the_limit_gives_short_errors() {
    let size = k8swin_inventory::MAX_BYTES;
    let lines = |line: &dyn Fn(usize) -> String| -> String {
        let mut text = String::new();
        for number in 0.. {
            let line = line(number);
            if text.len() + line.len() > size {
                break;
            }
            text.push_str(&line);
        }
        text
    };
    for text in [
        "x".repeat(size),
        "[".repeat(size),
        "{".repeat(size),
        format!("a = {}", "[".repeat(size - 4)),
        format!("a = {}", "{a=".repeat(size / 3 - 2)),
        format!("{}a = 1", "a.".repeat(size / 2 - 3)),
        format!("[{}a]", "a.".repeat(size / 2 - 3)),
        format!("x = {{ {}a = 1 }}", "a.".repeat(size / 2 - 12)),
        format!("x = {}1{}", format!("{{ {}a = ", "a.".repeat(75)).repeat(78), "}".repeat(78)),
        format!("[[host]]\n{}a = 1\n[host]\n", "a.".repeat(size / 2 - 16)),
        format!("{}[x]\n", format!("{}b = 1\n", "a.".repeat(120)).repeat(50)),
        format!("[[{}a]]", "a .".repeat(size / 3 - 3)),
        format!("key = \"{}", "\u{e4}".repeat(size / 2 - 4)),
        "\"\"\"\n".repeat(size / 4),
        "\u{0}".repeat(size),
        "\n".repeat(size),
        "=\n".repeat(size / 2),
        "[[host]]\n".repeat(size / 9),
        lines(&|number| format!("key{number} = {number}\n")),
        lines(&|number| format!("[t{number}]\nname = \"{number}\"\n")),
        lines(&|number| format!("[[host]]\nname = \"h\"\nos = \"windows\"\naddress = \"10.0.0.{}\"\n", number % 200)),
        format!("host = [{}]", "{name=\"a\"},".repeat(size / 12)),
        lines(&|number| {
            let (high, low) = (number / 250 % 250, number % 250);
            format!(
                "[[host]]\nname = \"h{number}\"\nos = \"linux\"\naddress = \"10.0.{high}.{low}\"\npod_cidr = \"192.168.{low}.0/24\"\n"
            )
        }) + "[cluster]\npod_cidr = \"192.168.0.0/16\"\n",
    ] {
        if text.len() > size {
            continue;
        }
        let errors = errors(&text);
        assert!((1..=50).contains(&errors.errors().len()));
        assert!(errors.to_string().len() < 100_000, "{} characters", errors.to_string().len());
    }
}

#[test]
fn many_errors_are_counted_beyond_the_first_fifty() {
    let text =
        format!("{CLUSTER}{LINUX_HOST}{}", (0..5000).map(|key| format!("key{key:04} = 1\n")).collect::<String>());
    let errors = errors(&text);
    assert_eq!((errors.errors().len(), errors.omitted()), (50, 4950));
    assert_eq!(errors.errors()[0].line, 12);
    assert!(errors.to_string().ends_with("inventory.toml: and 4950 more errors"));
}

#[test]
fn dockers_zip() {
    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let docker =
        |text: &str| with("pod_adapter = \"Ethernet 2\"\n", &format!("pod_adapter = \"E\"\ndocker = {text}\n"));
    let told = |text: &str| only_message(&docker(text));
    assert!(parsed(&docker(&format!("{{ zip = 'd.zip', sha256 = '{DIGEST}', version = '17.06.2-ee-16' }}"))).is_ok());
    insta::assert_snapshot!(
        [
            told("'d.zip'"),
            told("{ zip = 'd.zip', sha256 = 'x' }"),
            told("{ zip = 'd.zip', sha256 = 'x', version = '17.06.2' }"),
            told(&format!("{{ zip = 'd.zip', sha256 = '{DIGEST}', version = 'latest' }}")),
            told(&format!("{{ zip = 'ftp://d.zip', sha256 = '{DIGEST}', version = '17.06.2' }}")),
            told(&format!("{{ zip = 'd.zip', sha256 = '{DIGEST}', versoin = '17.06.2' }}")),
            only_message(&with("os = \"linux\"\n", "os = \"linux\"\ndocker = {}\n")),
            only_message(&format!(
                "{}{}",
                docker(&format!("{{ zip = 'd.zip', sha256 = '{DIGEST}', version = '17.06.2' }}")),
                WINDOWS_HOST.replace("win01", "win02").replace("10.5.6.216", "10.5.6.217")
                    + &format!("docker = {{ zip = 'e.zip', sha256 = '{DIGEST}', version = '18.09.1' }}\n"),
            )),
        ]
        .join("\n")
    );
}

#[test]
fn ignored_checks_are_known_ones() {
    let cluster = parsed(
        &with("pod_cidr", "ignore = [\"swap\", \"latency\"]\npod_cidr")
            .replace("roles", "ignore = [\"memory\"]\nroles"),
    )
    .unwrap();
    let names: Vec<_> = cluster.ignore.iter().map(|check| check.name()).collect();
    assert_eq!(names, ["swap", "latency"]);
    assert_eq!(cluster.hosts[0].ignore, ["memory".parse().unwrap()]);
    assert!(cluster.hosts[1].ignore.is_empty());

    let message = only_message(&with("pod_cidr", "ignore = [\"swap\", \"docker-verson\"]\npod_cidr"));
    assert!(message.contains("did you mean `docker-version`?") && message.contains("--list"), "{message}");
    let message = only_message(&with("roles", "ignore = [\"node\"]\nroles"));
    assert!(message.contains("there is no check `node`"), "{message}");
    let message = only_message(&with("roles", "ignore = \"swap\"\nroles"));
    assert!(message.contains("expected an array"), "{message}");
}
