//! How a ruleset that is larger than a socket's send buffer reaches the kernel.
//!
//! A transaction is one datagram, and must fit into the buffer (net/netlink/af_netlink.c, `netlink_sendmsg`). nft forces a larger one, which
//! nobody may in a user namespace; net.core.wmem_max bounds what may be asked for. So libnftables' transactions, when they are too long, are
//! sent in pieces here. Nobody sees a sandbox between two pieces; what was loaded before a piece was refused, the caller removes
//! ([`take_left`]).
//!
//! Here too rules get their numbers, and dumps of all rules become requests for some (`some.rs`).

use std::{
    ffi::{c_int, c_long, c_void},
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::libc;

use crate::{
    pieces::pieces,
    some::{Wanted, numbered, request},
};

/// Bytes of the first piece: what every host allows that did not change net.core.wmem_max, since the kernel grants twice what is asked for
/// (socket(7), SO_SNDBUF).
const FIRST: usize = 2 * 212_992 - KEPT;
/// Bytes of its buffer that the kernel does not take.
const KEPT: usize = 32;

/// Some pieces of a transaction were loaded, and not all.
static LEFT: AtomicBool = AtomicBool::new(false);

/// Whether something was loaded of a transaction that was refused, since the last call.
pub fn take_left() -> bool {
    LEFT.swap(false, Ordering::Relaxed)
}

/// Whether the rules of a transaction get numbers.
static NUMBERS: AtomicBool = AtomicBool::new(false);

/// From now on the rules of each transaction get numbers, or do not.
pub fn number_rules(yes: bool) {
    NUMBERS.store(yes, Ordering::Relaxed);
}

/// The rules that listings have, where they do not have all.
static WANTED: Mutex<Option<Vec<Wanted>>> = Mutex::new(None);

/// From now on listings have these rules alone, or all.
pub fn list_alone(rules: Option<Vec<Wanted>>) {
    *WANTED.lock().unwrap_or_else(PoisonError::into_inner) = rules;
}

/// Takes the place of the C library's sendto(2), by which libmnl sends requests.
///
/// # Safety
/// As sendto(2): `length` bytes at `content` and `name_length` at `name` are readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendto(
    socket: c_int,
    content: *const c_void,
    length: usize,
    flags: c_int,
    name: *const libc::sockaddr,
    name_length: libc::socklen_t,
) -> isize {
    let wanted = WANTED.lock().unwrap_or_else(PoisonError::into_inner);
    let some = wanted.as_ref().and_then(|wanted| {
        // SAFETY: the caller's promise.
        request(unsafe { std::slice::from_raw_parts(content.cast::<u8>(), length) }, wanted)
    });
    let (start, count) = some.as_ref().map_or((content, length), |some| (some.as_ptr().cast::<c_void>(), some.len()));
    // SAFETY: the caller's promise, or bytes of ours that live until the call returns; the kernel checks each address.
    let sent = unsafe { libc::syscall(libc::SYS_sendto, socket, start, count, flags, name, name_length) } as isize;
    if sent < 0 { sent } else { length as isize }
}

/// Takes the place of the C library's sendmsg(2), for libnftables calls it by name: an executable's symbols come first.
///
/// # Safety
/// As sendmsg(2): `message` and all it names are readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(socket: c_int, message: *const libc::msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's promise.
    let send = |message: *const libc::msghdr| unsafe { libc::syscall(libc::SYS_sendmsg, socket, message, flags) };
    if !NUMBERS.load(Ordering::Relaxed) {
        let sent = send(message) as isize;
        // What the kernel has just read, and objected to nothing but its length.
        return if sent < 0 && errno() == libc::EMSGSIZE {
            unsafe { in_pieces(socket, message, flags, send) }
        } else {
            sent
        };
    }
    // SAFETY: the caller's promise.
    let whole = unsafe { numbered(&parts(message)) };
    let Some(mut whole) = whole else { return send(message) as isize };
    let mut part = libc::iovec { iov_base: whole.as_mut_ptr().cast::<c_void>(), iov_len: whole.len() };
    // SAFETY: the caller's promise; a header is plain data.
    let changed = libc::msghdr { msg_iov: &raw mut part, msg_iovlen: 1, ..unsafe { *message } };
    let sent = send(&raw const changed) as isize;
    // SAFETY: the header and what it names live until the call returns.
    if sent < 0 && errno() == libc::EMSGSIZE {
        unsafe { in_pieces(socket, &raw const changed, flags, send) }
    } else {
        sent
    }
}

