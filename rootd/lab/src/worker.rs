//! The worker: reads cases, runs them, answers.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
};

use netengine_lab_proto::{CaseRequest, CaseResult};

use crate::{
    build,
    discard::Discard,
    nft::{Answer, Mode, Nft},
    run::{Engine, settings_directory},
    sys,
    tracer::INET_TRACER,
    watch::Barrier,
    wire,
};

/// Answers cases until the other side closes. The process is in its sandbox already, and limited after this function has made what is for
/// all cases: `limit` is called then, and makes the threads that close things, so that they are limited too.
///
/// # Errors
/// When the worker cannot go on; the process must end.
pub fn serve(mut socket: UnixStream, mut nft: Nft, limit: impl FnOnce() -> io::Result<Discard>) -> io::Result<()> {
    nft.limit()?;
    let settings = settings_directory().to_path_buf();
    let namespace = build::barrier(&settings).map_err(io::Error::other)?;
    // While some namespace traces, the kernel need not patch its code for the first rule of each case that does (static keys).
    if nft.run(Mode::Load, namespace.as_fd(), INET_TRACER)? != Answer::Done(String::new()) {
        return Err(io::Error::other("cannot trace packets: the kernel lacks nftables or its tracing"));
    }
    let barrier = Barrier::open()?;
    // NFTA_TRACE_CT_STATE.
    let tells_states = sys::kernel_release() >= (6, 16);
    let discard = limit()?;
    let mut engine = Engine { nft, barrier, settings, discard, kept: Vec::new(), tells_states };
    while let Some(request) = wire::read::<CaseRequest>(&mut socket)? {
        let result: CaseResult = engine.run(&request)?;
        wire::write(&mut socket, &result)?;
    }
    Ok(())
}
