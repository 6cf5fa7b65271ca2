//! The engine against the real kernel. Needs a host that lets users make user namespaces.

mod case;
mod families;
mod hostile;
mod large;
mod outline;
mod reuse;
mod truth;
mod verdicts;
