//! Converters: one value of the inventory each, from TOML to the type that [`crate::Cluster`] holds.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};
use ipnet::Ipv4Net;
use k8swin_protocol::{SecretBytes, Sha256};
use serde_spanned::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::checks::{Check, UnknownCheck};
use crate::cluster::{AdapterSelector, DockerZip, KubernetesMinor, KubernetesVersion, SecretSource, ZipSource};
use crate::schema::{DOCKER, SECRET, nearest};
use crate::section::{Problem, shortened, type_name, unknown_inner_key};

type Converted<T> = Result<T, Problem>;

fn wrong_type(value: &DeValue<'_>, expected: &str) -> Problem {
    Problem::new(format!("expected {expected}, found {}", type_name(value)))
}

/// A string with something in it and no control characters.
pub(crate) fn text<'v>(value: &'v DeValue<'_>) -> Converted<&'v str> {
    let text = value.as_str().ok_or_else(|| wrong_type(value, "a string between quotes"))?;
    if text.trim().is_empty() {
        return Err(Problem::new("must not be empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::new("must not contain control characters"));
    }
    Ok(text)
}

/// A string without white space.
pub(crate) fn word(value: &DeValue<'_>) -> Converted<String> {
    let word = text(value)?;
    if word.contains(char::is_whitespace) {
        return Err(Problem::new("must not contain spaces"));
    }
    Ok(word.to_owned())
}

/// An account: what a login name may be, so that no program takes it for an option.
pub(crate) fn user(value: &DeValue<'_>) -> Converted<String> {
    let user = text(value)?;
    if user.starts_with('-') || user.trim() != user {
        return Err(Problem::new("a user name begins with no dash, and has no spaces around it"));
    }
    Ok(user.to_owned())
}

/// One of a few words.
pub(crate) fn one_of<T: Copy>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Converted<T> {
    let word = text(value)?;
    choices.iter().find(|(name, _)| *name == word).map(|(_, choice)| *choice).ok_or_else(|| {
        let names = || choices.iter().map(|(name, _)| *name);
        let known = names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
        match nearest(word, names()) {
            Some(near) => Problem::new(format!("`{}` is unknown; did you mean \"{near}\"?", shortened(word))),
            None => Problem::new(format!("`{}` is unknown", shortened(word))).remedy(format!("write {known}")),
        }
    })
}

fn integer(value: &DeValue<'_>) -> Converted<i64> {
    let integer = value.as_integer().ok_or_else(|| wrong_type(value, "an integer, without quotes"))?;
    i64::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| Problem::new("the integer is too large"))
}

/// The version of the schema.
pub(crate) fn schema(value: &DeValue<'_>) -> Converted<()> {
    match integer(value)? {
        crate::schema::SCHEMA_VERSION => Ok(()),
        other => Err(Problem::new(format!("schema {other} is unknown; this k8swin reads schema 1"))
            .remedy("write schema = 1, or use the k8swin that wrote this inventory")),
    }
}

/// A TCP port.
pub(crate) fn port(value: &DeValue<'_>) -> Converted<u16> {
    let number = integer(value)?;
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| Problem::new(format!("{number} is not a port")).remedy("ports are 1 to 65535"))
}

/// A prefix length of a node's pod subnet.
pub(crate) fn node_pod_prefix(value: &DeValue<'_>) -> Converted<u8> {
    const LONGEST: i64 = 28;
    let number = integer(value)?;
    match u8::try_from(number) {
        Ok(prefix) if (8..=LONGEST).contains(&number) => Ok(prefix),
        _ => Err(Problem::new(format!("{number} is not a usable prefix length for a node's pods"))
            .remedy(format!("8 to {LONGEST}: /24 has 254 addresses, /{LONGEST} has 14"))),
    }
}

/// An RFC 1123 label: the name of a cluster.
pub(crate) fn label(value: &DeValue<'_>) -> Converted<String> {
    let name = text(value)?;
    if is_label(name) { Ok(name.to_owned()) } else { Err(bad_name(name, "letters, digits and dashes", "63")) }
}

/// An RFC 1123 subdomain in lower case: the name of a node, or a DNS domain.
pub(crate) fn subdomain(value: &DeValue<'_>) -> Converted<String> {
    let name = text(value)?;
    if name.len() <= 253 && name.split('.').all(is_label) {
        Ok(name.to_owned())
    } else {
        Err(bad_name(name, "letters, digits, dashes and dots", "253"))
    }
}

