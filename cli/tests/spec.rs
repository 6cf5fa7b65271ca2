//! Specs as the user gives them: exit codes, places, and that nothing is asked of a daemon for a bad one.

mod harness;

use std::path::Path;

use harness::{SPEC, netengine, run};
use serde_json::Value;

/// Runs `validate` on this text.
fn validate(text: &str, more: &[&str]) -> (i32, String, String) {
    let dir = tempfile::tempdir().expect("makes a directory");
    let file = dir.path().join("w.yaml");
    std::fs::write(&file, text).expect("writes");
    run(netengine(Path::new("/nonexistent")).current_dir(&dir).args(["validate", "w.yaml"]).args(more))
}

#[test]
fn a_sound_spec_needs_no_daemon() {
    let (code, out, err) = validate(SPEC, &[]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "w.yaml: world my-world is valid\n", ""));
    let (code, out, _) = validate(SPEC, &["--explain", "--set", "metadata.name=other"]);
    assert_eq!((code, out.as_str()), (0, "every active field is stable\nw.yaml: world other is valid\n"));
    let (_, out, _) = validate(SPEC, &["--json"]);
    let report: Value = serde_json::from_str(&out).expect("is JSON");
    assert_eq!((&report["valid"], &report["world"]), (&Value::Bool(true), &Value::from("my-world")));
}

#[test]
fn every_error_is_told_with_line_and_column_and_exit_2() {
    let text =
        SPEC.replace("  name: my-world", "  nmae: my-world\n  version: 1.0").replace("172.28.0.0/16", "172.28.0.0/33");
    let (code, out, err) = validate(&text, &[]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    let line = |start: &str| text.lines().position(|line| line.trim_start().starts_with(start)).expect("is there") + 1;
    assert!(err.contains(&format!("w.yaml:{}:3: error", line("nmae"))), "{err}");
    assert!(err.contains(&format!("w.yaml:{}:38: error", line("platform: {type"))), "{err}");
    assert!(err.contains("error: cannot use spec w.yaml\n  cause: it has "), "{err}");
    assert!(!err.contains("panicked"), "{err}");
    let (code, out, err) = validate(&text, &["--format", "json"]);
    let report: Value = serde_json::from_str(&out).expect("is JSON");
    assert_eq!((code, err.as_str(), &report["valid"]), (2, "", &Value::Bool(false)));
    let found = report["diagnostics"].as_array().expect("is a list");
    assert!(found.iter().any(|one| one["line"] == line("nmae") && one["column"] == 3), "{report}");
}

#[test]
fn hostile_files_end_with_exit_2_and_three_lines_at_the_end() {
    let bomb = format!(
        "a0: &a0 [x, x]\n{}",
        (1..40).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect::<String>()
    );
    for (text, name) in [
        ("", "empty"),
        ("- 1\n", "not a map"),
        ("metadata: {name: 'a\u{1b}b'}\n", "control character"),
        ("metadata: {name: x}\nmetadata: {name: y}\n", "duplicate"),
        ("metadata: [\n", "cut"),
        (&"[".repeat(100_000), "deep"),
        (bomb.as_str(), "bomb"),
    ] {
        let (code, out, err) = validate(text, &[]);
        assert_eq!((code, out.as_str()), (2, ""), "{name}: {err}");
        assert!(err.contains("\n  help:  ") && !err.contains("panicked") && !err.contains('\u{1b}'), "{name}: {err}");
    }
}

#[test]
fn files_that_cannot_be_read_are_exit_2_for_every_command_that_takes_a_spec() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let big = dir.path().join("big.yaml");
    std::fs::write(&big, vec![b'#'; 10 << 20]).expect("writes");
    for command in ["up", "plan", "validate"] {
        for spec in [dir.path(), &big, Path::new("/nonexistent/w.yaml")] {
            let (code, out, err) = run(netengine(Path::new("/nonexistent")).arg(command).arg(spec));
            assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 3), "{err}");
        }
    }
}

#[test]
fn an_environment_lies_over_the_base() {
    let dir = tempfile::tempdir().expect("makes a directory");
    std::fs::write(dir.path().join("w.yaml"), SPEC).expect("writes");
    std::fs::write(dir.path().join("w.dev.yaml"), "metadata: {name: dev-world}\n").expect("writes");
    let validate = |env: &str| {
        run(netengine(Path::new("/nonexistent")).current_dir(&dir).args(["validate", "w.yaml", "--env", env]))
    };
    assert_eq!(validate("dev").1, "w.yaml: world dev-world is valid\n");
    let (code, _, err) = validate("prod");
    assert!(code == 2 && err.contains("w.prod.yaml"), "{err}");
}

#[test]
fn usage_errors_are_exit_2_with_three_lines() {
    for arguments in [&["frob"][..], &[], &["up"], &["up", "x", "--up-to", "ten"], &["exec", "w"], &["status", "../x"]]
    {
        let (code, out, err) = run(netengine(Path::new("/nonexistent")).args(arguments));
        assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 3), "{arguments:?}: {err}");
    }
    let (code, _, err) = run(netengine(Path::new("/nonexistent")).args(["frob", "--json"]));
    let document: Value = serde_json::from_str(&err).expect("is JSON");
    assert_eq!((code, &document["error"]["kind"]), (2, &Value::from("usage")));
}

#[test]
fn init_schema_completions_and_man_need_no_daemon() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let run = |arguments: &[&str]| run(netengine(Path::new("/nonexistent")).current_dir(&dir).args(arguments));
    assert_eq!(run(&["init"]).0, 0);
    assert_eq!(run(&["validate", "world.yaml"]).0, 0);
    assert_eq!(run(&["init"]).0, 2, "an existing file was overwritten");
    let schema: Value = serde_json::from_str(&run(&["schema"]).1).expect("is JSON");
    assert!(schema["properties"]["metadata"].is_object());
    assert!(run(&["completions", "bash"]).1.contains("netengine"));
    assert!(run(&["man"]).1.contains("netengine"));
    assert_eq!(run(&["man", "."]).0, 0);
    assert!(dir.path().join("netengine-exec.1").exists() && dir.path().join("netengine.1").exists());
}
