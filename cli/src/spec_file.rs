//! Reads a spec and its overlay from files and loads them.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use netengine_proto::{api::ProblemKind, limits};
use netengine_spec::{Diagnostic, Loaded, Severity, Source, Sources};

use crate::{args::SpecArgs, failure::Failure};

/// Reads and checks a spec.
///
/// # Errors
/// Class `spec`, with every error and its place; class `usage` for files that cannot be read.
pub fn load(args: &SpecArgs) -> Result<Loaded, Failure> {
    let sources = read(args)?;
    check(&sources).map_err(|found| refused(&args.spec, &found))
}

/// Checks sources that were read.
///
/// # Errors
/// All that is wrong with them.
pub fn check(sources: &Sources) -> Result<Loaded, Vec<Diagnostic>> {
    netengine_spec::load(sources, &|name| std::env::var(name).ok())
}

/// Reads the files.
///
/// # Errors
/// Class `usage` when one is missing, not a file, too large or not UTF-8.
pub fn read(args: &SpecArgs) -> Result<Sources, Failure> {
    let base = read_source(&args.spec)?;
    let overlay = match &args.env {
        Some(name) => Some(read_source(&overlay_path(&args.spec, name)?)?),
        None => None,
    };
    Ok(Sources { base, overlay, sets: args.set.clone() })
}

/// The failure for a spec with errors.
pub fn refused(spec: &Path, found: &[Diagnostic]) -> Failure {
    let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
    let cause =
        if errors == 1 { "it has 1 error, shown above".into() } else { format!("it has {errors} errors, shown above") };
    let help = "correct them; `netengine schema` prints the JSON Schema, `netengine init` writes an example";
    let what = format!("cannot use spec {}", spec.display());
    let mut failure = Failure::new(ProblemKind::Spec, what, cause, help);
    failure.places = found.iter().map(|one| format!("{one}\n")).collect();
    failure.problem.diagnostics = found.iter().filter_map(|one| serde_json::to_value(one).ok()).collect();
    failure
}

/// Warnings as text for people; empty when there are none.
pub fn warnings(loaded: &Loaded) -> String {
    loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn overlay_path(base: &Path, name: &str) -> Result<PathBuf, Failure> {
    let is_plain =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !is_plain {
        let cause = "an environment's name is made of letters, digits, '-', '_' and '.'";
        let help = "`--env dev` reads SPEC.dev.yaml beside the spec";
        return Err(Failure::new(ProblemKind::Usage, format!("cannot use environment {name:?}"), cause, help));
    }
    Ok(netengine_spec::overlay_path(base, name))
}

fn read_source(path: &Path) -> Result<Source, Failure> {
    let name = path.display().to_string();
    let refuse = |cause: String, help: &str| {
        Err(Failure::new(ProblemKind::Usage, format!("cannot read spec {name}"), cause, help))
    };
    let plain_help = "give the path of a YAML file; `netengine init` writes one";
    // Opening a FIFO would wait for its writer, so the kind is looked at first.
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return refuse("it is not a regular file".into(), plain_help),
        Err(error) => return refuse(error.to_string(), plain_help),
    }
    let mut bytes = Vec::new();
    let limit = limits::SPEC_BYTES as u64 + 1;
    if let Err(error) = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        return refuse(error.to_string(), plain_help);
    }
    if bytes.len() > limits::SPEC_BYTES {
        let cause = format!("it is larger than {} bytes", limits::SPEC_BYTES);
        return refuse(cause, "a spec holds settings only; check that this is the right file");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            refuse(format!("line {line} is not UTF-8"), "save it as UTF-8")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> Failure {
        read_source(path).expect_err("must be refused")
    }

    #[test]
    fn what_is_not_a_small_text_file_is_refused_with_exit_2() {
        let dir = tempfile::tempdir().expect("makes a directory");
        let big = dir.path().join("big.yaml");
        std::fs::write(&big, vec![b'#'; limits::SPEC_BYTES + 1]).expect("writes");
        let binary = dir.path().join("binary.yaml");
        std::fs::write(&binary, b"a: 1\nb: \xff\n").expect("writes");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("makes a FIFO");
        for (path, cause) in [
            (dir.path(), "not a regular file"),
            (&fifo, "not a regular file"),
            (&dir.path().join("absent.yaml"), "No such file"),
            (&big, "larger than 1048576 bytes"),
            (&binary, "line 2 is not UTF-8"),
        ] {
            let failure = refusal(path);
            assert!(failure.problem.cause.contains(cause), "{failure:?}");
            assert_eq!(failure.exit_code(), 2);
        }
        std::fs::write(&big, vec![b'#'; limits::SPEC_BYTES]).expect("writes");
        assert!(read_source(&big).is_ok(), "exactly the bound is allowed");
    }

    #[test]
    fn an_environment_cannot_leave_the_directory() {
        for bad in ["../x", "", "a/b", "a\nb"] {
            assert_eq!(overlay_path(Path::new("w.yaml"), bad).expect_err("refused").exit_code(), 2);
        }
        assert_eq!(overlay_path(Path::new("d/w.yaml"), "dev").expect("accepted"), Path::new("d/w.dev.yaml"));
    }
}
