//! Active features that do not exist are refused, reserved ones are warned of.

use super::Check;
use crate::features::{FeatureState, explain};

pub(super) fn check(check: &mut Check) {
    for feature in explain(check.spec) {
        let current = feature.current.to_string();
        let help = Some(format!("the default is {}", feature.default));
        match feature.state {
            FeatureState::Unsupported => {
                let message = format!("{current} is not supported: {}", feature.reason);
                check.error(&feature.path, message, help);
            }
            FeatureState::Reserved => {
                let message = format!("{current} is reserved and changes nothing: {}", feature.reason);
                check.warn(&feature.path, message, help);
            }
            FeatureState::Experimental | FeatureState::Stable => {}
        }
    }
}
