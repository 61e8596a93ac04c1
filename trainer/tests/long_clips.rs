//! Hours of audio in bounded memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod support;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Folder, runtime_is_there, song, wav_bytes, write_voice};

/// Runs the program and returns the most memory it ever had, in MB.
fn peak_mb(arguments: &[&Path]) -> f64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(["--threads", "1"])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status_path = format!("/proc/{}/status", child.id());
    let mut peak_kb = 0.0_f64;
    loop {
        // The high-water mark is the kernel's own; it is read until the process has ended.
        let status = std::fs::read_to_string(&status_path).unwrap_or_default();
        let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kb) = mark.and_then(|mark| mark.trim().trim_end_matches(" kB").parse().ok()) {
            peak_kb = peak_kb.max(kb);
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{arguments:?}");
            assert!(peak_kb > 0.0, "the process was never seen");
            return peak_kb / 1024.0;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A mono 8-bit WAV of any length that repeats one minute, written without holding it.
fn long_wav(path: &Path, rate_hz: u32, minutes: usize) {
    let minute: Vec<u8> = song(rate_hz, 60.0)
        .iter()
        .map(|sample| (sample * 127.0 + 128.0).round() as u8)
        .collect();
    let mut header = wav_bytes(1, 8, 1, rate_hz, &[]);
    let bytes = (minute.len() * minutes) as u32;
    header[4..8].copy_from_slice(&(bytes + 36).to_le_bytes());
    header[40..44].copy_from_slice(&bytes.to_le_bytes());
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(&header).unwrap();
    for _ in 0..minutes {
        file.write_all(&minute).unwrap();
    }
    file.flush().unwrap();
}

#[test]
fn slicing_three_hours_takes_little_more_memory_than_three_minutes() {
    let folder = Folder::new("slice-hours");
    let (short, long) = (folder.at("short.wav"), folder.at("long.wav"));
    long_wav(&short, 8_000, 3);
    long_wav(&long, 8_000, 180);
    let peak_of = |input: &Path, name: &str| {
        peak_mb(&[Path::new("slice"), input, Path::new("-o"), &folder.at(name)])
    };
    let (short_mb, long_mb) = (peak_of(&short, "a"), peak_of(&long, "b"));
    // The samples of three hours are 346 MB as floats; one level per 10 ms is 4 MB.
    assert!(
        long_mb - short_mb < 40.0,
        "{short_mb:.0} MB for 3 minutes, {long_mb:.0} MB for 3 hours"
    );
}

#[test]
fn converting_takes_the_same_memory_for_any_length() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("convert-long");
    let voice = folder.at("voice.timbra");
    write_voice(&voice, |_, _| {});
    let peak_of = |minutes: usize| {
        let (input, output) = (folder.at("in.wav"), folder.at("out.wav"));
        long_wav(&input, 8_000, minutes);
        peak_mb(&[
            Path::new("convert"),
            &input,
            Path::new("-o"),
            &output,
            Path::new("--voice"),
            &voice,
        ])
    };
    let (short_mb, long_mb) = (peak_of(1), peak_of(15));
    // 14 minutes more are 27 MB as floats on each side of the conversion.
    assert!(
        long_mb - short_mb < 12.0,
        "{short_mb:.0} MB for 1 minute, {long_mb:.0} MB for 15 minutes"
    );
}
