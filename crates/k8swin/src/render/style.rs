//! Colours, and whether there are any.

/// The colours of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    enabled: bool,
}

impl Palette {
    /// With or without colours.
    pub(crate) fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    /// Whether there are colours.
    pub(crate) fn is_enabled(self) -> bool {
        self.enabled
    }

    /// For what is wrong.
    pub(crate) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// For what may become wrong.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// For what is right.
    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// For what helps.
    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// For headings.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.enabled { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A number with its noun: `1 host`, `2 hosts`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The lines after the first are moved to the right.
pub(crate) fn indented(text: &str, by: usize) -> String {
    text.trim_end().replace('\n', &format!("\n{:by$}", ""))
}

/// A duration as people say it.
pub(crate) fn duration(duration: std::time::Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// A size as people say it.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_are_said_as_people_say_them() {
        assert_eq!((count(1, "host"), count(0, "host")), ("1 host".into(), "0 hosts".into()));
        assert_eq!(duration(Duration::from_millis(3_240)), "3.2 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 05 s");
        assert_eq!([999, 45_000, 113_250_000].map(size), ["999 bytes", "45 kB", "113.2 MB"]);
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        assert_eq!(Palette::new(false).red("error"), "error");
        assert_eq!(Palette::new(true).red("error"), "\u{1b}[1;31merror\u{1b}[0m");
    }
}
