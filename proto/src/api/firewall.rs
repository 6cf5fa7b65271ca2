//! The firewall lab.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Problem;

api! {
    /// Suites, and the files that they name.
    pub struct FirewallSuites {
        /// Each suite.
        pub suites: Vec<SuiteText>,
        /// Texts of the files that suites name with `rules_file`, by the names they use. Nothing is read from the daemon's disk.
        #[serde(default)]
        pub files: BTreeMap<String, String>,
    }

    /// A suite's file.
    pub struct SuiteText {
        /// Its name, for messages and reports.
        pub file: String,
        /// Its text, YAML or JSON, in any of the layouts that docs/suites.md tells of.
        pub text: String,
    }

    /// Suites to be run.
    pub struct FirewallTestRequest {
        /// The suites.
        #[serde(flatten)]
        pub suites: FirewallSuites,
        /// Sandboxes at the same time, 1 to 4; 2 when absent.
        #[serde(default)]
        pub jobs: Option<u8>,
        /// No further case after one that did not pass.
        #[serde(default)]
        pub fail_fast: bool,
    }

    /// What was accepted.
    pub struct FirewallTestAccepted {
        /// The run's id, for `/firewall/tests/{id}`.
        pub id: String,
        /// Cases in all.
        pub cases: u64,
    }

    /// Suites that can be run.
    pub struct FirewallValidation {
        /// Cases in all.
        pub cases: u64,
        /// Packets in all.
        pub packets: u64,
    }

    /// How far a run is.
    #[derive(Copy)]
    #[serde(rename_all = "snake_case")]
    pub enum FirewallRunState {
        /// At work.
        Running,
        /// Over; with `fail_fast` perhaps before its last case.
        Done,
        /// Ended by DELETE, or by the end of the daemon.
        Cancelled,
        /// The engine could not go on; `problem` tells why.
        Failed,
    }

    /// A run.
    pub struct FirewallTest {
        /// Its id.
        pub id: String,
        /// How far it is.
        pub state: FirewallRunState,
        /// Cases in all.
        pub cases: u64,
        /// Cases that are over.
        pub done: u64,
        /// Why it failed.
        pub problem: Option<Problem>,
        /// When it is over: what `netengine test --format json` prints.
        pub report: Option<serde_json::Value>,
    }
}