pub(crate) fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

fn bad_name(name: &str, characters: &str, longest: &str) -> Problem {
    let problem = Problem::new(format!("`{}` is not a name that Kubernetes takes (RFC 1123)", shortened(name)));
    let corrected = name.to_ascii_lowercase().replace(['_', ' '], "-");
    if corrected != name && corrected.len() <= 63 && corrected.split('.').all(is_label) {
        return problem.remedy(format!("write \"{corrected}\""));
    }
    problem
        .remedy(format!("lower-case {characters}, at most {longest} characters, with a letter or digit at both ends"))
}

/// A Kubernetes version that a release profile exists for.
pub(crate) fn kubernetes(value: &DeValue<'_>) -> Converted<KubernetesVersion> {
    const PROFILES: &str = "release profiles exist for 1.5 (1.5.0 to 1.5.8) and 1.20 (1.20.0 to 1.20.15)";
    let text = value.as_str().ok_or_else(|| {
        wrong_type(value, "a string between quotes").remedy("write the patch level too, such as kubernetes = \"1.5.8\"")
    })?;
    let unknown = || Problem::new(format!("Kubernetes `{}` has no release profile", shortened(text))).remedy(PROFILES);
    let (minor, patch) = match text.split('.').collect::<Vec<_>>().as_slice() {
        ["1", "5", patch] => (KubernetesMinor::V1_5, *patch),
        ["1", "20", patch] => (KubernetesMinor::V1_20, *patch),
        ["1", minor @ ("5" | "20")] => {
            let example = if *minor == "5" { "1.5.8" } else { "1.20.15" };
            return Err(Problem::new(format!("`1.{minor}` lacks its patch level"))
                .remedy(format!("write it in full, such as \"{example}\"")));
        }
        _ => match text.strip_prefix('v') {
            Some(plain) if plain.starts_with(|first: char| first.is_ascii_digit()) => {
                return Err(unknown().remedy(format!("write it without the v; {PROFILES}")));
            }
            _ => return Err(unknown()),
        },
    };
    let last = match minor {
        KubernetesMinor::V1_5 => 8,
        KubernetesMinor::V1_20 => 15,
    };
    let canonical = patch == "0" || !patch.starts_with(['0', '+']);
    match patch.parse::<u32>() {
        Ok(patch) if canonical && patch <= last => Ok(KubernetesVersion { minor, patch }),
        _ => Err(unknown()),
    }
}

/// An IPv4 range, written by its network address.
pub(crate) fn network(value: &DeValue<'_>) -> Converted<Ipv4Net> {
    let text = text(value)?;
    let Some((address, prefix)) = text.split_once('/') else {
        return Err(Problem::new(format!("`{}` lacks its prefix length", shortened(text)))
            .remedy("write a range such as \"192.168.0.0/16\""));
    };
    if Ipv6Addr::from_str(address).is_ok() {
        return Err(Problem::new(format!("`{}` is IPv6", shortened(text)))
            .remedy("this kind of cluster is IPv4 only: Windows nodes of Kubernetes 1.5 know nothing else"));
    }
    let decimal = !prefix.is_empty() && prefix.len() <= 2 && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let network: Ipv4Net = text.parse().ok().filter(|_| decimal).ok_or_else(|| {
        Problem::new(format!("`{}` is not an IPv4 range", shortened(text)))
            .remedy("four numbers from 0 to 255 and a prefix length from 0 to 32, such as \"192.168.0.0/16\"")
    })?;
    if network.addr() != network.network() {
        return Err(Problem::new(format!("{network} has bits set beyond its mask"))
            .remedy(format!("the network is {}", network.trunc())));
    }
    for (reserved, what) in [
        (Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8), "this network"),
        (Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8).trunc(), "loopback"),
        (Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16), "link-local addresses"),
        (Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3), "multicast and reserved addresses"),
    ] {
        if crate::network::overlap(network, reserved) {
            return Err(Problem::new(format!("{network} overlaps {}, which is for {what}", reserved.trunc()))
                .remedy("take a private range inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"));
        }
    }
    Ok(network)
}

