//! Environment files and `--set`.

use std::path::{Path, PathBuf};

/// The environment file beside a base file: `<stem or "spec">.<environment>.yaml`.
///
/// The stem is the base file's name without `.yaml` or `.yml`: `world.yaml` and `dev` give `world.dev.yaml`.
pub fn overlay_path(base: &Path, environment: &str) -> PathBuf {
    let name = base.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")).unwrap_or(name);
    let stem = if stem.is_empty() { "spec" } else { stem };
    base.with_file_name(format!("{stem}.{environment}.yaml"))
}
