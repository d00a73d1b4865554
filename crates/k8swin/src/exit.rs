//! Exit codes: a contract with scripts (README).

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked is done.
    Done,
    /// It is not.
    Failed,
    /// The command line or the inventory is not valid.
    Usage,
    /// Preflight found errors.
    Preflight,
    /// Some hosts failed, the others are done.
    SomeHosts,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Preflight => 3,
            Self::SomeHosts => 4,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_readme() {
        let exits = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Preflight, Exit::SomeHosts, Exit::Interrupted];
        assert_eq!(exits.map(Exit::code), [0, 1, 2, 3, 4, 130]);
    }
}
