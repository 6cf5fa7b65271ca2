//! `netengine plan`, and `up --dry-run`.

use netengine_proto::api::{PlanReport, UpRequest};

use super::count;
use crate::{
    client::Client,
    failure::Failure,
    table::{Table, Tint},
    ui::Ui,
};

/// Exit code of a plan that holds changes.
const CHANGES: u8 = 5;

/// Shows what `up` would do.
///
/// # Errors
/// The daemon's problem.
pub async fn run(ui: &Ui, client: &Client, request: &UpRequest) -> Result<u8, Failure> {
    let report: PlanReport = client.post("/plan", request).await?;
    if ui.json {
        ui.print_json(&report)?;
    } else {
        ui.print(&render(&report, ui.color))?;
    }
    Ok(if report.changes.is_empty() { 0 } else { CHANGES })
}

fn render(report: &PlanReport, color: bool) -> String {
    let world = crate::escape::line(&report.world);
    if report.changes.is_empty() {
        return format!("world {world}: no changes\n");
    }
    let mut table = Table::new(&["PHASE", "ACTION", "KIND", "OBJECT"]);
    for change in &report.changes {
        let tint = match change.action.as_str() {
            "create" => Tint::Good,
            "delete" => Tint::Bad,
            _ => Tint::Busy,
        };
        let phase = change.phase.to_string();
        let plain = Tint::Plain;
        table.tinted([(&phase, plain), (&change.action, tint), (&change.kind, plain), (&change.object, plain)]);
    }
    let state = if report.exists { "" } else { " (new)" };
    format!("{}world {world}{state}: {}\n", table.render(color), count(report.changes.len(), "change"))
}

#[cfg(test)]
mod tests {
    use netengine_proto::api::PlannedChange;

    use super::*;

    #[test]
    fn changes_are_listed_in_order() {
        let change = |action: &str, kind: &str, object: &str| PlannedChange {
            phase: 0,
            action: action.into(),
            kind: kind.into(),
            object: object.into(),
        };
        let mut report = PlanReport {
            world: "blue".into(),
            exists: false,
            changes: vec![change("create", "namespace", "gw"), change("delete", "link", "gw nep0\u{7}")],
        };
        assert_eq!(
            render(&report, false),
            "PHASE  ACTION  KIND       OBJECT\n\
             0      create  namespace  gw\n\
             0      delete  link       gw nep0\\x07\n\
             world blue (new): 2 changes\n"
        );
        report.changes.clear();
        assert_eq!(render(&report, false), "world blue: no changes\n");
    }
}
