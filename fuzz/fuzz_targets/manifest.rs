#![no_main]
#[path = "../checks/engine.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::manifest(bytes));
