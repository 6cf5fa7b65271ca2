//! The stream of events.

use futures::StreamExt;
use netengine_proto::ids::Uid;

use super::*;
use crate::orchestrator::tests::spec;

const ALICE: Uid = Uid(1000);
const BOB: Uid = Uid(1001);

async fn follow(app: &App, principal: Principal, query: &str) -> axum::body::BodyDataStream {
    let service = router(app.clone(), CancellationToken::new()).layer(Extension(principal));
    let request = Request::builder().uri(format!("{PREFIX}/events?follow=true{query}")).body(Body::empty());
    let response = service.oneshot(request.expect("a request")).await.expect("infallible");
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

/// Reads the stream until a text appears.
async fn until(stream: &mut axum::body::BodyDataStream, end: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(end) {
        let next = tokio::time::timeout(std::time::Duration::from_secs(20), stream.next()).await;
        let bytes = next.expect("in time").expect("more").expect("no error");
        seen.push_str(std::str::from_utf8(&bytes).expect("text"));
    }
    seen
}

/// The numbers of the events in a stream.
fn ids(text: &str) -> Vec<i64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().expect("a number")).collect()
}

#[tokio::test]
async fn a_follower_from_the_beginning_sees_own_events_each_once_and_in_order() {
    let lab = Lab::new().await;
    let app = app(&lab);
    lab.up(ALICE, spec("blue")).await;
    lab.up(BOB, spec("crimson")).await;
    let mut stream = follow(&app, Principal::user(ALICE), "&after=0").await;
    let stored = until(&mut stream, "operation.done").await;
    lab.up(BOB, spec("crimson")).await;
    lab.up(ALICE, spec("blue")).await;
    let live = until(&mut stream, "operation.done").await;
    let all = stored + &live;
    assert!(!all.contains("crimson"), "{all}");
    let ids = ids(&all);
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    // An `up` that makes all: itself, its plan and its end, five steps, seven phases begun and done; one that changes nothing
    // has neither plan nor steps.
    assert_eq!(ids.len(), (3 + 5 + 2 * 7) + (2 + 2 * 7));

    // From a number on: nothing twice.
    let after = ids[ids.len() - 2];
    let mut rest = follow(&app, Principal::user(ALICE), &format!("&after={after}")).await;
    assert_eq!(self::ids(&until(&mut rest, "operation.done").await), [ids[ids.len() - 1]]);
}

#[tokio::test]
async fn a_stream_of_another_owner_is_refused_on_the_user_socket() {
    let lab = Lab::new().await;
    let path = "/events?follow=true&owner=1001";
    assert_eq!(ask(&app(&lab), Principal::user(ALICE), "GET", path, String::new()).await.0, 404);
}
