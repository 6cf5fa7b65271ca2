//! `netengine events`.

use std::time::{Duration, Instant};

use netengine_proto::api::{Event, ProblemKind, WorldStatus};

use crate::{
    client::{Client, EventStream},
    escape,
    failure::Failure,
    progress,
    ui::Ui,
};

/// Streams that may end without an event, one after the other, before the daemon counts as gone.
const FRUITLESS_STREAMS: u32 = 5;
/// A stream that lasted this long was a good one, even when nothing happened.
const FRUITFUL_TIME: Duration = Duration::from_secs(1);

/// Shows events, oldest first; with `follow` for ever.
///
/// # Errors
/// The daemon's problem.
pub async fn run(ui: &Ui, client: &Client, world: Option<&str>, follow: bool, after: i64) -> Result<u8, Failure> {
    let world = client.world(world).await?;
    if follow {
        return follow_on(ui, client, world.as_str(), after, &|_| true).await;
    }
    let mut events: Vec<Event> = Vec::new();
    let mut cursor = after;
    loop {
        // The daemon gives a page at a time; an empty one is the end.
        let page: Vec<Event> =
            client.get("/events", &[("world", world.as_str()), ("after", &cursor.to_string())]).await?;
        match page.iter().map(|event| event.seq).max() {
            Some(last) if last > cursor => cursor = last,
            _ => break,
        }
        events.extend(page);
    }
    if events.is_empty() {
        // A world that was removed has events; one that never was is said so, as by every other command.
        let _: WorldStatus = client.get(&format!("/worlds/{world}"), &[]).await?;
    }
    if ui.json {
        ui.print_json(&events)?;
    } else {
        ui.print(&events.iter().map(|event| line(event, ui.color)).collect::<String>())?;
    }
    Ok(0)
}

/// Shows those events that are `meant` as they come, for ever.
///
/// # Errors
/// The daemon's problem.
pub async fn follow_on(
    ui: &Ui,
    client: &Client,
    world: &str,
    mut after: i64,
    meant: &dyn Fn(&Event) -> bool,
) -> Result<u8, Failure> {
    let mut fruitless = 0;
    while fruitless < FRUITLESS_STREAMS {
        let begun = Instant::now();
        let mut stream = client.events(&[("world", world), ("after", &after.to_string())]).await?;
        let last = show(ui, &mut stream, after, meant).await?;
        let was_fruitful = last > after || begun.elapsed() > FRUITFUL_TIME;
        fruitless = if was_fruitful { 0 } else { fruitless + 1 };
        after = last;
    }
    let cause = "the daemon ends every stream of events at once";
    Err(Failure::new(ProblemKind::Engine, "cannot follow the events", cause, "see `netengine doctor`"))
}

/// Shows a stream to its end and gives the place of its last event.
async fn show(
    ui: &Ui,
    stream: &mut EventStream,
    mut after: i64,
    meant: &dyn Fn(&Event) -> bool,
) -> Result<i64, Failure> {
    while let Some(event) = stream.next().await? {
        after = after.max(event.seq);
        if !meant(&event) {
            continue;
        }
        if ui.json {
            ui.print_json_line(&event)?;
        } else {
            ui.print(&line(&event, ui.color))?;
        }
    }
    Ok(after)
}

fn line(event: &Event, color: bool) -> String {
    let kind = format!("{:<20}", escape::line(&event.kind));
    let (time, message) = (escape::line(&event.time), escape::line(&event.message));
    format!("{:>5}  {time}  {}  {message}\n", event.seq, progress::tint(event).paint(&kind, color))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_with_its_place_and_time() {
        let event = crate::progress::tests::event("phase.done", Some(3), "pki\n");
        assert_eq!(line(&event, false), "    7  2026-01-02T03:04:05.678Z  phase.done            pki\\x0a\n");
    }
}
