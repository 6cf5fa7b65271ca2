//! Events as server-sent events (HTML, section 9.2): stored ones first, then live ones, without a gap and without repeats.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures::{Stream, stream};
use netengine_proto::api::{Event, Problem};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    decide::{AllOf, Verdict, act},
    events::Filter,
    orchestrator::Orchestrator,
};

/// A comment this often lets a dead connection be noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Reader {
    orchestrator: Orchestrator,
    verdict: Verdict<act::ViewEvents, AllOf>,
    filter: Filter,
    live: mpsc::Receiver<Event>,
    stop: CancellationToken,
    stored: VecDeque<Event>,
    last: i64,
    is_caught_up: bool,
    has_ended: bool,
}

/// Follows events after `after`. A reader that lags gets a last event `lagged` and is dropped.
pub(super) async fn follow(
    orchestrator: Orchestrator,
    verdict: Verdict<act::ViewEvents, AllOf>,
    filter: Filter,
    after: i64,
    stop: CancellationToken,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Problem> {
    // Subscribed before the table is read: what is committed in between is seen twice and sent once.
    let live = orchestrator.bus().subscribe(filter.clone());
    let mut reader = Reader {
        orchestrator,
        verdict,
        filter,
        live,
        stop,
        stored: VecDeque::new(),
        last: after,
        is_caught_up: false,
        has_ended: false,
    };
    reader.read_page().await?;
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Reader {
    async fn read_page(&mut self) -> Result<(), Problem> {
        let store = self.orchestrator.store();
        let page = store.events(&self.verdict, &self.filter, self.last).await;
        let page = page.map_err(|error| error.problem("cannot read events"))?;
        self.is_caught_up = page.len() < usize::try_from(crate::store::events::PAGE).unwrap_or(usize::MAX);
        self.stored.extend(page);
        Ok(())
    }

    async fn next(&mut self) -> Option<SseEvent> {
        if self.has_ended {
            return None;
        }
        loop {
            if let Some(event) = self.stored.pop_front() {
                self.last = event.seq;
                return Some(sse(&event));
            }
            if !self.is_caught_up {
                if let Err(problem) = self.read_page().await {
                    return self.end("failed", &problem.cause);
                }
                continue;
            }
            let live = tokio::select! {
                () = self.stop.cancelled() => return None,
                live = self.live.recv() => live,
            };
            match live {
                None => return self.end("lagged", "read faster, or go on with `after`"),
                Some(event) if event.seq > self.last => self.stored.push_back(event),
                Some(_) => {}
            }
        }
    }

    fn end(&mut self, kind: &str, why: &str) -> Option<SseEvent> {
        self.has_ended = true;
        Some(SseEvent::default().event(kind).data(why.replace(['\r', '\n'], " ")))
    }
}

fn sse(event: &Event) -> SseEvent {
    let data = serde_json::to_string(event).unwrap_or_default();
    SseEvent::default().id(event.seq.to_string()).data(data)
}
