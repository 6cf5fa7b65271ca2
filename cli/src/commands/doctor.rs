//! `netengine doctor`: what this user and the daemons can and cannot do here.

use std::{os::unix::net::UnixStream, path::Path};

use netengine_proto::api::{Doctor, DoctorCheck, Version};

use crate::{
    client::{Client, unreachable_socket},
    escape,
    failure::Failure,
    table::Tint,
    ui::Ui,
};

/// Checks the way to the daemon, then asks the daemon for its own checks.
///
/// # Errors
/// Never for a failed check: those are the result, with exit code 1, or 3 or 4 when the daemon cannot be reached.
pub async fn run(ui: &Ui, client: &Client) -> Result<u8, Failure> {
    let (doctor, code) = match ask(client).await {
        Ok(doctor) => {
            let code = if doctor.healthy { 0 } else { 1 };
            (doctor, code)
        }
        Err(failure) => {
            let check = DoctorCheck {
                name: "daemon: userd".into(),
                passed: false,
                required: true,
                detail: failure.problem.cause.clone(),
                help: failure.problem.help.clone(),
            };
            (Doctor { checks: vec![check], healthy: false }, failure.exit_code())
        }
    };
    if ui.json {
        ui.print_json(&doctor)?;
    } else {
        ui.print(&render(&doctor, ui.color))?;
    }
    Ok(code)
}

async fn ask(client: &Client) -> Result<Doctor, Failure> {
    let version: Version = client.get("/version", &[]).await?;
    let mut doctor: Doctor = client.get("/doctor", &[]).await?;
    let ours = env!("CARGO_PKG_VERSION");
    let is_same = version.release == ours;
    doctor.checks.insert(
        0,
        DoctorCheck {
            name: "daemon: userd".into(),
            passed: is_same,
            required: false,
            detail: format!("release {} on {}, this command is {ours}", version.release, client.socket().display()),
            help: if is_same { String::new() } else { "install command and daemons of one release".into() },
        },
    );
    let exec_socket = exec_socket(&super::exec::socket(None));
    doctor.healthy &= exec_socket.passed;
    doctor.checks.insert(1, exec_socket);
    Ok(doctor)
}

/// Whether this user could run commands in worlds. The connection is closed at once; rootd sees no request.
fn exec_socket(path: &Path) -> DoctorCheck {
    let (passed, detail, help) = match UnixStream::connect(path) {
        Ok(_) => (true, format!("{} takes connections", path.display()), String::new()),
        Err(error) => {
            let problem = unreachable_socket(path, &error, "netengine").problem;
            (false, problem.cause, problem.help)
        }
    };
    DoctorCheck { name: "daemon: rootd's exec socket".into(), passed, required: true, detail, help }
}

fn render(doctor: &Doctor, color: bool) -> String {
    let mut text = String::new();
    for check in &doctor.checks {
        let (word, tint) = match (check.passed, check.required) {
            (true, _) => ("ok    ", Tint::Good),
            (false, true) => ("FAILED", Tint::Bad),
            (false, false) => ("warn  ", Tint::Busy),
        };
        let (name, detail) = (escape::line(&check.name), escape::line(&check.detail));
        text.push_str(&format!("{}  {name}: {detail}\n", tint.paint(word, color)));
        if !check.passed && !check.help.is_empty() {
            text.push_str(&format!("        help: {}\n", escape::line(&check.help)));
        }
    }
    text.push_str(if doctor.healthy { "NetEngine can run here\n" } else { "NetEngine cannot run here yet\n" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_checks_tell_what_to_do() {
        let check = |name: &str, passed, required, help: &str| DoctorCheck {
            name: name.into(),
            passed,
            required,
            detail: "seen".into(),
            help: help.into(),
        };
        let checks = vec![
            check("kernel: bridge", true, true, ""),
            check("kernel: x", false, false, "load x"),
            check("daemon: rootd", false, true, "start it"),
        ];
        assert_eq!(
            render(&Doctor { checks, healthy: false }, false),
            "ok      kernel: bridge: seen\n\
             warn    kernel: x: seen\n        help: load x\n\
             FAILED  daemon: rootd: seen\n        help: start it\n\
             NetEngine cannot run here yet\n"
        );
    }
}
