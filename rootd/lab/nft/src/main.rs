//! netengine-nft: reads rulesets with libnftables, for the sandbox worker.
//!
//! Standard input is a socket to the worker. After one byte from the worker, which by then has taken the file system away, it limits itself
//! and answers requests. A request comes with a network namespace; the text is loaded there. The process that reads text is a child: when a
//! text crashes the parser, the next request finds another child.
//!
//! With `--drop` there is no user namespace around it, and its capabilities are the host's: it gives up all but those it loads rulesets with,
//! and the child of each text all but `CAP_NET_ADMIN`, which does not lead out of the namespace it is in.
//!
//! Request: mode (1 byte: 1 load, 2 list with what counters came to, 3 load and list; 5 load with numbered rules, and list chains alone; 8
//! list the rules that the text names), length of the text (4 bytes, little endian), text; one descriptor. Answer: status
//! (1 byte: 0 done, 1 refused, 2 the parser crashed, 3 no context, 4 refused when some of it was loaded already, so the namespace was emptied,
//! 5 the child took more memory than it may), length (4 bytes), listing or messages.

mod library;
mod messages;
mod pieces;
mod send;
mod some;

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, IoSliceMut, Read, Seek, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::{fs::MetadataExt, net::UnixStream},
    },
    process::ExitCode,
};

use nix::{
    libc,
    sched::{CloneFlags, setns},
    sys::{
        memfd::{MFdFlags, memfd_create},
        resource::{Resource, setrlimit},
        signal::Signal,
        socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, dup2_stdin, fork},
};

/// What is to be done, in the bits of a request's mode.
const LOAD: u8 = 1;
const LIST: u8 = 2;
const OUTLINE: u8 = 4;
const SOME: u8 = 8;
/// Bytes of a text, and of an answer: the worker's own bound with room for what it adds.
const BYTES: usize = (16 << 20) + (1 << 16);
const ANSWER_BYTES: usize = 64 << 20;
/// Bytes of address space: a large set takes about 300 bytes an element.
const MEMORY: u64 = 2 << 30;
/// How a child ends that answered and wants a successor; libnftables itself ends with 2 or 3.
const ANOTHER: i32 = 30;
/// How libnftables ends the process when it gets no memory (`NFT_EXIT_NOMEM`).
const NO_MEMORY: i32 = 2;
/// A text that long needs so much memory that it is listed only after all that reading it took has been given back.
const LONG: usize = 1 << 20;

