//! `netengine down`.

use std::io::{BufRead, IsTerminal, Write};

use netengine_proto::api::{Accepted, ProblemKind, Removal};

use super::{count, duration};
use crate::{client::Client, escape, failure::Failure, operation, table::Table, ui::Ui};

/// What was asked for.
pub struct Options {
    /// The world.
    pub world: Option<String>,
    /// Only list.
    pub dry_run: bool,
    /// Do not ask.
    pub yes: bool,
    /// The world's name once more.
    pub confirm: Option<String>,
}

/// Removes a world.
///
/// Asks on a terminal. Elsewhere a world that was not named needs `--yes`, so that a script never removes what it did
/// not name.
///
/// # Errors
/// Class `confirmation` when a confirmation is missing or wrong; the operation's or the daemon's problem.
pub async fn run(ui: &Ui, client: &Client, options: &Options) -> Result<u8, Failure> {
    let world = client.world(options.world.as_deref()).await?;
    let path = format!("/worlds/{world}");
    let removal: Removal = client.get(&format!("{path}/removal"), &[]).await?;
    if options.dry_run {
        if ui.json {
            ui.print_json(&removal)?;
        } else {
            ui.print(&render(&removal, ui.color))?;
        }
        return Ok(0);
    }
    confirm(ui, &removal, options)?;
    let query = options.confirm.as_deref().map(|name| ("confirm", name));
    let title = format!("remove world \"{world}\"");
    let begin = client.delete::<Accepted>(&path, query.as_slice());
    let done = operation::run(ui, client, &title, begin).await?;
    if ui.json {
        ui.print_json(&done)?;
    } else {
        let removed = count(removal.objects.len(), "object");
        ui.print(&format!("world {world} is gone: {removed} removed, {}\n", duration(done.millis)))?;
    }
    Ok(0)
}

fn confirm(ui: &Ui, removal: &Removal, options: &Options) -> Result<(), Failure> {
    let world = &removal.world;
    let refuse = |cause: &str, help: String| {
        Err(Failure::new(ProblemKind::Confirmation, format!("cannot remove world \"{world}\""), cause, help))
    };
    match &options.confirm {
        Some(name) if name == world => return Ok(()),
        Some(_) => return refuse("--confirm names another world", format!("give `--confirm {world}`")),
        None if removal.needs_confirmation => {
            return refuse("it is persistent: its data would be lost", format!("give `--confirm {world}`"));
        }
        None => {}
    }
    if options.yes {
        return Ok(());
    }
    let can_ask = !ui.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !can_ask {
        return match options.world {
            Some(_) => Ok(()),
            None => refuse("no world was named", format!("name it, or give --yes to remove \"{world}\"")),
        };
    }
    if ask(removal) { Ok(()) } else { refuse("you did not say yes", "nothing was changed".into()) }
}

fn ask(removal: &Removal) -> bool {
    let objects = count(removal.objects.len(), "object");
    // When the question cannot be shown, no answer comes, which is a no.
    let _ = write!(std::io::stderr(), "Remove world {} with {objects}? [y/N] ", escape::line(&removal.world));
    let mut answer = String::new();
    let is_read = std::io::stdin().lock().read_line(&mut answer).is_ok();
    is_read && matches!(answer.trim(), "y" | "Y" | "yes" | "Yes")
}

fn render(removal: &Removal, color: bool) -> String {
    let mut table = Table::new(&["KIND", "OBJECT"]);
    for object in &removal.objects {
        table.row([&object.kind, &object.object]);
    }
    let world = escape::line(&removal.world);
    let note =
        if removal.needs_confirmation { format!(" (persistent: needs --confirm {world})") } else { String::new() };
    format!("{}world {world}: {} would be removed{note}\n", table.render(color), count(removal.objects.len(), "object"))
}

#[cfg(test)]
mod tests {
    use netengine_proto::api::RemovedObject;

    use super::*;

    fn removal(needs_confirmation: bool) -> Removal {
        let object = |kind: &str, object: &str| RemovedObject { kind: kind.into(), object: object.into() };
        let objects = vec![object("process", "worldd"), object("namespace", "svc")];
        Removal { world: "blue".into(), needs_confirmation, objects }
    }

    #[test]
    fn a_dry_run_lists_exactly_what_goes() {
        assert_eq!(
            render(&removal(true), false),
            "KIND       OBJECT\n\
             process    worldd\n\
             namespace  svc\n\
             world blue: 2 objects would be removed (persistent: needs --confirm blue)\n"
        );
    }

    #[test]
    fn confirmations_are_checked_before_anything_is_asked_of_the_daemon() {
        let ui = Ui { json: true, quiet: true, color: false, live: false };
        let options = |world: Option<&str>, yes, confirm: Option<&str>| Options {
            world: world.map(Into::into),
            dry_run: false,
            yes,
            confirm: confirm.map(Into::into),
        };
        let code = |removal: &Removal, options: Options| confirm(&ui, removal, &options).map_err(|f| f.exit_code());
        assert_eq!(code(&removal(false), options(Some("blue"), false, None)), Ok(()));
        assert_eq!(code(&removal(false), options(None, false, None)), Err(3));
        assert_eq!(code(&removal(false), options(None, true, None)), Ok(()));
        assert_eq!(code(&removal(false), options(Some("blue"), true, Some("green"))), Err(3));
        assert_eq!(code(&removal(true), options(Some("blue"), true, None)), Err(3));
        assert_eq!(code(&removal(true), options(None, false, Some("blue"))), Ok(()));
    }
}
