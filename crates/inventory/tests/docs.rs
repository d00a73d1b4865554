//! docs/inventory.md says what the parser accepts: it is made from the schema.

#![expect(clippy::unwrap_used, reason = "writing into a String cannot fail, and tests fail by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use k8swin_inventory::schema::{
    ARTIFACTS, CLUSTER, CONNECTION, DEFAULTS, DOCKER, HOST, Key, LINUX, SECRET, TOP, WINDOWS,
};

fn page() -> String {
    let mut page = String::from(
        "# inventory.toml\n\n\
         Every key, made from the schema that the parser uses (`crates/inventory/src/schema.rs`); a test keeps this page current.\n\
         A key of a `[[host]]` wins over the same key in `[defaults.linux]` or `[defaults.windows]`. Relative paths are relative\n\
         to the inventory's folder; `~/` is your home folder. Keys that are not listed are errors.\n",
    );
    let tables: [(&str, &[&[Key]]); 8] = [
        ("The file", &[TOP]),
        ("`[cluster]`", &[CLUSTER]),
        ("`[cluster.artifacts]`", &[ARTIFACTS]),
        ("`[defaults]`", &[DEFAULTS]),
        ("`[[host]]`", &[HOST]),
        ("Connection, in `[[host]]` or `[defaults.*]`", &[CONNECTION]),
        ("Linux hosts, in `[[host]]` or `[defaults.linux]`", &[LINUX]),
        ("Windows hosts, in `[[host]]` or `[defaults.windows]`", &[WINDOWS]),
    ];
    let values: [(&str, &[&[Key]]); 2] =
        [("A password or passphrase as a table", &[SECRET]), ("`docker`, with all of its keys", &[DOCKER])];
    for (title, keys) in tables.into_iter().chain(values) {
        write!(page, "\n## {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n").unwrap();
        for key in keys.iter().copied().flatten() {
            let cells = [key.value, key.default, key.about].map(|cell| cell.replace('|', "\\|"));
            writeln!(page, "| `{}` | {} |", key.name, cells.join(" | ")).unwrap();
        }
    }
    page
}

#[test]
fn the_page_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/inventory.md");
    if std::env::var_os("K8SWIN_WRITE_DOCS").is_some() {
        fs::write(&file, page()).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap();
    assert!(
        written == page(),
        "docs/inventory.md is out of date: K8SWIN_WRITE_DOCS=1 cargo xtask test -p k8swin-inventory"
    );
}