fn main() -> ExitCode {
    // Descriptor 0 itself is where libnftables reads texts from later.
    let socket = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let drops = std::env::args_os().nth(1).is_some_and(|word| word == "--drop");
    match socket.and_then(|socket| serve(socket, drops)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netengine-nft: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says that it runs, waits for the worker's word, limits itself, and keeps a child that answers.
fn serve(mut socket: UnixStream, drops: bool) -> io::Result<()> {
    socket.write_all(b"r")?;
    let mut word = [0];
    if socket.read(&mut word)? == 0 {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    if drops {
        keep_capabilities(&[CAP_NET_ADMIN, CAP_SYS_ADMIN])?;
    }
    limit(drops)?;
    socket.write_all(b"l")?;
    loop {
        // SAFETY: this process has one thread.
        match unsafe { fork()? } {
            ForkResult::Child => {
                let end = answer_all(&mut socket, drops);
                std::process::exit(match end {
                    Ok(More::No) => 0,
                    Ok(More::InAnother) => ANOTHER,
                    Err(_) => 1,
                });
            }
            ForkResult::Parent { child } => match waitpid(child, None)? {
                WaitStatus::Exited(_, 0) => return Ok(()),
                WaitStatus::Exited(_, ANOTHER) => {}
                WaitStatus::Exited(_, NO_MEMORY) => put(&mut socket, 5, b"")?,
                // No text does that: somebody did, perhaps between two requests, when nobody waits for an answer.
                WaitStatus::Signaled(_, Signal::SIGKILL, _) => return Err(io::Error::other("its child was killed")),
                // The child had read the whole request: it answers last of all.
                WaitStatus::Signaled(..) => put(&mut socket, 2, b"")?,
                other => return Err(io::Error::other(format!("its child ended: {other:?}"))),
            },
        }
    }
}

/// Whether requests may come.
enum More {
    /// The worker has gone.
    No,
    /// They are for another child: this one cannot enter a namespace any more.
    InAnother,
}

fn answer_all(socket: &mut UnixStream, drops: bool) -> io::Result<More> {
    let mut held = Held::default();
    while let Some((mode, namespace, text)) = take(socket)? {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        held.enter(File::from(namespace).metadata()?.ino());
        if drops {
            keep_capabilities(&[CAP_NET_ADMIN])?;
        }
        let expected = next_descriptor()?;
        let Some(mut context) = library::Context::new() else {
            put(socket, 3, b"")?;
            if drops {
                return Ok(More::InAnother);
            }
            continue;
        };
        held.keep(expected);
        let mut done = Ok(Vec::new());
        if mode & LOAD != 0 {
            dup2_stdin(&memory(&text)?)?;
            send::number_rules(mode & OUTLINE != 0);
            done = context.load_standard_input();
            send::number_rules(false);
        }
        if mode & LIST != 0 && done.is_ok() {
            if text.len() > LONG {
                drop((context, text));
                context = library::Context::new().ok_or_else(|| io::Error::other("cannot make a second context"))?;
            }
            done = context.list(mode & LOAD == 0);
        } else if mode & OUTLINE != 0 && done.is_ok() {
            done = context.list_chains();
        } else if mode & SOME != 0 {
            let wanted =
                some::wanted(&text).ok_or_else(|| io::Error::other("cannot understand which rules to list"))?;
            send::list_alone(Some(wanted));
            done = context.list(false);
            send::list_alone(None);
        }
        match done {
            Ok(listing) => put(socket, 0, &listing)?,
            Err(messages) if send::take_left() => {
                context.empty().map_err(|why| io::Error::other(String::from_utf8_lossy(&why).into_owned()))?;
                put(socket, 4, &messages)?;
            }
            Err(messages) => put(socket, 1, &messages)?,
        }
        if drops {
            return Ok(More::InAnother);
        }
    }
    Ok(More::No)
}

/// Capabilities by their numbers (capabilities(7)).
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// Gives up every capability but these, for good.
fn keep_capabilities(kept: &[u32]) -> io::Result<()> {
    // struct __user_cap_header_struct, version 3, this thread; struct __user_cap_data_struct, effective, permitted, inheritable, twice.
    let header: [u32; 2] = [0x2008_0522, 0];
    let bits = kept.iter().fold(0_u32, |bits, number| bits | 1 << number);
    let data: [[u32; 3]; 2] = [[bits, bits, 0], [0, 0, 0]];
    // SAFETY: both pointers describe values of the kernel's layout, which live until the call returns.
    match unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// libnftables' own sockets of the namespace that is current, kept open past their contexts.
///
/// When a netfilter socket closes, the kernel waits for what was deleted in that namespace to be freed (net/netfilter/nf_tables_api.c,
/// `nft_rcv_nl_event`): ten milliseconds after each case that had its tables removed. A context itself cannot serve two texts: it remembers the
/// variables of the first.
#[derive(Default)]
struct Held(VecDeque<(u64, Vec<OwnedFd>)>);

impl Held {
    /// Namespaces whose sockets are kept; the one that was entered longest ago makes room.
    const NAMESPACES: usize = 32;

    /// The namespace that is current now, by its inode.
    fn enter(&mut self, namespace: u64) {
        let known = self.0.iter().position(|(other, _)| *other == namespace).and_then(|at| self.0.remove(at));
        self.0.push_back(known.unwrap_or((namespace, Vec::new())));
        if self.0.len() > Self::NAMESPACES {
            self.0.pop_front();
        }
    }

    /// Keeps the socket that a context opened as `descriptor`; without room or such a socket, it closes with its context.
    fn keep(&mut self, descriptor: RawFd) {
        // SAFETY: the context that owns the descriptor lives while it is borrowed here; at worst it is no socket.
        let theirs = unsafe { BorrowedFd::borrow_raw(descriptor) };
        if let Some((_, sockets)) = self.0.back_mut() {
            sockets.extend(theirs.try_clone_to_owned().ok());
        }
    }
}

/// The number that the next descriptor will have: the lowest that is free.
fn next_descriptor() -> io::Result<RawFd> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.as_raw_fd())
}

/// A file without a name that holds `text`, read from its start.
fn memory(text: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"ruleset", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file)
}

/// One request, or none when the worker has gone.
fn take(socket: &mut UnixStream) -> io::Result<Option<(u8, OwnedFd, Vec<u8>)>> {
    let mut head = [0_u8; 5];
    let mut space = nix::cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(&mut head)];
    let got = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let read = got.bytes;
    let mut namespace = None;
    for message in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
                namespace = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    if read == 0 {
        return Ok(None);
    }
    socket.read_exact(&mut head[read..])?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let namespace = namespace.ok_or_else(|| io::Error::other("cannot find the namespace of a request"))?;
    if length > BYTES {
        return Err(io::Error::other("cannot take a text of that length"));
    }
    let mut text = vec![0; length];
    socket.read_exact(&mut text)?;
    Ok(Some((head[0], namespace, text)))
}

fn put(socket: &mut UnixStream, status: u8, text: &[u8]) -> io::Result<()> {
    let text = &text[..text.len().min(ANSWER_BYTES)];
    let mut answer = Vec::with_capacity(text.len() + 5);
    answer.push(status);
    answer.extend((text.len() as u32).to_le_bytes());
    answer.extend(text);
    socket.write_all(&answer)
}

/// Denies what a parser never needs. Denials answer EPERM, files "no such file": libnftables looks for names of marks and realms.
fn limit(drops: bool) -> io::Result<()> {
    use seccompiler::{SeccompAction, SeccompFilter, TargetArch};
    const NO_FILES: &[libc::c_long] = &[libc::SYS_openat2, libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at];
    const DENIED: &[libc::c_long] = &[
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_unshare,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_mount_setattr,
        libc::SYS_bpf,
        libc::SYS_io_uring_setup,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_setuid,
        libc::SYS_setresuid,
        libc::SYS_capset,
        libc::SYS_prctl,
        libc::SYS_clone3,
    ];
    let arch = if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 };
    // Giving capabilities up is all that capset(2) can do for who has few.
    let denied = NO_FILES.iter().chain(DENIED).filter(|call| !drops || **call != libc::SYS_capset);
    let rules = denied.map(|call| (*call, Vec::new())).collect();
    // ENOSYS makes libc fall back from clone3 to clone, and is as good a refusal as any for the rest.
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32), arch)
        .map_err(io::Error::other)?;
    let program: seccompiler::BpfProgram = filter.try_into().map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}
