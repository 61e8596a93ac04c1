#![no_main]
#[path = "../checks/voice.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::package(bytes));
