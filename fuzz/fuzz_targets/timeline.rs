#![no_main]
#[path = "../checks/trainer.rs"]
mod checks;
#[path = "../trainer.rs"]
mod trainer;

use trainer::{audio, config, timeline};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::timeline(bytes));