/// The routable IPv4 address of a node.
pub(crate) fn node_address(value: &DeValue<'_>) -> Converted<Ipv4Addr> {
    let text = text(value)?;
    let address = text.parse().map_err(|_| {
        Problem::new(format!("`{}` is not an IPv4 address", shortened(text)))
            .remedy("the address by which the other nodes reach this host, such as \"10.5.6.215\"")
    })?;
    routable(address)?;
    Ok(address)
}

/// Refuses an address that other nodes cannot reach.
pub(crate) fn routable(address: Ipv4Addr) -> Converted<()> {
    let what = if address.is_loopback() {
        return Err(Problem::new(format!("a node IP must not be loopback, and {address} is"))
            .remedy("set node_address to the address by which the other nodes reach this host"));
    } else if address.is_link_local() {
        "link-local"
    } else if address.is_multicast() {
        "multicast"
    } else if address.octets().starts_with(&[0]) || address.octets()[0] >= 240 {
        "reserved"
    } else {
        return Ok(());
    };
    Err(Problem::new(format!("a node IP must be routable, and {address} is {what}"))
        .remedy("set node_address to the address by which the other nodes reach this host"))
}

/// Where this machine reaches a host: an IPv4 address or a DNS name.
pub(crate) fn address(value: &DeValue<'_>) -> Converted<String> {
    let text = text(value)?;
    host_or_address(text)?;
    Ok(text.to_owned())
}

fn host_or_address(text: &str) -> Converted<()> {
    if let Ok(address) = Ipv4Addr::from_str(text) {
        return if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
            Err(Problem::new(format!("{address} is not the address of a host")))
        } else {
            Ok(())
        };
    }
    if Ipv6Addr::from_str(text.trim_matches(['[', ']'])).is_ok() {
        return Err(Problem::new(format!("`{}` is IPv6", shortened(text))).remedy("use an IPv4 address or a DNS name"));
    }
    if let Some((_, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        return Err(Problem::new(format!("`{}` contains a port", shortened(text)))
            .remedy(format!("leave it out, and write port = {port}")));
    }
    let part_is_valid = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&part.len()) && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    if text.len() > 253 || numeric || !text.split('.').all(part_is_valid) {
        return Err(Problem::new(format!("`{}` is neither an IPv4 address nor a DNS name", shortened(text)))
            .remedy("such as \"10.5.6.215\" or \"lin01.example.com\""));
    }
    Ok(())
}

/// `host:port`.
pub(crate) fn endpoint(value: &DeValue<'_>) -> Converted<String> {
    let text = text(value)?;
    let malformed =
        || Problem::new(format!("`{}` is not host:port", shortened(text))).remedy("such as \"api.example.com:6443\"");
    let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
    parse_port(port).ok_or_else(malformed)?;
    host_or_address(host)?;
    Ok(text.to_owned())
}

fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0 && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `[user@]host[:port]`.
pub(crate) fn proxy_jump(value: &DeValue<'_>) -> Converted<String> {
    let text = text(value)?;
    let malformed = || {
        Problem::new(format!("`{}` is not [user@]host[:port]", shortened(text)))
            .remedy("one jump host, such as \"admin@bastion.example.com:2222\"")
    };
    let (user, rest) = text.rsplit_once('@').map_or((None, text), |(user, rest)| (Some(user), rest));
    let (host, port) = rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let user_is_valid = user.is_none_or(|user| !user.is_empty() && !user.starts_with('-') && !user.contains(' '));
    if !user_is_valid || port.is_some_and(|port| parse_port(port).is_none()) || host_or_address(host).is_err() {
        return Err(malformed());
    }
    Ok(text.to_owned())
}

/// A path: a relative one is relative to the inventory's folder, `~/` is left to the program that opens it.
pub(crate) fn path(value: &DeValue<'_>, folder: &Utf8Path) -> Converted<Utf8PathBuf> {
    text(value).map(|text| resolve(text, folder))
}

fn resolve(text: &str, folder: &Utf8Path) -> Utf8PathBuf {
    if text == "~" || text.starts_with("~/") { Utf8PathBuf::from(text) } else { folder.join(text) }
}

/// The address of a mirror. Not quoted in errors: it may hold credentials.
pub(crate) fn mirror(value: &DeValue<'_>) -> Converted<String> {
    let text = word(value)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_alphanumeric()) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(Problem::new("not an http or https address").remedy("such as \"https://mirror.example.com/k8s\"")),
    }
}

