//! A drawing of the network as SVG: hosts with their adapters, subnets and routes, and the links that fail in red.
//!
//! It is one column, so that a telephone shows it as well as a screen: on the left the network of the nodes, beside it the
//! hosts, on the right an arc for each pair of hosts that does not reach each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8swin_orchestrator::report::{HostNetwork, Link};

/// Sizes in the drawing's own units.
const WIDTH: usize = 460;
const LEFT: usize = 46;
const RIGHT: usize = 410;
const LINE: usize = 19;
const PADDING: usize = 12;
const GAP: usize = 18;
const TOP: usize = 34;
/// Characters that fit into a line.
const FITTING: usize = 46;
/// Routes of a host that are drawn; the rest is counted.
const ROUTES: usize = 6;
/// Arcs that stand beside each other.
const LANES: usize = 5;

/// The drawing.
pub(crate) fn drawing(hosts: &[HostNetwork], links: &[Link]) -> String {
    let mut body = String::new();
    let mut middles: BTreeMap<&str, usize> = BTreeMap::new();
    let mut y = TOP;
    for host in hosts {
        let lines = lines(host);
        let height = lines.len() * LINE + 2 * PADDING;
        let fails = links.iter().any(|link| !link.works() && (*link.from == *host.name || *link.to == *host.name));
        let class = if fails { "host bad" } else { "host" };
        let _ = writeln!(
            body,
            r#"<rect class="{class}" x="{LEFT}" y="{y}" width="{}" height="{height}" rx="8"/>"#,
            RIGHT - LEFT
        );
        let unknown = host.adapters.is_empty();
        let class = if unknown { "wire off" } else { "wire" };
        let _ = writeln!(body, r#"<path class="{class}" d="M20 {0}H{LEFT}"/>"#, y + PADDING + LINE);
        for (index, (class, text)) in lines.iter().enumerate() {
            let at = y + PADDING + (index + 1) * LINE - 5;
            let _ =
                writeln!(body, r#"<text class="{class}" x="{}" y="{at}">{}</text>"#, LEFT + 12, escaped(&cut(text)));
        }
        middles.insert(&host.name, y + height / 2);
        y += height + GAP;
    }
    let _ = writeln!(body, r#"<path class="network" d="M20 {TOP}V{}"/>"#, y - GAP);
    let _ = writeln!(body, r#"<text class="subnet" x="8" y="20">{}</text>"#, escaped(&subnets(hosts)));
    for (index, ((from, to), ports)) in failing(links).iter().enumerate() {
        let (Some(one), Some(other)) = (middles.get(from), middles.get(to)) else { continue };
        let bulge = RIGHT + 26 + 9 * (index % LANES);
        let _ = writeln!(
            body,
            r#"<path class="failing" d="M{RIGHT} {one}C{bulge} {one} {bulge} {other} {RIGHT} {other}"><title>{} and {}: {}</title></path>"#,
            escaped(from),
            escaped(to),
            escaped(&ports.join(", "))
        );
    }
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {y}" role="img" aria-label="The network: {} hosts, {} failing links">{body}</svg>"#,
        hosts.len(),
        links.iter().filter(|link| !link.works()).count()
    )
}

/// What stands in a host's box: the class and the text of each line.
fn lines(host: &HostNetwork) -> Vec<(&'static str, String)> {
    let role = if host.control_plane { ", control plane" } else { "" };
    let mut lines = vec![("name", format!("{} ({}{role})", host.name, host.os))];
    if host.adapters.is_empty() {
        lines.push(("dim", format!("{} — could not be looked at", host.node_address)));
        return lines;
    }
    for adapter in &host.adapters {
        let addresses: Vec<_> = adapter.addresses.iter().map(ToString::to_string).collect();
        let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
        let state = if adapter.up { "" } else { " (not connected)" };
        let is_routable = adapter.addresses.iter().any(|net| net.addr() == host.node_address);
        let class = match (is_routable, adapter.physical) {
            (true, _) => "routable",
            (false, true) => "plain",
            (false, false) => "dim",
        };
        lines.push((class, format!("{} {addresses}{state}", adapter.name)));
    }
    lines.push(("pods", format!("pods {}", host.pod_cidr)));
    let routed: Vec<_> = host.routes.iter().filter_map(|route| Some((route, route.via?))).collect();
    lines.extend(routed.iter().take(ROUTES).map(|(route, via)| ("route", format!("→ {} by {via}", route.destination))));
    if routed.len() > ROUTES {
        lines.push(("dim", format!("and {} more routes", routed.len() - ROUTES)));
    }
    lines
}

/// The networks of the nodes, as their adapters have them.
fn subnets(hosts: &[HostNetwork]) -> String {
    let mut subnets: Vec<String> = hosts
        .iter()
        .flat_map(|host| {
            let nets = host.adapters.iter().flat_map(|adapter| &adapter.addresses);
            nets.filter(|net| net.addr() == host.node_address).map(|net| net.trunc().to_string())
        })
        .collect();
    subnets.sort();
    subnets.dedup();
    if subnets.is_empty() { "no node network is known".to_owned() } else { subnets.join(", ") }
}

/// Pairs of hosts between which something fails, with the ports; one entry for both directions.
fn failing(links: &[Link]) -> BTreeMap<(&str, &str), Vec<String>> {
    let mut pairs: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for link in links.iter().filter(|link| !link.works()) {
        let (one, other) = (&*link.from, &*link.to);
        let pair = if one < other { (one, other) } else { (other, one) };
        pairs.entry(pair).or_default().push(format!("{one} to {other} on {} ({})", link.port, link.purpose));
    }
    pairs
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(FITTING) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

/// Text that stands for itself in HTML and SVG.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn hosts_and_failing_links_are_drawn_and_names_stand_for_themselves() {
        let preflight = samples::preflight();
        let svg = drawing(&preflight.hosts, &preflight.links);
        assert_eq!(svg.matches("class=\"host bad\"").count(), 2);
        assert_eq!(svg.matches("class=\"failing\"").count(), 1);
        assert!(svg.contains("lin01 to win01 on 10250 (kubelet)"), "{svg}");
        assert!(svg.contains("vEthernet (&lt;nat&gt; &amp; more)") && !svg.contains("<nat>"), "{svg}");
        assert!(svg.contains("10.5.6.0/24"));
    }

    #[test]
    fn without_failures_nothing_is_red() {
        let mut preflight = samples::preflight();
        preflight.links.retain(Link::works);
        let svg = drawing(&preflight.hosts, &preflight.links);
        assert!(!svg.contains("bad") && !svg.contains("failing\" d"), "{svg}");
    }
}
