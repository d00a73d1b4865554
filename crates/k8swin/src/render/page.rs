//! The report of `preflight` as one HTML page: no script, nothing from elsewhere, so that it can be sent to anybody.

use std::fmt::Write as _;

use k8swin_orchestrator::report::{Finding, Link, Preflight, Severity};
use k8swin_protocol::probe::Outcome;

use crate::render::drawing::{drawing, escaped};
use crate::render::findings::{counts, hosts, next_step};
use crate::render::style::{count, duration};

const STYLE: &str = include_str!("page.css");

/// The page.
pub(crate) fn page(preflight: &Preflight) -> String {
    let findings = &preflight.findings;
    let (title, worst) = (format!("Preflight of {}", preflight.cluster), class_of_worst(findings));
    let mut page = String::new();
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{0}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{0}</h1>\n\
         <p class=\"counts {worst}\">{1}</p>\n<p>{2}</p>\n<p class=\"dim\">{3} in {4}</p>\n</header>\n<main>\n",
        escaped(&title),
        escaped(&counts(findings)),
        marked(&next_step(findings)),
        count(preflight.hosts.len(), "host"),
        duration(preflight.duration),
    );
    page.push_str("<section>\n<h2>Findings</h2>\n");
    for (host, findings) in hosts(findings) {
        write_host(&mut page, host, &findings);
    }
    let _ = write!(
        page,
        "</section>\n<section>\n<h2>Network</h2>\n<figure>\n{}\n</figure>\n",
        drawing(&preflight.hosts, &preflight.links)
    );
    write_links(&mut page, &preflight.links);
    page.push_str("</section>\n</main>\n</body>\n</html>\n");
    page
}

/// Text in which what stands between backticks is set as code.
fn marked(text: &str) -> String {
    let mut marked = String::new();
    let mut parts = text.split('`').peekable();
    let mut is_code = false;
    while let Some(part) = parts.next() {
        let part = escaped(part);
        match (is_code, parts.peek()) {
            (true, Some(_)) => {
                let _ = write!(marked, "<code>{part}</code>");
            }
            // The last one has no partner, and stands for itself.
            (true, None) => {
                let _ = write!(marked, "`{part}");
            }
            (false, _) => marked.push_str(&part),
        }
        is_code = !is_code;
    }
    marked
}

fn class_of_worst(findings: &[Finding]) -> &'static str {
    let worst = findings.iter().filter(|finding| !finding.ignored).map(|finding| finding.severity).max();
    worst.map_or("ok", class_of)
}

fn class_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn write_host(page: &mut String, host: &str, findings: &[&Finding]) {
    let (fine, others): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|finding| finding.severity == Severity::Ok);
    let _ = writeln!(page, "<article>\n<h3>{}</h3>", escaped(host));
    for finding in others {
        write_finding(page, finding);
    }
    if !fine.is_empty() {
        let _ = writeln!(page, "<details>\n<summary>{} as expected</summary>\n<dl>", count(fine.len(), "check"));
        for finding in fine {
            let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", finding.check, marked(&finding.detail));
        }
        page.push_str("</dl>\n</details>\n");
    }
    page.push_str("</article>\n");
}

fn write_finding(page: &mut String, finding: &Finding) {
    let (class, label) = match finding.severity {
        _ if finding.ignored => ("ignored", "ignored"),
        severity => (class_of(severity), class_of(severity)),
    };
    let _ = writeln!(
        page,
        "<div class=\"finding {class}\">\n<p><strong class=\"label\">{label}</strong> <code>{}</code> {}</p>",
        finding.check,
        marked(&finding.detail)
    );
    for (name, text) in [("Expected", finding.expected), ("Why", finding.why)] {
        if let Some(text) = text {
            let _ = writeln!(page, "<p class=\"dim\">{name}: {}</p>", marked(text));
        }
    }
    if let Some(remedy) = &finding.remedy {
        let colon = if finding.commands.is_empty() { "" } else { ":" };
        let _ = writeln!(page, "<p>Remedy: {}{colon}</p>", marked(remedy));
    }
    if !finding.commands.is_empty() {
        let _ = writeln!(page, "<pre>{}</pre>", escaped(&finding.commands.join("\n")));
    }
    page.push_str("</div>\n");
}

fn write_links(page: &mut String, links: &[Link]) {
    let failing: Vec<_> = links.iter().filter(|link| !link.works()).collect();
    let _ = writeln!(
        page,
        "<p>{} between hosts were tried, {} failed.</p>",
        count(links.len(), "connection"),
        failing.len()
    );
    if failing.is_empty() {
        return;
    }
    page.push_str("<ul class=\"links\">\n");
    for Link { from, to, port, purpose, outcome } in failing {
        let what = match outcome {
            Outcome::Answered { .. } => "answered",
            Outcome::Refused => "refused",
            Outcome::Silent => "no answer",
            Outcome::Stalled => "large packets are lost",
            Outcome::Stranger => "something else answered",
            Outcome::Failed { answer } => answer,
        };
        let _ =
            writeln!(page, "<li>{} → {}, port {port} ({purpose}): {}</li>", escaped(from), escaped(to), escaped(what));
    }
    page.push_str("</ul>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn a_page() {
        insta::assert_snapshot!(page(&samples::preflight()).replace(STYLE, "…"));
    }

    #[test]
    fn words_between_backticks_are_code_and_stand_for_themselves() {
        assert_eq!(marked("run `a <b>` and `c`, <d>"), "run <code>a &lt;b&gt;</code> and <code>c</code>, &lt;d&gt;");
        assert_eq!(marked("it's 5` long"), "it's 5` long");
        assert_eq!(marked("`a` b`c"), "<code>a</code> b`c");
    }

    #[test]
    fn every_finding_is_shown_and_nothing_comes_from_elsewhere() {
        let preflight = samples::preflight();
        let page = page(&preflight);
        for finding in &preflight.findings {
            assert!(page.contains(&marked(&finding.detail)), "{}", finding.detail);
        }
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
