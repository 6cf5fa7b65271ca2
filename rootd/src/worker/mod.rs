//! The processes that do what the broker decided. Each works in a single thread, reads one request at a time from its
//! socketpair, and ends when the broker's end closes. The probe worker has further threads, which close sockets and nothing else.

pub mod attendant;
pub mod channel;
pub mod erase;
pub mod files;
pub mod holder;
pub mod lab;
pub mod message;
pub mod net;
pub mod ns;
pub mod ns_settings;
pub mod probe;
pub mod probe_close;
pub mod probe_judge;
pub mod spawn;
mod subject;
pub mod watch;
pub mod watch_fact;
