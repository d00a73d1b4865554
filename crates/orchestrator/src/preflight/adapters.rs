//! The two adapters of a Windows host.

use k8swin_inventory::Check;
use k8swin_inventory::cluster::{AdapterSelector, Host, WindowsHost};
use k8swin_protocol::facts::{Adapter, WindowsFacts};

use super::Report;
use super::catalogue::{ADD_ADAPTER, ENABLE_ADAPTER, OTHER_POD_ADAPTER};

pub(super) fn check(host: &Host, windows: &WindowsHost, facts: &WindowsFacts, report: &mut Report<'_>) {
    let physical: Vec<_> = facts.common.adapters.iter().filter(|adapter| adapter.physical).collect();
    let connected = physical.iter().filter(|adapter| adapter.up).count();
    if connected >= 2 {
        report.ok(Check::SecondAdapter, format!("{connected} network adapters are connected"));
    } else {
        let detail = format!("{connected} network adapter is connected; a transparent network takes one whole");
        report.error(Check::SecondAdapter, detail, ADD_ADAPTER.with(&[("host", &host.name)]));
    }

    let selected = |adapter: &&&Adapter| match &windows.pod_adapter {
        AdapterSelector::Name(name) => adapter.name.eq_ignore_ascii_case(name),
        AdapterSelector::Mac(mac) => adapter.mac.eq_ignore_ascii_case(mac),
        AdapterSelector::Address(address) => adapter.addresses.iter().any(|net| net.addr() == *address),
    };
    let names: Vec<_> = physical.iter().map(|adapter| format!("`{}`", adapter.name)).collect();
    let another = OTHER_POD_ADAPTER.with(&[("adapters", &names.join(", "))]);
    match physical.iter().find(selected) {
        Some(adapter) if adapter.addresses.iter().any(|net| net.addr() == host.node_address) => {
            let detail = format!(
                "`{}` carries the node's address {}: binding it would cut this connection",
                adapter.name, host.node_address
            );
            report.error(Check::PodAdapter, detail, another);
        }
        Some(adapter) if !adapter.up => {
            let detail = format!("`{}` is not connected", adapter.name);
            report.error(Check::PodAdapter, detail, ENABLE_ADAPTER.with(&[("adapter", &adapter.name)]));
        }
        Some(adapter) => report.ok(Check::PodAdapter, format!("`{}` ({})", adapter.name, adapter.mac)),
        // The transparent network took the adapter whole, with its address: it was judged before it was made.
        None if facts.common.owned.has_kind("transparent-network:") => {
            report.ok(Check::PodAdapter, "bound by the transparent network of an earlier run");
        }
        None => {
            let detail = format!("there is no adapter `{}`; there are: {}", windows.pod_adapter, names.join(", "));
            report.error(Check::PodAdapter, detail, another);
        }
    }
}
