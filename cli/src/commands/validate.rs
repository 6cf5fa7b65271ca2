//! `netengine validate`: everything that is wrong with a spec, without a daemon; or with a ruleset.

pub mod ruleset;

use netengine_spec::{Diagnostic, FeatureState, FeatureUse, Loaded};
use serde::Serialize;

use crate::{args::SpecArgs, escape, failure::Failure, spec_file, table::Table, ui::Ui};

/// Whether a file is a ruleset of nftables, by its name.
pub fn is_ruleset(args: &SpecArgs) -> bool {
    args.spec.extension().is_some_and(|extension| extension == "nft")
}

/// The document of `validate --json`; the same for sound and unsound specs.
#[derive(Serialize)]
struct Report<'a> {
    valid: bool,
    world: Option<&'a str>,
    diagnostics: &'a [Diagnostic],
    /// Active fields that are not stable.
    features: Vec<FeatureUse>,
}

/// Checks a spec. With JSON the report is the result in either case, so an unsound spec is told by it and by exit code 2.
///
/// # Errors
/// Class `usage` for files that cannot be read, class `spec` (text only) for what is wrong in them.
pub fn run(ui: &Ui, args: &SpecArgs, explain: bool) -> Result<u8, Failure> {
    let sources = spec_file::read(args)?;
    let loaded = match spec_file::check(&sources) {
        Ok(loaded) => loaded,
        Err(found) if ui.json => {
            ui.print_json(&Report { valid: false, world: None, diagnostics: &found, features: Vec::new() })?;
            return Ok(2);
        }
        Err(found) => return Err(spec_file::refused(&args.spec, &found)),
    };
    let features = netengine_spec::explain(&loaded.spec);
    if ui.json {
        let world = Some(loaded.spec.metadata.name.as_str());
        ui.print_json(&Report { valid: true, world, diagnostics: &loaded.warnings, features })?;
        return Ok(0);
    }
    let warnings = spec_file::warnings(&loaded);
    if !warnings.is_empty() {
        ui.remark(&warnings);
    }
    if explain {
        ui.print(&explanation(&features, ui.color))?;
    }
    ui.print(&verdict(args, &loaded))?;
    Ok(0)
}

fn verdict(args: &SpecArgs, loaded: &Loaded) -> String {
    let file = args.spec.display().to_string();
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        number => format!(", {}", super::count(number, "warning")),
    };
    format!("{}: world {} is valid{warnings}\n", escape::line(&file), loaded.spec.metadata.name)
}

fn explanation(features: &[FeatureUse], color: bool) -> String {
    if features.is_empty() {
        return "every active field is stable\n".to_owned();
    }
    let mut table = Table::new(&["FIELD", "STATE", "CURRENT", "DEFAULT", "REASON"]);
    for feature in features {
        let state = word(feature.state);
        table.row([&feature.path, state, &feature.current.to_string(), &feature.default.to_string(), &feature.reason]);
    }
    table.render(color)
}

fn word(state: FeatureState) -> &'static str {
    match state {
        FeatureState::Stable => "stable",
        FeatureState::Experimental => "experimental",
        FeatureState::Reserved => "reserved",
        FeatureState::Unsupported => "unsupported",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_explanation_names_field_state_values_and_reason() {
        let feature = FeatureUse {
            path: "substrate.orchestrator".into(),
            state: FeatureState::Reserved,
            reason: "changes nothing".into(),
            current: json!("k3s"),
            default: json!("swarm"),
        };
        assert_eq!(
            explanation(&[feature], false),
            "FIELD                   STATE     CURRENT  DEFAULT  REASON\n\
             substrate.orchestrator  reserved  \"k3s\"    \"swarm\"  changes nothing\n"
        );
        assert_eq!(explanation(&[], false), "every active field is stable\n");
    }
}
