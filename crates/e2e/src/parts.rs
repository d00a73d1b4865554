//! The parts of a test with their times, told as they end and once more as a table.

use std::time::{Duration, Instant};

use crate::error::Error;

/// What was done so far.
#[derive(Debug)]
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
    /// With parts that others have done, and their seconds.
    pub(crate) fn begun_with(before: &[(String, f64)]) -> Self {
        let part = |(name, seconds): &(String, f64)| Part {
            name: name.clone(),
            time: Duration::try_from_secs_f64(*seconds).unwrap_or_default(),
            result: String::new(),
        };
        Self { done: before.iter().map(part).collect() }
    }

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
        let mut parts = Parts::begun_with(&[("build".to_owned(), 90.0)]);
        assert_eq!(parts.part("up", || Ok((7, "changed 5".to_owned()))).unwrap(), 7);
        parts.part("a longer name", || Err::<((), String), _>(Error::Interrupted)).unwrap_err();
        let table = parts.table();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "build             90.0 s");
        assert!(lines[1].starts_with("up             ") && lines[1].ends_with(" s  changed 5"), "{table}");
        assert!(lines[2].starts_with("a longer name  ") && lines[2].ends_with("FAILED"), "{table}");
        assert!(lines[3].starts_with("total ") && lines[3].contains("90.") && lines[3].ends_with(" s"), "{table}");
    }
}
