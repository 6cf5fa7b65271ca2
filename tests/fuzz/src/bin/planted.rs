//! Proof that the engine is led by coverage: eight bytes that chance would not find in 10^18 tries. Not one of the
//! targets; `packaging/fuzz` runs it first and demands that it fails.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((magic, rest)) = bytes.split_first_chunk::<4>() else { return };
    if magic == b"NeFz" && rest.first_chunk().map(|number| u32::from_be_bytes(*number)) == Some(0xdead_4217) {
        panic!("the planted fault was found");
    }
});
