//! libnftables (libnftables(3)): the only foreign code.

use std::ffi::{CStr, c_char, c_int, c_uint};

#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn nft_ctx_new(flags: c_uint) -> *mut Opaque;
    fn nft_ctx_free(ctx: *mut Opaque);
    fn nft_ctx_buffer_output(ctx: *mut Opaque) -> c_int;
    fn nft_ctx_buffer_error(ctx: *mut Opaque) -> c_int;
    fn nft_ctx_get_output_buffer(ctx: *mut Opaque) -> *const c_char;
    fn nft_ctx_get_error_buffer(ctx: *mut Opaque) -> *const c_char;
    fn nft_ctx_output_set_flags(ctx: *mut Opaque, flags: c_uint);
    fn nft_ctx_clear_include_paths(ctx: *mut Opaque);
    fn nft_run_cmd_from_buffer(ctx: *mut Opaque, text: *const c_char) -> c_int;
    fn nft_run_cmd_from_filename(ctx: *mut Opaque, name: *const c_char) -> c_int;
}

/// `NFT_CTX_OUTPUT_STATELESS`, `NFT_CTX_OUTPUT_HANDLE`.
const STATELESS: c_uint = 1 << 2;
const HANDLES: c_uint = 1 << 3;

/// A context: it belongs to the network namespace in which it was made.
pub struct Context(*mut Opaque);

impl Context {
    /// Makes a context that keeps its output and errors for [`Context::run`].
    pub fn new() -> Option<Self> {
        // SAFETY: no preconditions; a null pointer says that memory or the netlink socket was refused.
        let context = unsafe { nft_ctx_new(0) };
        if context.is_null() {
            return None;
        }
        let context = Self(context);
        // SAFETY: the pointer came from nft_ctx_new and was not freed.
        let kept = unsafe {
            nft_ctx_clear_include_paths(context.0);
            nft_ctx_output_set_flags(context.0, HANDLES);
            nft_ctx_buffer_output(context.0) == 0 && nft_ctx_buffer_error(context.0) == 0
        };
        kept.then_some(context)
    }

    /// Lists the ruleset with handles, and what its counters and quotas came to when asked for.
    pub fn list(&mut self, counts: bool) -> Result<Vec<u8>, Vec<u8>> {
        // SAFETY: the context is live, the text ends with NUL.
        let done = unsafe {
            nft_ctx_output_set_flags(self.0, if counts { HANDLES } else { HANDLES | STATELESS });
            nft_run_cmd_from_buffer(self.0, c"list ruleset".as_ptr()) == 0
        };
        self.result(done)
    }

    /// Lists the chains, with hooks and handles, without rules.
    pub fn list_chains(&mut self) -> Result<Vec<u8>, Vec<u8>> {
        // SAFETY: the context is live, the text ends with NUL.
        let done = unsafe { nft_run_cmd_from_buffer(self.0, c"list chains".as_ptr()) } == 0;
        self.result(done)
    }

    /// Removes all tables of the namespace.
    pub fn empty(&mut self) -> Result<Vec<u8>, Vec<u8>> {
        // SAFETY: the context is live, the text ends with NUL.
        let done = unsafe { nft_run_cmd_from_buffer(self.0, c"flush ruleset".as_ptr()) } == 0;
        self.result(done)
    }

    /// Runs the commands that standard input holds. Only texts that come this way get messages with lines and columns; libnftables knows
    /// the name and reads descriptor 0 itself, no file is opened.
    pub fn load_standard_input(&mut self) -> Result<Vec<u8>, Vec<u8>> {
        // SAFETY: the context is live, the name ends with NUL.
        let done = unsafe { nft_run_cmd_from_filename(self.0, c"/dev/stdin".as_ptr()) } == 0;
        self.result(done)
    }

    /// What was printed, or what was wrong.
    fn result(&mut self, done: bool) -> Result<Vec<u8>, Vec<u8>> {
        // SAFETY: both buffers belong to the context, end with NUL, and are copied before the next call can change them.
        let text = unsafe {
            let buffer = if done { nft_ctx_get_output_buffer(self.0) } else { nft_ctx_get_error_buffer(self.0) };
            if buffer.is_null() { Vec::new() } else { CStr::from_ptr(buffer).to_bytes().to_vec() }
        };
        if done { Ok(text) } else { Err(text) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by nft_ctx_new, freed once.
        unsafe { nft_ctx_free(self.0) };
    }
}
