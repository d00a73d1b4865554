//! From text to [`Cluster`].

use camino::Utf8Path;
use toml::de::DeTable;

use crate::check;
use crate::cluster::Cluster;
use crate::diagnostics::{Diagnostics, Place};
use crate::draft::{self, Draft};
use crate::error::InventoryErrors;

/// The largest inventory that is read: a thousand hosts fit many times.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Parses an inventory. `file` is where the text came from: errors name it, and relative paths in the text are relative
/// to its folder.
///
/// # Errors
/// All that is wrong, with lines: bad TOML, unknown and missing keys, values that cannot be, and hosts and ranges that
/// collide. Collisions are looked for as far as the values that they concern are valid.
pub fn parse(text: &str, file: &Utf8Path) -> Result<Cluster, InventoryErrors> {
    parse_with_places(text, file).map(|(cluster, _)| cluster)
}

/// The cluster, and the place of each host's name.
pub(crate) fn parse_with_places(text: &str, file: &Utf8Path) -> Result<(Cluster, Vec<Place>), InventoryErrors> {
    if text.len() > MAX_BYTES {
        let mut diagnostics = Diagnostics::new("", file);
        let message = format!("{} bytes are too many for an inventory; at most {MAX_BYTES} are read", text.len());
        diagnostics.error_and_remedy(&Place::START, message, "is this the right file?");
        diagnostics.finish()?;
    }
    let mut diagnostics = Diagnostics::new(text, file);
    let cluster = read_root(text, &mut diagnostics).and_then(|root| {
        let folder = file.parent().unwrap_or(Utf8Path::new(""));
        let Draft { cluster, hosts } = draft::read(&root, folder, &mut diagnostics);
        let places = hosts.iter().filter_map(|host| host.name.as_ref().map(|name| name.place.clone())).collect();
        check::check(cluster?, hosts, &mut diagnostics).map(|cluster| (cluster, places))
    });
    if cluster.is_none() {
        // Whoever gives up has noted why. Should one ever forget, this is better than a cluster out of nothing.
        diagnostics.ensure_error("the inventory is incomplete");
    }
    let warnings = diagnostics.finish()?;
    #[expect(clippy::expect_used, reason = "without a cluster there is an error, and finish has returned it")]
    let (cluster, places) = cluster.expect("a cluster or an error");
    Ok((Cluster { warnings, ..cluster }, places))
}

fn read_root<'t>(text: &'t str, diagnostics: &mut Diagnostics<'_>) -> Option<DeTable<'t>> {
    match DeTable::parse(text) {
        Ok(root) => Some(root.into_inner()),
        Err(error) => {
            let place = Place { key: String::new(), span: error.span().unwrap_or(0..0) };
            diagnostics.error(&place, format!("not valid TOML: {}", error.message()));
            None
        }
    }
}
