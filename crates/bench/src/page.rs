//! docs/performance.md: each benchmark's part lies between two markers and is replaced as a whole.

use std::fmt::Write as _;

use camino::Utf8Path;

use crate::plot::{self, Series};

/// What one benchmark came to, as Markdown, with its plots.
#[derive(Default)]
pub(crate) struct Results {
    text: String,
    plots: Vec<(String, String)>,
}

impl Results {
    /// The title, and the command that gives these figures again.
    pub(crate) fn heading(&mut self, title: &str, command: &str) {
        let _ = writeln!(self.text, "### {title}\n\n`{command}`\n");
    }

    /// A paragraph.
    pub(crate) fn text(&mut self, text: String) {
        let _ = writeln!(self.text, "{text}\n");
    }

    /// A line about what is not there.
    pub(crate) fn note(&mut self, text: String) {
        eprintln!("note: {text}");
        let _ = writeln!(self.text, "*{text}*\n");
    }

    /// A table.
    pub(crate) fn table(&mut self, titles: &[&str], rows: &[Vec<String>]) {
        let _ = writeln!(self.text, "| {} |\n|{}", titles.join(" | "), "---|".repeat(titles.len()));
        for row in rows {
            let _ = writeln!(self.text, "| {} |", row.join(" | "));
        }
        self.text.push('\n');
    }

    /// A plot, as a file beside the page.
    pub(crate) fn plot(&mut self, file: &str, title: &str, below: &str, series: &[Series]) {
        self.drawing(file, title, plot::svg(title, below, series));
    }

    /// A drawing, as a file beside the page.
    pub(crate) fn drawing(&mut self, file: &str, title: &str, svg: String) {
        self.plots.push((file.to_owned(), svg));
        let _ = writeln!(self.text, "![{title}](performance/{file})\n");
    }

    /// What was found, for the terminal.
    pub(crate) fn shown(&self) -> &str {
        &self.text
    }

    /// Puts the results into the page, between the markers of `name`.
    pub(crate) fn write(&self, docs: &Utf8Path, name: &str, about: &str) -> Result<(), String> {
        let told = |error: std::io::Error| format!("cannot write into {docs}: {error}");
        let page = docs.join("performance.md");
        let text = std::fs::read_to_string(&page).map_err(|error| format!("cannot read {page}: {error}"))?;
        let text = replaced(&text, name, &format!("{}{about}\n", self.text))
            .ok_or_else(|| format!("{page} has no markers for `{name}`"))?;
        std::fs::create_dir_all(docs.join("performance")).map_err(told)?;
        for (file, svg) in &self.plots {
            std::fs::write(docs.join("performance").join(file), svg).map_err(told)?;
        }
        std::fs::write(&page, text).map_err(told)
    }
}

/// The page with another part between the markers of that name.
fn replaced(page: &str, name: &str, part: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{part}\n{end}{after}"))
}

/// A number with three digits that count.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        _ if magnitude >= 100.0 => format!("{value:.0}"),
        _ if magnitude >= 10.0 => format!("{value:.1}"),
        _ if magnitude >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_between_its_markers() {
        let page = "# Page\n<!-- a: begin -->\nold\n<!-- a: end -->\n<!-- b: begin -->\nb\n<!-- b: end -->\n";
        let new = replaced(page, "a", "new\n").unwrap();
        assert!(new.contains("<!-- a: begin -->\n\nnew\n\n<!-- a: end -->\n<!-- b: begin -->\nb\n"), "{new}");
        assert_eq!(replaced(page, "c", ""), None);
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([1234.6, 45.67, 1.234, 0.0123].map(number), ["1235", "45.7", "1.23", "0.0123"]);
    }
}
