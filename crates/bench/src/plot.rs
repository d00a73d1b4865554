//! Drawings as SVG: lines, logarithmic upwards with one place for each label along; and spans of time, a row for each host.

use std::fmt::Write as _;

/// A line.
pub(crate) struct Series {
    /// Its name.
    pub(crate) name: String,
    /// Label and value, from left to right.
    pub(crate) points: Vec<(String, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Distinguishable also without colours in print (Okabe and Ito's palette).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9", "#f0e442"];

/// A row of spans.
#[derive(Default)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: String,
    /// In the order of their ends.
    pub(crate) spans: Vec<Span>,
}

/// A span of time.
pub(crate) struct Span {
    /// What it was spent on.
    pub(crate) what: String,
    /// Seconds.
    pub(crate) begin: f64,
    /// Seconds.
    pub(crate) end: f64,
}

/// The height of a row.
const ROW: f64 = 26.0;

/// Draws spans of time, one colour for each thing that time was spent on, which are named beside them.
pub(crate) fn spans(title: &str, rows: &[Row]) -> String {
    let mut whats: Vec<&str> = Vec::new();
    for span in rows.iter().flat_map(|row| &row.spans) {
        if !whats.contains(&span.what.as_str()) {
            whats.push(&span.what);
        }
    }
    let last = rows.iter().flat_map(|row| &row.spans).map(|span| span.end).fold(1.0, f64::max);
    let x = |seconds: f64| LEFT + (WIDTH - LEFT - RIGHT) * seconds / last;
    let lines = rows.len().max(whats.len()) as f64;
    let height = TOP + ROW * lines + BOTTOM;
    let mut svg = frame(title, height);
    // Writing into a String cannot fail.
    for tenth in 0..=5 {
        let seconds = last * f64::from(tenth) / 5.0;
        let (at, bottom) = (x(seconds), TOP + ROW * lines);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom:.0}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{seconds:.0}</text>",
            bottom + 18.0
        );
    }
    let colour = |what: &str| {
        let number = whats.iter().position(|known| *known == what).unwrap_or(0);
        // Those beyond the palette are paler.
        (COLOURS[number % COLOURS.len()], if number < COLOURS.len() { 1.0 } else { 0.45 })
    };
    for (number, row) in rows.iter().enumerate() {
        let top = TOP + ROW * number as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            top + ROW * 0.65,
            escaped(&row.name)
        );
        for span in &row.spans {
            let (colour, opacity) = colour(&span.what);
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.0}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{colour}\" fill-opacity=\"{opacity}\"><title>{}: {:.1} s</title></rect>",
                x(span.begin),
                top + 4.0,
                (x(span.end) - x(span.begin)).max(0.5),
                ROW - 8.0,
                escaped(&span.what),
                span.end - span.begin
            );
        }
    }
    for (number, what) in whats.iter().enumerate() {
        let (left, top) = (WIDTH - RIGHT + 24.0, TOP + ROW * number as f64);
        let (colour, opacity) = colour(what);
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.0}\" y=\"{:.0}\" width=\"14\" height=\"14\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/><text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            top + 6.0,
            left + 22.0,
            top + 18.0,
            escaped(what)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The beginning of a drawing.
fn frame(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>\n",
        escaped(title)
    )
}

/// Draws the lines.
pub(crate) fn svg(title: &str, below: &str, series: &[Series]) -> String {
    let mut labels: Vec<&str> = Vec::new();
    for (label, _) in series.iter().flat_map(|series| &series.points) {
        if !labels.contains(&label.as_str()) {
            labels.push(label);
        }
    }
    labels.sort_by_key(|label| label.parse::<u64>().unwrap_or(u64::MAX));
    let values = || series.iter().flat_map(|series| &series.points).map(|(_, value)| value.max(1e-9).log10());
    let low = values().fold(f64::INFINITY, f64::min).floor();
    let high = values().fold(f64::NEG_INFINITY, f64::max).ceil().max(low + 1.0);
    let (low, high) = if low.is_finite() { (low, high) } else { (0.0, 1.0) };
    let x = |at: usize| LEFT + (WIDTH - LEFT - RIGHT) * (at as f64 + 0.5) / labels.len().max(1) as f64;
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - value.max(1e-9).log10()) / (high - low);
    let mut svg = frame(title, HEIGHT);
    // Writing into a String cannot fail.
    let mut decade = low;
    while decade <= high {
        let (at, value) = (y(10_f64.powf(decade)), 10_f64.powf(decade));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
        decade += 1.0;
    }
    for (at, label) in labels.iter().enumerate() {
        let (at, line) = (x(at), HEIGHT - BOTTOM + 18.0);
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{line:.0}\" text-anchor=\"middle\">{}</text>", escaped(label));
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 10.0,
        escaped(below)
    );
    for (number, (series, colour)) in series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let place = |label: &str| labels.iter().position(|known| *known == label).map_or(LEFT, &x);
        let points: Vec<_> = series.points.iter().map(|(label, value)| (place(label), y(*value))).collect();
        let line: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let (x, y) = (WIDTH - RIGHT + 14.0, TOP + 18.0 * number as f64);
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.0}\" cy=\"{y:.0}\" r=\"4\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            x + 10.0,
            y + 4.0,
            escaped(&series.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_and_label_is_drawn() {
        let points =
            |values: &[(&str, f64)]| values.iter().map(|(label, value)| ((*label).to_owned(), *value)).collect();
        let series = [
            Series { name: "a & b".into(), points: points(&[("3", 0.5), ("1000", 20.0)]) },
            Series { name: "c".into(), points: points(&[("10", 1.0)]) },
        ];
        let svg = svg("title", "hosts", &series);
        for part in ["a &amp; b", ">3<", ">10<", ">1000<", "hosts", "title"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        // Along by number, whatever the order of the series.
        assert!(svg.find(">10<") < svg.find(">1000<"));
    }

    #[test]
    fn every_span_is_drawn_and_named() {
        let span = |what: &str, begin, end| Span { what: what.into(), begin, end };
        let rows = [
            Row { name: "lin01".into(), spans: vec![span("files", 1.0, 2.0), span("verify", 2.0, 5.0)] },
            Row { name: "win01".into(), spans: vec![span("files", 1.0, 1.5)] },
        ];
        let svg = spans("title", &rows);
        assert_eq!(svg.matches("<title>").count(), 3);
        for part in ["lin01", "win01", ">files<", ">verify<", "files: 0.5 s", ">5<"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
    }

    #[test]
    fn nothing_is_a_plot_too() {
        assert!(!svg("t", "b", &[]).contains("NaN") && !spans("t", &[]).contains("NaN"));
    }
}
