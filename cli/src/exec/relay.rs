//! Copies bytes between this process's standard streams and the command's, each direction in its own thread.
//!
//! Blocking threads and not a runtime: standard streams are shared with other processes, so they must not be made
//! non-blocking here.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use nix::sys::signal::Signal;

use super::{connection::send_signal, read_some, write_all};

/// Bytes copied at once: the size of a pipe (pipe(7)).
const CHUNK: usize = 65_536;
/// End of file, typed (termios(3), `VEOF`'s default).
const END_OF_FILE: u8 = 4;

/// The threads of one command.
pub struct Relay {
    master: Option<Arc<OwnedFd>>,
    input: Option<Input>,
    outputs: Vec<JoinHandle<()>>,
}

enum Input {
    /// Closed when standard input ends.
    Pipe(OwnedFd),
    /// Gets the end-of-file key when standard input ends.
    Terminal(Arc<OwnedFd>),
}

impl Relay {
    /// Takes the command's descriptors and starts to copy its output.
    ///
    /// # Errors
    /// `InvalidData` when their number is not one for a terminal or three for pipes; a thread cannot be started.
    pub fn start(descriptors: Vec<OwnedFd>, is_terminal: bool, stream: &UnixStream) -> io::Result<Self> {
        let wrong = |found: Vec<OwnedFd>| {
            io::Error::new(io::ErrorKind::InvalidData, format!("rootd sent {} descriptors", found.len()))
        };
        if is_terminal {
            let [master] = <[OwnedFd; 1]>::try_from(descriptors).map_err(wrong)?;
            let master = Arc::new(master);
            let (from, stream) = (Arc::clone(&master), stream.try_clone()?);
            let output = spawn("terminal", move || copy_terminal(&from, &stream))?;
            let input = Some(Input::Terminal(Arc::clone(&master)));
            return Ok(Self { master: Some(master), input, outputs: vec![output] });
        }
        let [input, output, errors] = <[OwnedFd; 3]>::try_from(descriptors).map_err(wrong)?;
        let outputs = vec![
            spawn("stdout", move || copy(output, io::stdout()))?,
            spawn("stderr", move || copy(errors, io::stderr()))?,
        ];
        Ok(Self { master: None, input: Some(Input::Pipe(input)), outputs })
    }

    /// The master of the command's terminal, if it has one.
    pub fn master(&self) -> Option<Arc<OwnedFd>> {
        self.master.clone()
    }

    /// Starts to copy the input; its thread ends with the process.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start_input(&mut self) -> io::Result<()> {
        match self.input.take() {
            Some(Input::Pipe(to)) => spawn("stdin", move || copy(io::stdin(), to)).map(drop),
            Some(Input::Terminal(to)) => spawn("stdin", move || {
                copy(io::stdin(), &*to);
                // A command that has ended needs no end of file.
                let _ = write_all(&*to, &[END_OF_FILE]);
            })
            .map(drop),
            None => Ok(()),
        }
    }

    /// Waits until all output of the ended command is written.
    pub fn finish_output(&mut self) {
        for output in self.outputs.drain(..) {
            // A thread that panicked has said so.
            let _ = output.join();
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.into()).spawn(work)
}

/// Copies until either side ends, then closes both: a command whose reader is gone gets SIGPIPE, as in a shell.
fn copy(from: impl AsFd, to: impl AsFd) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(read @ 1..) = read_some(&from, &mut buffer) {
        if write_all(&to, &buffer[..read]).is_err() {
            break;
        }
    }
}

/// Copies a terminal's output to its end. When the reader is gone the command is told as by a closed window.
fn copy_terminal(from: &OwnedFd, stream: &UnixStream) {
    let mut buffer = vec![0; CHUNK];
    let mut has_reader = true;
    while let Ok(read @ 1..) = read_some(from, &mut buffer) {
        if has_reader && write_all(io::stdout(), &buffer[..read]).is_err() {
            has_reader = false;
            // When the connection is gone, the main thread sees that and ends.
            let _ = send_signal(stream, Signal::SIGHUP as u8);
        }
    }
}
