//! `completions` and `man`: made from the same arguments that are parsed.

use camino::Utf8Path;
use clap::CommandFactory as _;

use crate::arguments::{Cli, Completions, Man};
use crate::failure::Failure;
use crate::report::Report;

/// Completions for a shell.
pub(crate) fn completions(arguments: &Completions) -> Report {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "k8swin", &mut text);
    Report::Text(text)
}

/// The main manual page, or all pages in a folder.
pub(crate) fn pages(arguments: &Man) -> Result<Report, Failure> {
    match &arguments.out {
        None => {
            let mut text = Vec::new();
            let page = clap_mangen::Man::new(Cli::command());
            page.render(&mut text).map_err(|error| Failure::failed(format!("cannot make the manual page: {error}")))?;
            Ok(Report::Text(text))
        }
        Some(folder) => {
            write_all(folder).map_err(Failure::io("write the manual pages into", folder))?;
            Ok(Report::Written { path: folder.clone(), text: format!("the manual pages are in {folder}") })
        }
    }
}

fn write_all(folder: &Utf8Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn completions_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let Report::Text(text) = completions(&Completions { shell }) else { panic!() };
            assert!(String::from_utf8(text).unwrap().contains("rehearse"), "{shell}");
        }
    }

    #[test]
    fn there_is_a_page_for_each_command() {
        let folder = tempfile::tempdir().unwrap();
        let out = Utf8Path::from_path(folder.path()).unwrap();
        pages(&Man { out: Some(out.to_owned()) }).unwrap();
        let page = std::fs::read_to_string(out.join("k8swin-up.1")).unwrap();
        assert!(page.contains("k8swin up inventory.toml"), "{page}");
    }
}
