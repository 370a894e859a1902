//! The target `tunnels` of `capture/src/fuzz/`, for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| capture::fuzz::run("tunnels", data));
