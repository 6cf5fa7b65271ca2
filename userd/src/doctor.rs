//! Checks of this host, as userd sees it.

use std::path::Path;

use netengine_proto::api::{Doctor, DoctorCheck};

use crate::{
    decide::{Host, Verdict, act},
    orchestrator::Orchestrator,
    start::sockets::SocketRole,
};

/// Runs all checks. Each reports what was seen now.
pub async fn examine(
    _verdict: Verdict<act::ViewHost, Host>,
    orchestrator: &Orchestrator,
    sockets: &[(SocketRole, String)],
) -> Doctor {
    let mut checks = Vec::new();
    match orchestrator.root().hello().await {
        Ok((hello, _)) => checks.push(passed("rootd", format!("release {}", hello.release))),
        Err(error) => checks.push(failed("rootd", error.to_string(), "see `systemctl status netengine-rootd`")),
    }
    // A rootd that did not greet is not asked and waited for again.
    let features = if checks[0].passed { orchestrator.root().features().await } else { Ok(Vec::new()) };
    if let Ok(features) = features {
        checks.extend(features.into_iter().map(|feature| DoctorCheck {
            name: format!("kernel: {}", feature.name),
            passed: feature.works,
            required: feature.required,
            detail: if feature.works { "works".to_owned() } else { "does not work".to_owned() },
            help: feature.help,
        }));
    }
    match orchestrator.store().ping().await {
        Ok(()) => checks.push(passed("database", "answers".to_owned())),
        Err(error) => {
            let problem = error.problem("cannot use the database");
            checks.push(failed("database", problem.cause, &problem.help));
        }
    }
    for (role, name) in [(SocketRole::User, "user"), (SocketRole::Admin, "admin")] {
        let seen = sockets.iter().find(|(socket, _)| *socket == role);
        checks.push(match seen {
            Some((_, path)) => passed(&format!("socket: {name}"), path.clone()),
            None => DoctorCheck {
                required: false,
                ..failed(&format!("socket: {name}"), "not passed".to_owned(), "enable netengine-admin.socket")
            },
        });
    }
    checks.push(directory("worlds' directory", orchestrator.worlds_dir()));
    let groups = tokio::task::spawn_blocking(|| {
        ["netengine", "netengine-admin", "netengine-daemon"].map(|name| (name, uzers::get_group_by_name(name)))
    });
    for (name, group) in groups.await.into_iter().flatten() {
        checks.push(match group {
            Some(group) => passed(&format!("group: {name}"), format!("gid {}", group.gid())),
            None => DoctorCheck {
                required: false,
                ..failed(
                    &format!("group: {name}"),
                    "does not exist".to_owned(),
                    "make it with groupadd(8), or install the package",
                )
            },
        });
    }
    let healthy = checks.iter().all(|check| check.passed || !check.required);
    Doctor { checks, healthy }
}

fn directory(name: &str, path: &Path) -> DoctorCheck {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => passed(name, path.display().to_string()),
        Ok(_) => failed(name, format!("{} is not a directory", path.display()), "start netengine-rootd by its unit"),
        Err(error) => failed(name, error.to_string(), "start netengine-rootd by its unit, which makes it"),
    }
}

fn passed(name: &str, detail: String) -> DoctorCheck {
    DoctorCheck { name: name.to_owned(), passed: true, required: true, detail, help: String::new() }
}

fn failed(name: &str, detail: String, help: &str) -> DoctorCheck {
    DoctorCheck { name: name.to_owned(), passed: false, required: true, detail, help: help.to_owned() }
}
