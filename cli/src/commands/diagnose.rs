//! `netengine diagnose`: what the live checks of a world see now.

use std::time::Duration;

use netengine_proto::api::{Diagnosis, DiagnosisCheck};

use super::{count, duration};
use crate::{
    client::{Client, Done, Told},
    escape,
    failure::Failure,
    progress::Progress,
    table::Tint,
    ui::Ui,
};

/// Every check has a deadline of its own in the daemon; together they end well within this.
const LONGEST: Duration = Duration::from_secs(300);

/// Has every check of a world run and shows each.
///
/// # Errors
/// Never for a failed check: those are the result, with exit code 1. The daemon's problem when it cannot check.
pub async fn run(ui: &Ui, client: &Client, world: Option<&str>) -> Result<u8, Failure> {
    let world = client.world(world).await?;
    let title = format!("diagnose world \"{world}\"");
    let mut progress = Progress::new(ui, &title);
    let told = |told: Told<'_>| {
        if let Told::Progress(Done { done, all }) = told {
            progress.count(&title, done, all, "checks");
        }
        Ok(())
    };
    let path = format!("/worlds/{world}/diagnose");
    let diagnosis = client.post_followed::<Diagnosis>(&path, &[], "diagnosis", LONGEST, told).await;
    drop(progress);
    let diagnosis = diagnosis?;
    if ui.json {
        ui.print_json(&diagnosis)?;
    } else {
        ui.print(&render(&diagnosis, ui.color))?;
    }
    Ok(if is_sound(&diagnosis) { 0 } else { 1 })
}

fn is_sound(diagnosis: &Diagnosis) -> bool {
    diagnosis.passed && diagnosis.checks.iter().all(|check| check.passed)
}

fn render(diagnosis: &Diagnosis, color: bool) -> String {
    let mut text: String = diagnosis.checks.iter().map(|check| line(check, color)).collect();
    let passed = diagnosis.checks.iter().filter(|check| check.passed).count();
    let (failed, all) = (diagnosis.checks.len() - passed, count(diagnosis.checks.len(), "check"));
    let (world, time) = (escape::line(&diagnosis.world), duration(diagnosis.millis));
    text.push_str(&match (is_sound(diagnosis), failed) {
        (true, _) => format!("world {world}: all of {all} passed, {time}\n"),
        (false, 0) => format!("world {world}: {all} passed, but it is not sound, {time}\n"),
        (false, _) => format!("world {world}: {failed} of {all} failed, {time}\n"),
    });
    text
}

fn line(check: &DiagnosisCheck, color: bool) -> String {
    let (word, tint) = if check.passed { ("ok    ", Tint::Good) } else { ("FAILED", Tint::Bad) };
    let head = format!("{}  {}", tint.paint(word, color), escape::line(&check.name));
    let parts = [&check.fault, &check.detail].map(|part| escape::line(part));
    let said: String = parts.iter().filter(|part| !part.is_empty()).map(|part| format!(": {part}")).collect();
    let mut text = format!("{head}{said} ({})\n", short(check.micros));
    if !check.passed && !check.remedy.is_empty() {
        text.push_str(&format!("        help: {}\n", escape::line(&check.remedy)));
    }
    text
}

/// Microseconds for people: `0.41 ms`, `41 ms`, `2.5 s`.
fn short(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10),
        _ => duration(micros / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, fault: &str, detail: &str) -> DiagnosisCheck {
        DiagnosisCheck {
            name: name.into(),
            phase: 1,
            passed: fault.is_empty(),
            fault: fault.into(),
            detail: detail.into(),
            remedy: if fault.is_empty() { String::new() } else { "run up again".into() },
            micros: 412,
        }
    }

    fn diagnosis(checks: Vec<DiagnosisCheck>) -> Diagnosis {
        Diagnosis { world: "blue".into(), passed: checks.iter().all(|check| check.passed), checks, millis: 41 }
    }

    #[test]
    fn a_failed_check_has_its_fault_and_what_to_do() {
        let checks = vec![
            check("dns: A ca.platform.internal at 10.0.0.1", "", "10.0.0.6"),
            check("dns: A auth.internal at 10.0.0.1", "wrong_record", "10.9.9.9\u{1b}[2J instead of 10.0.0.12"),
        ];
        assert_eq!(
            render(&diagnosis(checks), false),
            "ok      dns: A ca.platform.internal at 10.0.0.1: 10.0.0.6 (0.41 ms)\n\
             FAILED  dns: A auth.internal at 10.0.0.1: wrong_record: 10.9.9.9\\x1b[2J instead of 10.0.0.12 (0.41 ms)\n\
             \x20       help: run up again\n\
             world blue: 1 of 2 checks failed, 41 ms\n"
        );
        let sound = render(&diagnosis(vec![check("whois: a domain", "", "")]), false);
        assert_eq!(sound, "ok      whois: a domain (0.41 ms)\nworld blue: all of 1 check passed, 41 ms\n");
    }

    #[test]
    fn what_is_not_sound_is_never_shown_as_sound() {
        let mut odd = diagnosis(vec![check("a", "", "")]);
        odd.passed = false;
        assert!(!is_sound(&odd) && render(&odd, false).contains("not sound"));
        odd = diagnosis(vec![check("a", "disk_full", "")]);
        odd.passed = true;
        assert!(!is_sound(&odd) && render(&odd, false).contains("1 of 1 check failed"));
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(
            [0, 999, 9_999, 41_000, 12_500_000].map(short),
            ["0.00 ms", "0.99 ms", "9.99 ms", "41 ms", "12.5 s"]
        );
    }
}
