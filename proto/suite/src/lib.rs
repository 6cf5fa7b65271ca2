//! Suites of the firewall lab: what a file says, what its cases send and expect, and how a run is reported.
//!
//! This crate has no I/O: texts come in, typed cases and reports go out. Files of both layouts of network-sandbox-engine are
//! read as they are.
//!
//! | module | what it holds |
//! |---|---|
//! | [`file`] | a suite as it is written, key by key |
//! | [`load`](mod@load) | a text to cases, with a place for every mistake |
//! | [`topology`], [`packet`], [`flow`] | what is written to what is built and injected |
//! | [`case`] | a case with what it expects, complete |
//! | [`judge`](mod@judge) | what was expected against what was observed |
//! | [`report`] | for people, as JSON, JUnit and TAP |
//! | [`coverage`](mod@coverage), [`mutate`] | which rules packets reach, and whether a changed rule is noticed |
//! | [`outline`] | words, sets and elements of a ruleset's text |
//! | [`derive`] | boundary packets from a ruleset |
//! | [`pcap`], [`pcapng`] | the frames of a case as a capture with comments |
//! | [`beside`] | recorded tables of other software |
//! | [`verdict`] | the words of verdicts, and which meets an expectation |
#![forbid(unsafe_code)]

pub mod beside;
pub mod case;
pub mod coverage;
pub mod derive;
pub mod file;
pub mod flow;
pub mod judge;
pub mod load;
pub mod mutate;
pub mod outline;
pub mod packet;
pub mod pcap;
pub mod pcapng;
pub mod report;
pub mod topology;
pub mod verdict;

pub use self::{
    case::{Case, Suite},
    judge::{Judged, Outcome, judge},
    load::{Mistake, load},
    verdict::Expected,
};
