//! The parts of a test with their times, told as they end and once more as a table.

use std::time::{Duration, Instant};

use crate::error::Error;

/// What was done so far.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    done: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: String,
    time: Duration,
    result: String,
}

impl Parts {
    /// Does one part and tells what it came to.
    pub(crate) fn part<T>(
        &mut self,
        name: impl Into<String>,
        work: impl FnOnce() -> Result<(T, String), Error>,
    ) -> Result<T, Error> {
        let name = name.into();
        let begun = Instant::now();
        println!("== {name}");
        let result = work();
        let time = begun.elapsed();
        let told = match &result {
            Ok((_, told)) => told.clone(),
            Err(_) => "FAILED".to_owned(),
        };
        println!("   {told} ({:.1} s)", time.as_secs_f64());
        self.done.push(Part { name, time, result: told });
        result.map(|(value, _)| value)
    }

    /// All parts as a table.
    pub(crate) fn table(&self) -> String {
        let width = self.done.iter().map(|part| part.name.chars().count()).max().unwrap_or_default();
        let total: Duration = self.done.iter().map(|part| part.time).sum();
        let lines = self.done.iter().map(|part| (part.name.as_str(), part.time, part.result.as_str()));
        lines
            .chain([("total", total, "")])
            .map(|(name, time, result)| {
                format!("{name:width$}  {:>7.1} s  {result}", time.as_secs_f64()).trim_end().to_owned() + "\n"
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_every_part_also_the_failed_one() {
        let mut parts = Parts::default();
        assert_eq!(parts.part("up", || Ok((7, "changed 5".to_owned()))).unwrap(), 7);
        parts.part("a longer name", || Err::<((), String), _>(Error::Interrupted)).unwrap_err();
        let table = parts.table();
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[0].starts_with("up             ") && lines[0].ends_with(" s  changed 5"), "{table}");
        assert!(lines[1].starts_with("a longer name  ") && lines[1].ends_with("FAILED"), "{table}");
        assert!(lines[2].starts_with("total ") && lines[2].ends_with(" s"), "{table}");
    }
}
