#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| netengine_targets::targets::lab_suite::target(input));
