//! `netengine man`.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;
use netengine_proto::api::ProblemKind;
use serde_json::json;

use crate::{args::Cli, failure::Failure, ui::Ui};

/// Prints the main page, or writes `netengine.1` and one page per command into a directory.
///
/// # Errors
/// Class `failed` when a page cannot be written.
pub fn run(ui: &Ui, dir: Option<&Path>) -> Result<u8, Failure> {
    let pages = pages().map_err(|error| cannot("make the man pages", &error))?;
    let Some(dir) = dir else {
        let (name, page) = &pages[0];
        let page = String::from_utf8_lossy(page);
        if ui.json {
            ui.print_json(&json!({ "name": name, "page": page }))?;
        } else {
            ui.print(&page)?;
        }
        return Ok(0);
    };
    for (name, page) in &pages {
        let path = dir.join(name);
        std::fs::write(&path, page).map_err(|error| cannot(&format!("write {}", path.display()), &error))?;
    }
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    if ui.json {
        ui.print_json(&json!({ "pages": names }))?;
    } else {
        ui.remark(&format!("wrote {} pages to {}", names.len(), dir.display()));
    }
    Ok(0)
}

/// File name and text of each page, the main page first.
fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut main = Cli::command();
    main.build();
    let mut pages = Vec::new();
    add_pages(&main, &mut pages)?;
    Ok(pages)
}

/// Adds the page of a command and those of its commands.
fn add_pages(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    pages.push((man.get_filename(), page));
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| add_pages(below, pages))
}

fn cannot(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(ProblemKind::Failed, format!("cannot {what}"), error, "give an existing directory you may write to")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().expect("renders");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "netengine.1");
        for command in ["up", "plan", "down", "status", "list", "validate", "doctor", "exec", "events", "logs", "init"]
            .into_iter()
            .chain(["pki", "pki-list", "pki-show", "pki-root", "credentials", "diagnose", "drift", "prove", "test"])
        {
            assert!(names.contains(&format!("netengine-{command}.1").as_str()), "{command} in {names:?}");
        }
        assert!(pages.iter().all(|(_, page)| page.starts_with(b".ie") || page.starts_with(b".TH")));
    }
}
