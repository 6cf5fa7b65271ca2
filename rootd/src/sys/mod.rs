//! The only unsafe code of rootd. Each function is safe to call.

pub mod clone;
pub mod fds;
pub mod listen;
pub mod netns;
pub mod packet;
pub mod peer;
pub mod process;
pub mod pty;
pub mod trace_buffer;
