//! The times of what is built before the test.

use std::time::Instant;

/// What was built, and how long it took in seconds.
#[derive(Default)]
pub(crate) struct Parts {
    done: Vec<(&'static str, f64)>,
}

impl Parts {
    /// Does one part.
    pub(crate) fn part<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        println!("== {name}");
        let begun = Instant::now();
        let result = work()?;
        self.done.push((name, begun.elapsed().as_secs_f64()));
        Ok(result)
    }

    /// All parts.
    pub(crate) fn done(&self) -> &[(&'static str, f64)] {
        &self.done
    }
}
