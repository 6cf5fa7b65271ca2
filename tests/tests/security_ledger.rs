//! SECURITY.md names a test for every row of the threat table that is due, and each of them exists.

use std::{collections::BTreeSet, fs, path::Path};

/// Rows that must have a test.
fn required() -> impl Iterator<Item = u32> {
    (1..=31).chain(35..=45).chain([49]).chain(63..=73).chain([81, 82]).chain(85..=89).chain([93, 94])
}

/// Row numbers with the tests they name: what is in backquotes in the fourth column of the ledger.
fn ledger(text: &str) -> Vec<(u32, Vec<String>)> {
    let (_, table) = text.split_once("## Ledger").expect("a ledger");
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let number = cells.first()?.parse().ok()?;
        let tests = cells.get(3)?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((number, tests))
    });
    rows.collect()
}

/// What is wrong with the ledger.
fn faults(text: &str, functions: &BTreeSet<String>) -> Vec<String> {
    let rows = ledger(text);
    let mut faults = Vec::new();
    for number in required() {
        match rows.iter().filter(|(row, _)| *row == number).collect::<Vec<_>>()[..] {
            [(_, tests)] if tests.is_empty() => faults.push(format!("row {number} has no test")),
            [(_, tests)] => {
                let missing = tests.iter().filter(|test| !functions.contains(*test));
                faults.extend(missing.map(|test| format!("row {number} names {test}, which is nowhere a test")));
            }
            [] => faults.push(format!("row {number} is missing")),
            _ => faults.push(format!("row {number} is there twice")),
        }
    }
    faults
}

/// The functions behind `#[test]` and the like, and those of `proptest!`.
fn tests_in(text: &str, found: &mut BTreeSet<String>) {
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
            found.extend(rest.split_once('(').map(|(name, _)| name.to_owned()));
            marked = false;
        }
    }
}

fn functions(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("readable").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                functions(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            tests_in(&fs::read_to_string(&path).expect("text"), found);
        }
    }
}

#[test]
fn every_row_that_is_due_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    let mut found = BTreeSet::new();
    functions(root, &mut found);
    assert_eq!(faults(&text, &found), Vec::<String>::new());
    // The check itself fails when it should.
    let without = |what: &str, with: &str| faults(&text.replace(what, with), &found);
    assert_eq!(without("| 22 | links", "| 122 | links"), ["row 22 is missing"]);
    let renamed = without("`a_quota_holds_under_a_race`", "`a_quota_holds`");
    assert_eq!(renamed, ["row 81 names a_quota_holds, which is nowhere a test"]);
    let row = text.lines().find(|line| line.starts_with("| 73 |")).expect("a row");
    assert_eq!(without(row, "| 73 | a | b | | |"), ["row 73 has no test"]);
}
