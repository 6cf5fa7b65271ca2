//! Routes x principals x {own, other's, absent}: generated from the authorization table.

use netengine_proto::{
    api::OperationState,
    ids::{OperationId, Uid},
};
use serde_json::json;

use super::*;
use crate::{
    decide::Action,
    orchestrator::tests::{spec, spec_json},
};

const ALICE: Uid = Uid(1000);
const BOB: Uid = Uid(1001);
const ABSENT: &str = "0011223344556677";

/// Alice has `blue`, an operation and a run of suites; Bob has `crimson`, an operation and a run.
struct Stage {
    lab: Lab,
    app: App,
    operations: [String; 2],
    tests: [String; 2],
    _directory: tempfile::TempDir,
}

async fn stage() -> Stage {
    let lab = Lab::new().await;
    let mut operations = Vec::new();
    for (owner, name) in [(ALICE, "blue"), (BOB, "crimson")] {
        let (state, events) = lab.up(owner, spec(name)).await;
        assert_eq!(state, OperationState::Done);
        operations.push(events[0].operation.clone().expect("an operation"));
    }
    let directory = tempfile::tempdir().expect("a directory");
    let judged = netengine_lab_proto::CaseResult::Judged(Box::default());
    let judged = postcard::to_stdvec(&judged).expect("encodes");
    let (lab_role, _) = crate::fake::lab_role(directory.path(), move |_, _, _| Some(judged.clone()));
    let app = app_with(&lab, lab_role);
    let mut tests = Vec::new();
    for owner in [ALICE, BOB] {
        let request = body(Action::RunFirewallTests);
        let (status, begun) = ask(&app, Principal::user(owner), "post", "/firewall/tests", request).await;
        assert_eq!(status, 202, "{begun}");
        let begun: serde_json::Value = serde_json::from_str(&begun).expect("JSON");
        tests.push(begun["id"].as_str().expect("an id").to_owned());
    }
    let (operations, tests) = (operations.try_into().expect("two"), tests.try_into().expect("two"));
    Stage { lab, app, operations, tests, _directory: directory }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Object {
    Own,
    Other,
    Absent,
}

impl Stage {
    /// The path of a route for Alice, about an object of hers, of Bob's, or of nobody.
    fn path(&self, route: &str, object: Object) -> String {
        let (world, operation, test) = match object {
            Object::Own => ("blue", self.operations[0].as_str(), self.tests[0].as_str()),
            Object::Other => ("crimson", self.operations[1].as_str(), self.tests[1].as_str()),
            Object::Absent => ("none", ABSENT, ABSENT),
        };
        let path = route.replace("{world}", world).replace("{operation}", operation).replace("{serial}", ABSENT);
        path.replace("{id}", test)
    }
}

fn body(action: Action) -> String {
    match action {
        Action::Plan | Action::Up => json!({ "spec": spec_json("blue") }).to_string(),
        Action::Exec => "{}".to_owned(),
        Action::ValidateFirewallSuites | Action::RunFirewallTests => {
            let suite = "- name: x\n  rules: table ip t {}\n  packets: [{dst_port: 1}]\n";
            json!({ "suites": [{ "file": "a.yaml", "text": suite }] }).to_string()
        }
        Action::RunFirewallCase => {
            let case = netengine_suite::load(
                "a",
                "- {name: x, rules: 'table ip t {}', packets: [{dst_port: 1}]}",
                &mut |_| Err(String::new()),
            );
            serde_json::to_string(&case.expect("a suite").cases[0].request).expect("JSON")
        }
        _ => String::new(),
    }
}

/// The answer with the name that was asked for taken out: all else must be equal.
fn neutral(answer: &(u16, String)) -> (u16, String) {
    (answer.0, answer.1.replace("crimson", "NAME").replace("none", "NAME"))
}

#[tokio::test]
async fn a_users_own_are_served_and_others_look_absent() {
    for route in ROUTES {
        // Each route has its own stage, so one that removes does not change what the next one sees.
        let stage = stage().await;
        let alice = Principal::user(ALICE);
        let takes_object = route.path.contains('{');
        let mut answers = Vec::new();
        // A route without an object in its path has one case; asked twice, a second `up` would meet the first at work.
        let cases = [Object::Absent, Object::Other, Object::Own];
        let cases = if takes_object { &cases[..] } else { &cases[2..] };
        for &object in cases {
            let path = stage.path(route.path, object);
            // Operations of others are told apart by id only; take both ids out.
            let answer = ask(&stage.app, alice, route.method, &path, body(route.action)).await;
            let [a, b] = &stage.operations;
            let [c, d] = &stage.tests;
            let ids = [a.as_str(), b.as_str(), c.as_str(), d.as_str(), ABSENT];
            let text = ids.iter().fold(answer.1, |text, id| text.replace(id, "ID"));
            answers.push((answer.0, text));
        }
        let own = answers.last().expect("asked");
        assert!((200..300).contains(&own.0), "{route:?}: {own:?}");
        if let [absent, other, _] = &answers[..] {
            assert_eq!(absent.0, 404, "{route:?}");
            assert_eq!(neutral(absent), neutral(other), "{route:?} tells a foreign object from an absent one");
        }
        // Naming the other owner does not help on user.sock, whether or not the object exists.
        let bobs = ask(
            &stage.app,
            alice,
            route.method,
            &format!("{}?owner=1001", stage.path(route.path, Object::Other)),
            body(route.action),
        )
        .await;
        let nobodys = ask(
            &stage.app,
            alice,
            route.method,
            &format!("{}?owner=1001", stage.path(route.path, Object::Absent)),
            body(route.action),
        )
        .await;
        if takes_object {
            let strip = |text: &str| {
                [stage.operations[1].as_str(), &stage.tests[1], ABSENT]
                    .iter()
                    .fold(text.to_owned(), |t, id| t.replace(id, "ID"))
            };
            assert_eq!(neutral(&(bobs.0, strip(&bobs.1))), neutral(&(nobodys.0, strip(&nobodys.1))), "{route:?}");
            assert_eq!(bobs.0, 404, "{route:?}");
        }
        assert!(!bobs.1.contains("\"crimson\"") || bobs.0 == 404, "{route:?}: {}", bobs.1);
        assert_eq!(
            stage.lab.world(BOB, "crimson").await.map(|world| world.owner),
            Some(BOB),
            "{route:?} removed another's world"
        );
    }
}

#[tokio::test]
async fn an_administrator_reaches_all_and_the_overflow_uid_nothing() {
    for route in ROUTES {
        let stage = stage().await;
        let path = format!("{}?owner=1001", stage.path(route.path, Object::Other));
        let request = if matches!(route.action, Action::Up | Action::Plan) {
            json!({ "spec": spec_json("crimson") }).to_string()
        } else {
            body(route.action)
        };
        let nobody = ask(&stage.app, Principal::user(Uid::OVERFLOW), route.method, &path, request.clone()).await;
        assert_eq!(nobody.0, 404, "{route:?}: {nobody:?}");
        let admin = ask(&stage.app, Principal::admin(Uid(7)), route.method, &path, request).await;
        if route.action == Action::ViewCredentials {
            assert_eq!(admin.0, 404, "secrets are for their owner alone: {admin:?}");
        } else {
            assert!((200..300).contains(&admin.0), "{route:?}: {admin:?}");
        }
    }
}

// Row 85: names and ids are compared whole, also with wildcards of SQL and with what a name or id begins with.
#[tokio::test]
async fn a_part_of_a_name_or_an_id_and_a_wildcard_name_nothing() {
    let stage = stage().await;
    let routes: Vec<_> = ROUTES.iter().filter(|route| route.path.contains('{')).collect();
    assert!(routes.len() > 10, "{routes:?}");
    for route in routes {
        let parts = |whole: &str| {
            let (begin, end) = (&whole[..whole.len() - 1], &whole[1..]);
            [begin.to_owned(), format!("{begin}_"), format!("{begin}%25"), format!("%25{end}"), format!("{whole}%25")]
        };
        let all = ["%25", "_", "%25%25", "____"].map(str::to_owned);
        let tried = parts("blue").into_iter().zip(parts(&stage.operations[0])).zip(parts(&stage.tests[0]));
        let tried = tried.map(|((world, operation), test)| (world, operation, test));
        for (world, operation, test) in tried.chain(all.map(|any| (any.clone(), any.clone(), any))) {
            let path = route.path.replace("{world}", &world).replace("{operation}", &operation).replace("{id}", &test);
            let path = path.replace("{serial}", "%25");
            let (status, said) = ask(&stage.app, Principal::user(ALICE), route.method, &path, body(route.action)).await;
            assert!((400..=404).contains(&status), "{} {path}: {status} {said}", route.method);
            assert!(!said.contains("\"blue\"") && !said.contains("crimson"), "{path}: {said}");
        }
    }
    // Nothing of it was taken for the whole.
    for (owner, name) in [(ALICE, "blue"), (BOB, "crimson")] {
        assert!(stage.lab.world(owner, name).await.is_some(), "{name}");
    }
}

#[tokio::test]
async fn events_and_lists_hold_own_objects_only() {
    let stage = stage().await;
    for path in ["/events", "/worlds", &format!("/events?operation={}", stage.operations[1])] {
        let (status, body) = ask(&stage.app, Principal::user(ALICE), "GET", path, String::new()).await;
        assert_eq!(status, 200);
        assert!(!body.contains("crimson"), "{path}: {body}");
    }
    let events_of = async |world: &str| {
        let path = format!("/events?world={world}");
        neutral(&ask(&stage.app, Principal::user(ALICE), "GET", &path, String::new()).await)
    };
    assert_eq!(events_of("crimson").await, events_of("none").await, "a foreign world and an absent one answer alike");
    assert_eq!((events_of("none").await.0, events_of("blue").await.0), (404, 200));
    let (_, all) = ask(&stage.app, Principal::admin(ALICE), "GET", "/worlds", String::new()).await;
    assert!(all.contains("blue") && all.contains("crimson"));
}

#[tokio::test]
async fn hostile_names_ids_and_bodies_are_answered_plainly() {
    let stage = stage().await;
    let alice = Principal::user(ALICE);
    for name in ["..%2fx", "a%3bb", "%0a", "%25d", "bl%5f", "%00", "%1b%5b31m", &"a".repeat(64), "blu_", "BLUE"] {
        let (status, body) = ask(&stage.app, alice, "GET", &format!("/worlds/{name}"), String::new()).await;
        assert_eq!(status, 404, "{name}: {body}");
        assert!(body.is_ascii() && !body.contains('\u{1b}'), "{body}");
    }
    for (body, status) in [("", 400), ("{", 400), ("[]", 400), ("{\"spec\": 1}", 422), ("{\"spec\": {}}", 422)] {
        let answer = ask(&stage.app, alice, "POST", "/worlds", body.to_owned()).await;
        assert_eq!(answer.0, status, "{body}: {answer:?}");
    }
    let deep = format!("{{\"spec\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(ask(&stage.app, alice, "POST", "/worlds", deep).await.0, 400);
    let large = " ".repeat(netengine_proto::limits::API_BODY_BYTES + 1);
    let (status, body) = ask(&stage.app, alice, "POST", "/worlds", large).await;
    assert!(status == 400 && body.contains("larger than"), "{body}");
    for path in ["/worlds?owner=x", "/events?after=x", "/worlds/blue/logs?lines=-1", "/worlds?owner=99999999999"] {
        assert_eq!(ask(&stage.app, alice, "GET", path, String::new()).await.0, 400, "{path}");
    }
    let id = OperationId::from_bytes([0xab; 8]).to_string();
    assert_eq!(ask(&stage.app, alice, "GET", &format!("/operations/{id}"), String::new()).await.0, 404);
    assert_eq!(ask(&stage.app, alice, "GET", "/operations/%25", String::new()).await.0, 404);
}
