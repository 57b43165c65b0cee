//! Decodes any bytes; run with `cargo +nightly fuzz run decode` in `broker/codec`.

#![no_main]

#[path = "../../tests/support/fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::check(bytes));
