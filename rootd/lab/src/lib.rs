//! The firewall lab's engine: nftables rulesets judged by the real kernel, packet by packet.
//!
//! A worker process lives in user, network, mount, process and IPC namespaces of its own, with an empty root directory, and is told cases over
//! a socket. For each case it makes one network namespace per node, joins them, has the rulesets loaded by `netengine-nft` (a process beside it in
//! the same sandbox), injects the packets and reads what the kernel says of them. [`client::Rootless`] starts such a worker where the host lets
//! users make user namespaces; rootd's sandbox role runs the same [`worker::serve`].
//!
//! | module | what it does |
//! |---|---|
//! | [`text`] | ruleset texts and listings; pure |
//! | [`verdict`] | observations to verdicts; pure |
//! | [`isolate`] | namespaces, root directory, seccomp, Landlock |
//! | [`sys`] | system calls that need unsafe code |
//! | [`netlink`], [`build`] | a topology by rtnetlink |
//! | [`nft`] | the process that reads rulesets |
//! | [`watch`], [`echo`] | sockets that inject, observe and answer |
//! | [`reuse`] | a sandbox for the next case, when the last left nothing in it |
//! | [`discard`] | closing what a case leaves behind |
//! | [`tracer`] | the table that switches tracing on |
//! | [`flow`], [`mute`] | what the ends of a flow know, and what their stacks must not add |
//! | [`inject`], [`capture`] | sending and observing, and what of it is kept |
//! | [`lookup`] | rules of long rulesets, when a trace names them |
//! | [`run`] | one case from request to answer |
//! | [`worker`], [`client`], [`wire`] | cases over a socket |

pub mod build;
pub mod capture;
pub mod client;
pub mod discard;
pub mod echo;
pub mod flow;
pub mod inject;
pub mod isolate;
pub mod lookup;
pub mod mute;
pub mod netlink;
pub mod nft;
pub mod reuse;
pub mod run;
pub mod sys;
pub mod text;
pub mod tracer;
pub mod verdict;
pub mod watch;
pub mod wire;
pub mod worker;