/// The parts of a message.
///
/// # Safety
/// They are readable.
unsafe fn parts<'a>(message: *const libc::msghdr) -> Vec<&'a [u8]> {
    // SAFETY: the caller's promise.
    unsafe {
        let parts = std::slice::from_raw_parts((*message).msg_iov, (*message).msg_iovlen as _);
        parts.iter().map(|part| std::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len)).collect()
    }
}

/// Sends a message that is too long for the socket; how many bytes it has.
///
/// # Safety
/// It and all it names are readable.
unsafe fn in_pieces(
    socket: c_int,
    message: *const libc::msghdr,
    flags: c_int,
    whole: impl FnOnce(*const libc::msghdr) -> c_long,
) -> isize {
    // SAFETY: the caller's promise.
    let (parts, name) = unsafe {
        (parts(message), std::slice::from_raw_parts((*message).msg_name.cast::<u8>(), (*message).msg_namelen as usize))
    };
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let granted = enlarge(socket, bytes);
    let Some(pieces) = pieces(&parts, FIRST.min(granted), granted) else { return whole(message) as isize };
    for (number, piece) in pieces.each().enumerate() {
        let done = put(socket, name, &piece, flags).and_then(|()| is_accepted(socket));
        if !matches!(done, Ok(true)) {
            LEFT.store(number > 0, Ordering::Relaxed);
        }
        match done {
            Ok(true) => {}
            // libnftables reads why.
            Ok(false) => break,
            Err(error) => return failed(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
    bytes as isize
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The C library's way to fail.
fn failed(code: c_int) -> isize {
    // SAFETY: the address is that of this thread's own variable.
    unsafe { *libc::__errno_location() = code };
    -1
}

/// Asks for a send buffer of so many bytes; the longest message that the one that was granted takes.
fn enlarge(socket: c_int, bytes: usize) -> usize {
    let wanted = c_int::try_from(bytes / 2 + KEPT).unwrap_or(c_int::MAX / 2);
    let (mut granted, mut length): (c_int, _) = (0, size_of::<c_int>() as libc::socklen_t);
    // SAFETY: the pointers are those of ints and of an int's length, as the option wants. What is refused leaves the buffer as it was.
    unsafe {
        let (level, option) = (libc::SOL_SOCKET, libc::SO_SNDBUF);
        libc::setsockopt(socket, level, option, (&raw const wanted).cast::<c_void>(), length);
        libc::getsockopt(socket, level, option, (&raw mut granted).cast::<c_void>(), &raw mut length);
    }
    usize::try_from(granted).unwrap_or(0).saturating_sub(KEPT)
}

/// Sends one piece; the kernel has worked on it when this returns.
fn put(socket: c_int, name: &[u8], piece: &[u8], flags: c_int) -> io::Result<()> {
    // SAFETY: both slices live until the call returns.
    let sent = unsafe {
        let (to, length) = (name.as_ptr().cast::<libc::sockaddr>(), name.len() as libc::socklen_t);
        libc::syscall(libc::SYS_sendto, socket, piece.as_ptr().cast::<c_void>(), piece.len(), flags, to, length)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether no answer tells an error. Acknowledgements are taken away; the first error stays for libnftables, with all that follow.
fn is_accepted(socket: c_int) -> io::Result<bool> {
    let mut answer = [0_u8; 20];
    let mut receive = |flags: c_int| {
        // SAFETY: the kernel writes at most as many bytes as there are.
        let got = unsafe { libc::recv(socket, answer.as_mut_ptr().cast::<c_void>(), answer.len(), flags) };
        (got, answer)
    };
    loop {
        let (got, answer) = receive(libc::MSG_PEEK | libc::MSG_DONTWAIT);
        if got < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(true) } else { Err(error) };
        }
        // NLMSG_ERROR, whose code 0 is an acknowledgement.
        let is_error = u16::from_ne_bytes([answer[4], answer[5]]) == 2 && answer[16..20] != [0; 4];
        if is_error {
            return Ok(false);
        }
        receive(libc::MSG_DONTWAIT);
    }
}