/// The Docker to install.
pub(crate) fn docker(value: &DeValue<'_>, folder: &Utf8Path) -> Converted<DockerZip> {
    const REMEDY: &str = "write { zip = \"…\", sha256 = \"…\", version = \"…\" }";
    let table = value.as_table().ok_or_else(|| wrong_type(value, "a table").remedy(REMEDY))?;
    if let Some((key, _)) = table.iter().find(|(key, _)| !DOCKER.iter().any(|known| known.name == key.get_ref())) {
        return Err(unknown_inner_key(key, DOCKER));
    }
    let inner = |name: &'static str| {
        let missing = || Problem::new(format!("the key `{name}` is missing")).remedy(REMEDY);
        table.get(name).ok_or_else(missing)
    };
    let inside = |name: &str, value: &Spanned<DeValue<'_>>, problem| Problem {
        inside: Some((name.to_owned(), value.span())),
        ..problem
    };
    let (zip, sha256, version) = (inner("zip")?, inner("sha256")?, inner("version")?);
    Ok(DockerZip {
        source: zip_source(zip.get_ref(), folder).map_err(|problem| inside("zip", zip, problem))?,
        sha256: sha256_digest(sha256.get_ref()).map_err(|problem| inside("sha256", sha256, problem))?,
        version: docker_version(version.get_ref()).map_err(|problem| inside("version", version, problem))?,
    })
}

fn zip_source(value: &DeValue<'_>, folder: &Utf8Path) -> Converted<ZipSource> {
    let text = text(value)?;
    if !text.contains("://") {
        return Ok(ZipSource::File(resolve(text, folder)));
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_alphanumeric()) && !text.contains(' ') => {
            Ok(ZipSource::Url(text.to_owned()))
        }
        _ => Err(Problem::new("neither a file nor an http or https address")
            .remedy("such as \"docker-17-06-2-ee-16.zip\" or \"https://files.example.com/docker.zip\"")),
    }
}

fn sha256_digest(value: &DeValue<'_>) -> Converted<Sha256> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        Problem::new(format!("`{}` is not a SHA-256 digest", shortened(text)))
            .remedy("64 hexadecimal digits, as `sha256sum FILE` shows them")
    })
}

/// Three numbers, and what Docker puts behind them (facts D.1).
fn docker_version(value: &DeValue<'_>) -> Converted<String> {
    let text = text(value)?;
    let plain = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<_> = plain.split('.').collect();
    let are_numbers = numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u16>().is_ok());
    let fine = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '+' | '~');
    if are_numbers && text.chars().all(fine) {
        return Ok(text.to_owned());
    }
    Err(Problem::new(format!("`{}` is not a version of Docker", shortened(text)))
        .remedy("as `docker version` shows it, such as \"17.06.2-ee-16\" or \"1.12.2-cs2-ws-beta\""))
}

/// A git URL, or a folder, which is resolved like any path.
pub(crate) fn repository(value: &DeValue<'_>, folder: &Utf8Path) -> Converted<String> {
    let text = text(value)?;
    let remote = text.contains("://") || text.split_once(':').is_some_and(|(host, _)| host.contains('@'));
    Ok(if remote { text.to_owned() } else { resolve(text, folder).into_string() })
}

/// A git tag.
pub(crate) fn tag(value: &DeValue<'_>) -> Converted<String> {
    let tag = word(value)?;
    let fine = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | '/' | '+');
    if tag.starts_with('-') || !tag.chars().all(fine) {
        return Err(Problem::new(format!("`{}` is not a git tag", shortened(&tag))).remedy("such as \"v1.5.8\""));
    }
    Ok(tag)
}

/// A SHA-256 fingerprint, with or without colons, as 64 lower-case digits.
pub(crate) fn fingerprint(value: &DeValue<'_>) -> Converted<String> {
    const SHA1_DIGITS: usize = 40;
    let text = text(value)?;
    let digits: String = text.chars().filter(|character| !matches!(character, ':' | ' ')).collect();
    if let Ok(digest) = digits.parse::<Sha256>() {
        return Ok(digest.to_string());
    }
    let problem = Problem::new(format!("`{}` is not a SHA-256 fingerprint", shortened(text)));
    Err(if digits.len() == SHA1_DIGITS {
        problem.remedy("40 digits are a SHA-1 thumbprint, as Windows shows it; 64 digits are needed")
    } else {
        problem.remedy("64 hexadecimal digits, with or without colons")
    })
}

