//! `netengine drift`: what others changed in a world.

use netengine_proto::api::{DriftRecord, DriftReport, Event, PlannedChange};

use super::{count, duration, events};
use crate::{
    client::Client,
    escape,
    failure::Failure,
    table::{Table, Tint},
    ui::Ui,
};

/// Events that tell of drift.
const KINDS: [&str; 4] = ["network.drifted", "network.restored", "process.ended", "world.degraded"];

/// Shows what was noticed and what differs now; with `follow` what is noticed from then on, for ever.
///
/// # Errors
/// The daemon's problem.
pub async fn run(ui: &Ui, client: &Client, world: Option<&str>, follow: bool) -> Result<u8, Failure> {
    let world = client.world(world).await?;
    // Asked first: what is noticed between the report and the stream is in the stream.
    let last = if follow { newest(client, world.as_str()).await? } else { 0 };
    let report: DriftReport = client.get(&format!("/worlds/{world}/drift"), &[]).await?;
    match (ui.json, follow) {
        (true, true) => ui.print_json_line(&report)?,
        (true, false) => ui.print_json(&report)?,
        (false, _) => ui.print(&render(&report, ui.color))?,
    }
    if follow {
        let meant = |event: &Event| KINDS.contains(&event.kind.as_str());
        return events::follow_on(ui, client, world.as_str(), last, &meant).await;
    }
    Ok(if report.now.is_empty() { 0 } else { 1 })
}

/// The place of the newest event.
async fn newest(client: &Client, world: &str) -> Result<i64, Failure> {
    let mut last = 0;
    loop {
        let page: Vec<Event> = client.get("/events", &[("world", world), ("after", &last.to_string())]).await?;
        match page.iter().map(|event| event.seq).max() {
            Some(newest) if newest > last => last = newest,
            _ => return Ok(last),
        }
    }
}

fn render(report: &DriftReport, color: bool) -> String {
    let mut text = String::new();
    if !report.history.is_empty() {
        let mut table = Table::new(&["NOTICED", "BY", "HEALED", "TRIES", "WHAT"]);
        for record in &report.history {
            let healed = match (&record.healed_at, record.millis) {
                (Some(_), Some(millis)) => format!("after {}", duration(millis)),
                (Some(at), None) => at.clone(),
                (None, _) => "no".to_owned(),
            };
            let tint = if record.healed_at.is_some() { Tint::Plain } else { Tint::Bad };
            let (tries, what) = (record.tries.to_string(), what(record));
            table.tinted([
                (&record.noticed_at, Tint::Plain),
                (&record.noticed_by, Tint::Dim),
                (&healed, tint),
                (&tries, Tint::Plain),
                (&what, Tint::Plain),
            ]);
        }
        text.push_str(&table.render(color));
    }
    for change in &report.now {
        text.push_str(&format!("{}  {}\n", Tint::Bad.paint("differs now", color), escape::line(&one(change))));
    }
    let world = escape::line(&report.world);
    let healing = if report.heals { "" } else { "; it is not put right (--no-heal)" };
    text.push_str(&match report.now.len() {
        0 => format!("world {world} is as it should be{healing}\n"),
        differing => format!("world {world}: {} now{healing}\n", count(differing, "difference")),
    });
    text
}

/// The first difference of a record, and how many there were.
fn what(record: &DriftRecord) -> String {
    let Some(first) = record.changes.first() else { return String::new() };
    let others = record.more.saturating_add(u64::try_from(record.changes.len() - 1).unwrap_or(u64::MAX));
    let more = if others > 0 { format!(" and {others} more") } else { String::new() };
    format!("{}{more}", one(first))
}

/// A difference from the kernel's side: what a repair creates was missing.
fn one(change: &PlannedChange) -> String {
    let how = match change.action.as_str() {
        "create" => "missing",
        "delete" => "not in the plan",
        _ => "changed",
    };
    format!("{} {}: {how}", change.kind, change.object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: &str, kind: &str, object: &str) -> PlannedChange {
        PlannedChange { phase: 0, action: action.into(), kind: kind.into(), object: object.into() }
    }

    fn record(healed: Option<u64>) -> DriftRecord {
        DriftRecord {
            noticed_at: "2026-01-02T03:04:05.678Z".into(),
            noticed_by: "kernel".into(),
            changes: vec![change("create", "table", "gw policy"), change("delete", "link", "gw x")],
            more: 1,
            tries: 1,
            healed_at: healed.map(|_| "2026-01-02T03:04:05.719Z".into()),
            millis: healed,
        }
    }

    #[test]
    fn history_and_what_differs_now_are_told_apart() {
        let mut report = DriftReport {
            world: "blue".into(),
            heals: true,
            now: vec![change("change", "link", "gw nep0\u{1b}")],
            history: vec![record(None), record(Some(41))],
        };
        assert_eq!(
            render(&report, false),
            "NOTICED                   BY      HEALED       TRIES  WHAT\n\
             2026-01-02T03:04:05.678Z  kernel  no           1      table gw policy: missing and 2 more\n\
             2026-01-02T03:04:05.678Z  kernel  after 41 ms  1      table gw policy: missing and 2 more\n\
             differs now  link gw nep0\\x1b: changed\n\
             world blue: 1 difference now\n"
        );
        (report.now, report.history, report.heals) = (vec![], vec![], false);
        assert_eq!(render(&report, false), "world blue is as it should be; it is not put right (--no-heal)\n");
    }
}
