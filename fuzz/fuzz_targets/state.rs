#![no_main]
#[path = "../checks/plugin.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::state(bytes));
