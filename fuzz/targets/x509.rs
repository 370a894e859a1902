//! The target `x509` of `capture/src/fuzz/`, for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| capture::fuzz::run("x509", data));
