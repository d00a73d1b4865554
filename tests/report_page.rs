//! The report page of `preflight`, in a real browser without a window.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::Lab;

/// Widths of a telephone and a screen, in CSS pixels.
const WIDTHS: [u32; 2] = [360, 1280];

/// What the page itself has none of: a script. It tells, of a copy of the page, what a reader sees with the lists of what is
/// fine opened: how wide the page is, what does not fit, how many findings have a place on it, and all text that is shown.
const MEASURE: &str = r#"<script>
let error = "";
window.onerror = message => { error = message; };
window.onload = () => {
  document.querySelectorAll("details").forEach(list => { list.open = true; });
  const box = element => element.getBoundingClientRect();
  const wide = [...document.querySelectorAll("body *")].filter(element => box(element).right > window.innerWidth + 1);
  const findings = [...document.querySelectorAll(".finding")].filter(element => box(element).height > 20);
  parent.postMessage(JSON.stringify({
    error, width: window.innerWidth, findings: findings.length, text: document.body.innerText,
    wide: wide.map(element => element.tagName + "." + element.getAttribute("class")).join(" "),
  }), "*");
};
</script></body>"#;

/// A frame of some width around that copy: a browser's own window is not as narrow as a telephone.
const FRAME: &str = r#"<!DOCTYPE html><body><script>
window.onmessage = message => { document.body.dataset.seen = message.data; };
</script><iframe src="measured.html" width="WIDTH" height="900" style="border: 0"></iframe></body>"#;

fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

/// The page as the browser has it in the end.
fn open(chromium: &Path, page: &Path, width: u32) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
        .args(["--no-first-run", "--disable-background-networking", "--enable-logging=stderr", "--dump-dom"])
        // What frames tell each other has arrived then.
        .arg("--virtual-time-budget=5000")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={width},900"))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!log.contains("CONSOLE"), "{log}");
    String::from_utf8(output.stdout).unwrap()
}

fn report() -> (Lab, PathBuf, Value) {
    let lab = Lab::of("ha.toml");
    lab.faults(
        "[hosts.win02]\ndocker_version = \"1.12.1\"\n[hosts.control02]\nblocked_hosts = [\"worker01\"]\nswap = true\n\
         [hosts.win03]\nunreachable = true\n",
    );
    let page = lab.path("report.html");
    let run = lab.json(&["preflight", "--ignore", "swap", "--output-file", page.to_str().unwrap()]).exits(3);
    (lab, page, run.document())
}

/// The text as it stands in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[test]
fn the_page_shows_every_finding_and_the_failing_links_and_asks_nobody_for_anything() {
    let (_lab, page, document) = report();
    let text = std::fs::read_to_string(page).unwrap();
    for finding in document["findings"].as_array().unwrap() {
        // What stands between backticks is set as code.
        let parts = finding["detail"].as_str().unwrap().split('`');
        assert!(parts.map(escaped).all(|part| text.contains(&part)), "{finding}");
    }
    assert!(text.contains("class=\"failing\"") && text.contains("control02 to worker01 on 10250"), "{text}");
    // An address may stand in a text; nothing is fetched.
    for fetches in ["<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import"] {
        assert!(!text.contains(fetches), "{fetches}");
    }
}

#[test]
fn a_browser_shows_the_page_at_the_width_of_a_telephone_and_of_a_screen() {
    let Some(chromium) = chromium() else {
        eprintln!("skipped: there is no chromium on the PATH");
        return;
    };
    let (lab, page, document) = report();
    let text = std::fs::read_to_string(&page).unwrap();
    // The page allows no script, which is as it should be for the page.
    let text = text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'");
    let measured = lab.path("measured.html");
    std::fs::write(&measured, text.replace("</body>", MEASURE)).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let bad = findings.iter().filter(|finding| finding["severity"] != "ok").count();
    assert!(bad > 3 && findings.len() > 50, "{document:#}");
    for width in WIDTHS {
        // As it is: nothing in it makes the browser complain.
        open(&chromium, &page, width);
        let frame = lab.path("frame.html");
        std::fs::write(&frame, FRAME.replace("WIDTH", &width.to_string())).unwrap();
        let shown = open(&chromium, &frame, WIDTHS[1]);
        let seen: Value = serde_json::from_str(&attribute(&shown, "data-seen")).expect(&shown);
        assert_eq!((seen["error"].as_str(), seen["width"].as_u64()), (Some(""), Some(width.into())));
        assert_eq!(seen["wide"], "", "too wide at {width}");
        assert_eq!(seen["findings"], bad, "at {width}");
        let text = squeezed(seen["text"].as_str().unwrap());
        for finding in findings {
            for part in ["check", "detail", "remedy"].into_iter().filter_map(|key| finding[key].as_str()) {
                assert!(text.contains(&squeezed(part)), "`{part}` of {finding} at {width}: {text}");
            }
            for command in finding["commands"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                assert!(text.contains(&squeezed(command)), "`{command}` of {finding} at {width}");
            }
        }
    }
}

/// The words of a text, however they are set.
fn squeezed(text: &str) -> String {
    text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The value of an attribute of the page as the browser writes it.
fn attribute(text: &str, name: &str) -> String {
    let value = text.split_once(&format!("{name}=\"")).map_or("", |(_, rest)| rest);
    let value = value.split('"').next().unwrap_or_default();
    value.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}
