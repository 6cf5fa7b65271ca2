//! The engine against the real kernel. Needs a host that lets users make user namespaces.

mod case;
mod hostile;
mod truth;
mod verdicts;
