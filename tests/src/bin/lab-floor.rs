//! The firewall lab's floor: a bare loop that makes the system calls which judging a small ruleset takes, and nothing else.
//!
//! Usage: `lab-floor RULESETS PROCESSOR`; prints the seconds that the rulesets took.
//!
//! One process, no sandbox, libnftables called in place; messages for the network are made before the clock starts, answers are looked at only for the
//! one thing awaited. The network is built once, as the engine does for cases that leave nothing behind. For each ruleset: a context of
//! libnftables, load, list, a listening socket, a raw socket, a frame, a barrier, trace messages until one says drop, tables removed, their absence asked for.

use std::{
    ffi::{CString, c_char, c_int, c_uint, c_void},
    net::UdpSocket,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use netengine_lab::{
    build::{barrier, build},
    isolate,
    netlink::{Batch, DUMP, Netlink},
    sys,
    tracer::INET_TRACER,
    watch::Barrier,
};
use netengine_lab_proto::{HopVerdict, PacketSpec, Topology, Transport, presets};
use netengine_packet::{attributes, build as packet, nonce::Nonce, trace};
use nix::sched::{CloneFlags, unshare};

unsafe extern "C" {
    fn nft_ctx_new(flags: c_uint) -> *mut c_void;
    fn nft_ctx_free(context: *mut c_void);
    fn nft_ctx_buffer_output(context: *mut c_void) -> c_int;
    fn nft_ctx_buffer_error(context: *mut c_void) -> c_int;
    fn nft_ctx_output_set_flags(context: *mut c_void, flags: c_uint);
    fn nft_run_cmd_from_buffer(context: *mut c_void, text: *const c_char) -> c_int;
}

/// Loads a text and lists the ruleset; gives the socket, which must not close while the kernel frees tables of its namespace.
fn load(text: &str) -> OwnedFd {
    let text = CString::new(text).expect("no NUL");
    let next = std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor").as_raw_fd();
    // SAFETY: the calls of libnftables(3) in their order; the context is live between new and free, texts end with NUL, and its socket is borrowed
    // while it lives.
    unsafe {
        let context = nft_ctx_new(0);
        assert!(!context.is_null(), "a context");
        let socket = BorrowedFd::borrow_raw(next).try_clone_to_owned().expect("its socket");
        nft_ctx_output_set_flags(context, 1 << 3);
        assert_eq!(nft_ctx_buffer_output(context) | nft_ctx_buffer_error(context), 0);
        assert_eq!(nft_run_cmd_from_buffer(context, text.as_ptr()), 0, "loaded");
        assert_eq!(nft_run_cmd_from_buffer(context, c"list ruleset".as_ptr()), 0, "listed");
        nft_ctx_free(context);
        socket
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<usize>().expect("a number"));
    let (rulesets, processor) = (arguments.next().expect("RULESETS"), arguments.next().expect("PROCESSOR"));
    unshare(CloneFlags::CLONE_NEWNET).expect("a namespace; run as root");
    isolate::stay(processor).expect("a processor");
    isolate::raise_descriptors().expect("descriptors");
    // Of whatever namespace is current.
    let settings = Path::new("/proc/sys/net");
    let _home = barrier(settings).expect("the barrier");
    let mut pass = Barrier::open().expect("its sockets");
    let mut held = vec![load(INET_TRACER)];
    let deadline = || Instant::now() + Duration::from_secs(10);
    let spec = |port: u16| {
        let transport = Transport::Udp { src_port: 40_000, dst_port: port };
        PacketSpec::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), transport)
    };
    let ether = packet::Ether { src: presets::CLIENT_MAC, dst: presets::FW_MAC };
    let work: Vec<(u16, String, Vec<u8>)> = (0..rulesets)
        .map(|number| {
            let port = (number + 1) as u16;
            let mut frames = packet::frames(&spec(port), ether, Nonce::FIRST).expect("a frame");
            (port, format!("{}\n{INET_TRACER}", ruleset(port)), frames.remove(0))
        })
        .collect();
    let begun = Instant::now();
    let built = build(&Topology::simple(), settings, true).expect("a network");
    built[0].enter().expect("the client");
    let client = sys::frames(2, 8 << 20).expect("a packet socket");
    built[1].enter().expect("the node");
    let traces = Netlink::netfilter(&[trace::TRACE_GROUP], 32 << 20).expect("a trace socket");
    let cleaner = Netlink::requests().expect("a socket");
    let mut buffer = vec![0; 1 << 17];
    for (port, text, frame) in &work {
        held.push(load(text));
        let listening = UdpSocket::bind(("0.0.0.0", *port)).expect("a listener");
        let arrivals = sys::arrivals(true, 17, 8 << 20).expect("a raw socket");
        nix::sys::socket::send(client.as_raw_fd(), frame, nix::sys::socket::MsgFlags::empty()).expect("sent");
        assert!(pass.pass(deadline()).expect("passed"));
        let mut dropped = false;
        while let Some(length) = traces.receive(&mut buffer).expect("no trace lost") {
            dropped |= attributes::messages(&buffer[..length]).flatten().any(|message| is_drop(&message));
        }
        assert!(dropped, "the rule's verdict was seen");
        drop((listening, arrivals));
        clean(&cleaner);
    }
    println!("{}", begun.elapsed().as_secs_f64());
    // The kernel closes the rest with the process.
    std::process::exit(0);
}

/// The ruleset of a port: what the bench gives the engine.
fn ruleset(port: u16) -> String {
    format!(
        "table inet t {{\n chain i {{\n type filter hook input priority 0; policy accept;\n udp dport {port} drop\n }}\n}}\n"
    )
}

/// A trace message that says drop.
fn is_drop(message: &attributes::Message<'_>) -> bool {
    matches!(trace::decode(message), Ok(trace::Report::Trace(trace)) if trace.verdict == Some(HopVerdict::Drop))
}

/// Removes all tables and asks whether any is left.
fn clean(socket: &Netlink) {
    let mut batch = Batch::default();
    batch.unanswered(0x10, &[0, 0, 0, 10]);
    batch.request(0xa02, 0, &[0; 4]);
    batch.unanswered(0x11, &[0, 0, 0, 10]);
    socket.transact(&batch).expect("removed");
    let mut list = Batch::default();
    list.request(0xa01, DUMP, &[0; 4]);
    assert!(socket.ask(&list).expect("listed").is_none(), "no table is left");
}
