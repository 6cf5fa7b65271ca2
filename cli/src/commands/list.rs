//! `netengine list`.

use netengine_proto::api::WorldSummary;

use crate::{
    client::Client,
    failure::Failure,
    table::{Table, Tint},
    ui::Ui,
};

/// Lists the worlds of the caller; with `--admin`, of everybody or of `--owner`.
///
/// # Errors
/// The daemon's problem.
pub async fn run(ui: &Ui, client: &Client) -> Result<u8, Failure> {
    let worlds: Vec<WorldSummary> = client.get("/worlds", &[]).await?;
    if ui.json {
        ui.print_json(&worlds)?;
    } else if worlds.is_empty() {
        ui.remark("no worlds");
    } else {
        ui.print(&render(&worlds, ui.color))?;
    }
    Ok(0)
}

fn render(worlds: &[WorldSummary], color: bool) -> String {
    let mut table = Table::new(&["WORLD", "OWNER", "STATE", "NETWORKS", "SINCE"]);
    for world in worlds {
        let state = world.state.as_str();
        table.tinted([
            (&world.world, Tint::Plain),
            (&world.owner, Tint::Plain),
            (state, Tint::of_state(state)),
            (&world.networks.to_string(), Tint::Plain),
            (world.started_at.as_deref().unwrap_or_default(), Tint::Plain),
        ]);
    }
    table.render(color)
}

#[cfg(test)]
mod tests {
    use netengine_proto::api::WorldState;

    use super::*;

    #[test]
    fn one_line_per_world() {
        let world = |name: &str, state, started_at: Option<&str>| WorldSummary {
            world: name.into(),
            owner: "alice".into(),
            state,
            networks: 2,
            started_at: started_at.map(Into::into),
        };
        let worlds =
            [world("blue", WorldState::Ready, Some("2026-01-02T03:04:05Z")), world("green", WorldState::Failed, None)];
        assert_eq!(
            render(&worlds, false),
            "WORLD  OWNER  STATE   NETWORKS  SINCE\n\
             blue   alice  ready   2         2026-01-02T03:04:05Z\n\
             green  alice  failed  2\n"
        );
    }
}