/// An adapter, by MAC address, IPv4 address or name.
pub(crate) fn adapter(value: &DeValue<'_>) -> Converted<AdapterSelector> {
    let text = text(value).map_err(|problem| match value {
        DeValue::Integer(_) => problem.remedy("an adapter is never named by its index: indexes change"),
        _ => problem,
    })?;
    if let Ok(address) = text.parse() {
        return Ok(AdapterSelector::Address(address));
    }
    Ok(mac_address(text).map_or_else(|| AdapterSelector::Name(text.to_owned()), AdapterSelector::Mac))
}

/// Six pairs of hexadecimal digits with dashes or colons, as Windows writes them, in lower case.
fn mac_address(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split(['-', ':']).collect();
    let is_pair = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    (parts.len() == 6 && parts.iter().all(is_pair)).then(|| parts.join("-").to_ascii_lowercase())
}

/// An array of words, each one of a few.
pub(crate) fn each_of<T: Copy>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Converted<Vec<T>> {
    let array: &DeArray<'_> = value.as_array().ok_or_else(|| {
        let names = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        wrong_type(value, "an array").remedy(format!("write [{names}] or a part of it"))
    })?;
    if array.is_empty() {
        return Err(Problem::new("must not be empty"));
    }
    array.iter().map(|item| one_of(item.get_ref(), choices)).collect()
}

/// An array of names of checks.
pub(crate) fn checks(value: &DeValue<'_>) -> Converted<Vec<Check>> {
    let array: &DeArray<'_> = value.as_array().ok_or_else(|| {
        wrong_type(value, "an array").remedy("write the names of checks, such as ignore = [\"swap\"]")
    })?;
    let check = |item: &Spanned<DeValue<'_>>| {
        let unknown = |error: UnknownCheck| {
            let remedy = "`k8swin preflight --list` and docs/preflight.md have all names";
            Problem {
                inside: Some((error.name.clone(), item.span())),
                ..Problem::new(error.to_string()).remedy(remedy)
            }
        };
        text(item.get_ref())?.parse().map_err(unknown)
    };
    array.iter().map(check).collect()
}

/// Where a password or passphrase comes from.
pub(crate) fn secret(value: &DeValue<'_>, folder: &Utf8Path) -> Converted<SecretSource> {
    match value {
        DeValue::String(text) if text == "prompt" => Ok(SecretSource::Prompt),
        DeValue::String(text) if text.is_empty() => Err(Problem::new("must not be empty")),
        DeValue::String(text) => Ok(SecretSource::Literal(SecretBytes::new(text.as_bytes()))),
        DeValue::Table(table) => secret_table(table, folder),
        other => Err(wrong_type(other, "a table or a string").remedy(SECRET_REMEDY)),
    }
}

const SECRET_REMEDY: &str = "write { env = \"NAME\" }, { file = \"path\" } or \"prompt\"";

fn secret_table(table: &DeTable<'_>, folder: &Utf8Path) -> Converted<SecretSource> {
    let mut sources = Vec::new();
    for (key, value) in table.iter() {
        let inside = |problem: Problem| Problem { inside: Some((key.get_ref().to_string(), value.span())), ..problem };
        sources.push(match key.get_ref().as_ref() {
            "env" => SecretSource::Env(environment_name(value).map_err(inside)?),
            "file" => SecretSource::File(path(value.get_ref(), folder).map_err(inside)?),
            "prompt" => match value.get_ref().as_bool() {
                Some(true) => SecretSource::Prompt,
                _ => return Err(inside(Problem::new("expected true").remedy(SECRET_REMEDY))),
            },
            _ => return Err(unknown_inner_key(key, SECRET)),
        });
    }
    match (sources.pop(), sources.is_empty()) {
        (Some(source), true) => Ok(source),
        (Some(_), false) => Err(Problem::new("more than one source").remedy(SECRET_REMEDY)),
        (None, _) => Err(Problem::new("no source").remedy(SECRET_REMEDY)),
    }
}

fn environment_name(value: &Spanned<DeValue<'_>>) -> Converted<String> {
    let name = text(value.get_ref())?;
    if name.contains('=') || name.starts_with('$') || name.contains(' ') {
        return Err(Problem::new("not the name of an environment variable")
            .remedy("write the name alone, such as \"K8SWIN_WINDOWS_PASSWORD\""));
    }
    Ok(name.to_owned())
}
