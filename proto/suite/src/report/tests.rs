use netengine_lab_proto::CaseResult;

use super::*;
use crate::{Suite, judge, load};

fn suite() -> Suite {
    let text =
        "- {name: 'a <b> & \"c\" # d', rules: x, packets: [{}]}\n- {name: two, rules: x, expect: {load_error: bad}}\n";
    load("s.yaml", text, &mut |_| Err(String::new())).expect("sound")
}

fn run(suite: &Suite) -> Run<'_> {
    let failed = CaseResult::Failed { message: "the worker ended\u{1b}[2J".into() };
    let loaded = CaseResult::Judged(Box::default());
    let cases = vec![judge(&suite.cases[0], failed), judge(&suite.cases[1], loaded)];
    Run { suites: vec![("s.yaml", cases)], millis: 12.0 }
}

#[test]
fn a_failure_outweighs_what_was_not_observed() {
    let suite = suite();
    let both = run(&suite);
    assert_eq!((both.summary().inconclusive, both.summary().failed, both.exit_code()), (1, 1, 1));
    let (file, mut cases) = both.suites[0].clone();
    cases.truncate(1);
    assert_eq!(Run { suites: vec![(file, cases)], millis: 0.0 }.exit_code(), 3);
    assert_eq!(Run { suites: Vec::new(), millis: 0.0 }.exit_code(), 0);
}

#[test]
fn no_format_passes_on_what_a_reader_would_obey() {
    let suite = suite();
    let run = run(&suite);
    let xml = junit(&run);
    assert!(xml.contains("a &lt;b&gt; &amp; &quot;c&quot; # d") && !xml.contains('\u{1b}'), "{xml}");
    let tap = tap(&run);
    assert!(tap.contains("not ok 1 - a <b> & \"c\" \\# d\n") && !tap.contains('\u{1b}'), "{tap}");
    let text: String = run.cases().map(|case| pretty(case, Style::default())).collect();
    assert!(text.contains("?? a <b>") && text.contains("NO two") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(json(&run)["summary"]["failed"], 1);
}
