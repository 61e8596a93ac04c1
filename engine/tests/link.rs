//! Claims about the worker in a process of its own: the same sound, and a host that outlives it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::shown::{Shown, Shows};
use timbra_engine::controls::{HeldNote, RetuneControls, RetuneMode, Scale};
use timbra_engine::offline;
use timbra_engine::{
    AudioPort, Controls, Isolation, Service, StreamConfig, StreamHandle, Tier, VoiceState,
};
use timbra_voice::library::VoiceRef;

const RATE_HZ: u32 = 16_000;
const BLOCK: usize = 160;
const PATIENCE: Duration = Duration::from_secs(20);

fn open(path: &Path) -> (AudioPort, StreamHandle) {
    // SAFETY: all tests of this binary set it to the same, before any thread of the engine reads it.
    unsafe { std::env::set_var("TIMBRA_WORKER", env!("CARGO_BIN_EXE_timbra-worker")) };
    Service::global().set_isolation(Isolation::Process);
    let config = StreamConfig {
        host_rate_hz: RATE_HZ,
        max_block_samples: BLOCK,
        channels: 1,
        // The longest slack: these tests share the machine with others.
        tier: Tier::Render,
    };
    let (port, handle) = Service::global().open(config, VoiceRef::at(path)).unwrap();
    assert!(handle.wait_ready(PATIENCE), "{}", handle.status().message);
    (port, handle)
}

fn render(port: &mut AudioPort, input: &[f32]) -> Vec<f32> {
    let mut output = input.to_vec();
    for block in output.chunks_mut(BLOCK) {
        port.process(&mut [block], &Controls::default());
    }
    output
}

/// The tests of this binary share one worker, which some of them kill.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn kill(process: u32) {
    // SAFETY: the process is the worker these tests have started.
    assert_eq!(unsafe { libc::kill(process as i32, libc::SIGKILL) }, 0);
}

#[test]
fn what_the_worker_process_makes_is_what_the_thread_makes() {
    if !support::runtime_is_there() {
        return;
    }
    let _alone = alone();
    let path = support::folder("link-same").join("identity.timbra");
    support::write_identity(&path, 3, 80);
    let (mut port, handle) = open(&path);
    port.set_offline(true);
    let status = handle.status();
    let process = status.worker_process.expect("a process of its own");
    assert_ne!(process, std::process::id());
    assert_eq!(status.message, "");
    let latency = port.latency_samples() as usize;
    let song = support::song(RATE_HZ, 5.0);
    let mut input = song.clone();
    input.resize(song.len() + latency, 0.0);
    let found = render(&mut port, &input).split_off(latency);
    let voice = offline::load_voice(&path).unwrap();
    let expected = offline::convert(
        &voice,
        &song,
        RATE_HZ,
        &|_| Controls::default(),
        &mut |_| {},
    )
    .unwrap();
    support::assert_same(&found, &expected, "through the process");
    assert_eq!(handle.status().gaps, 0);
    assert!(handle.f0_history().len() > 200);

    // Another stream of this host is served by the same process.
    let (_port, second) = open(&path);
    assert_eq!(second.status().worker_process, Some(process));
}

#[test]
fn what_voices_in_steps_are_steered_by_crosses_to_the_process_whole() {
    if !support::runtime_is_there() {
        return;
    }
    let _alone = alone();
    let song = support::song(RATE_HZ, 3.0);
    let controls = |position: u64| Controls {
        // A second of each, and a change where a block and a point of the grid begin.
        auto_f0: [0.0, 1.0, 0.25][(position / 16_000) as usize % 3],
        f0_smoothing_ms: [40.0, 0.0, 100.0][(position / 16_000) as usize % 3],
        noise_scale: [1.0, 0.25, 2.0][(position / 16_000) as usize % 3],
        retune: RetuneControls {
            mode: [RetuneMode::Midi, RetuneMode::Scale, RetuneMode::Midi]
                [(position / 16_000) as usize % 3],
            key: 8,
            scale: Scale::Locrian,
            speed_ms: 60.0,
            humanise: 0.5,
            amount: 0.9,
            reference_hz: 443.0,
        },
        note: if (position / 8000).is_multiple_of(3) {
            HeldNote::NONE
        } else {
            HeldNote::of(50 + (position / 8000) as u8 % 12)
        },
        ..Controls::default()
    };
    for shows in [Shows::AutoF0, Shows::PriorNoise, Shows::F0] {
        let path = Shown {
            shows,
            encoder_lookahead_frames: 5,
            frame_samples: 186,
            step: (4, 2),
            encoder_step: None,
            follows: false,
        }
        .write("link-shown");
        let (mut port, handle) = open(&path);
        port.set_offline(true);
        let latency = port.latency_samples() as usize;
        let mut found = song.clone();
        found.resize(song.len() + latency, 0.0);
        for (index, block) in found.chunks_mut(BLOCK).enumerate() {
            port.process(&mut [block], &controls((index * BLOCK) as u64));
        }
        let voice = offline::load_voice(&path).unwrap();
        let expected = offline::convert(&voice, &song, RATE_HZ, &controls, &mut |_| {}).unwrap();
        support::assert_same(&found[latency..], &expected, &format!("{shows:?}"));
        let status = handle.status();
        assert_eq!(status.has_auto_f0, shows == Shows::AutoF0);
        assert_eq!(status.has_prior_noise, shows == Shows::PriorNoise);
        assert_eq!(status.gaps, 0);
    }
}

#[test]
fn a_killed_worker_is_started_again_and_the_output_is_aligned_again() {
    if !support::runtime_is_there() {
        return;
    }
    let _alone = alone();
    let path = support::folder("link-kill").join("identity.timbra");
    support::write_identity(&path, 3, 0);
    let (mut port, handle) = open(&path);
    let latency = port.latency_samples() as usize;
    let input = support::song(RATE_HZ, 8.0);
    let began = Instant::now();
    let mut output = input.clone();
    let mut killed = None;
    let mut longest_call = Duration::ZERO;
    for (index, block) in output.chunks_mut(BLOCK).enumerate() {
        let due = Duration::from_secs_f64((index * BLOCK) as f64 / f64::from(RATE_HZ));
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        if index == 200 {
            killed = handle.status().worker_process;
            kill(killed.unwrap());
        }
        let called = Instant::now();
        port.process(&mut [block], &Controls::default());
        longest_call = longest_call.max(called.elapsed());
    }
    let status = handle.status();
    assert_ne!(status.worker_process, killed);
    assert_eq!(status.voice_state, VoiceState::Ready);
    assert!(
        status.message.contains("started again"),
        "{}",
        status.message
    );
    assert!(status.gaps >= 1, "the gap is counted");
    assert!(longest_call < Duration::from_millis(50), "{longest_call:?}");
    let right: Vec<bool> = (0..input.len() / BLOCK)
        .map(|block| {
            let at = block * BLOCK;
            at >= latency && output[at..at + BLOCK] == input[at - latency..at + BLOCK - latency]
        })
        .collect();
    assert!(right[100..200].iter().all(|&right| right), "before");
    let gap = (200..).find(|&block| !right[block]).unwrap();
    // A machine that is busy with other things may leave short gaps later.
    let back = (gap..right.len() - 20)
        .find(|&block| right[block..block + 20].iter().all(|&right| right))
        .expect("on time again");
    println!("killed at 2 s: a gap from {gap} to {back}, in blocks of 10 ms");
    assert!(
        back < 200 + 200,
        "aligned again within 2 s, not at block {back}"
    );
    assert!(
        output[200 * BLOCK + 2 * latency..]
            .iter()
            .all(|sample| sample.abs() < 1.0),
        "no noise"
    );
}

#[test]
fn a_bounce_goes_on_after_the_worker_was_killed() {
    if !support::runtime_is_there() {
        return;
    }
    let _alone = alone();
    let path = support::folder("link-bounce").join("identity.timbra");
    support::write_identity(&path, 3, 0);
    let (mut port, handle) = open(&path);
    port.set_offline(true);
    let latency = port.latency_samples() as usize;
    let input = support::song(RATE_HZ, 10.0);
    let mut output = input.clone();
    for (index, block) in output.chunks_mut(BLOCK).enumerate() {
        if index == 300 {
            kill(handle.status().worker_process.unwrap());
        }
        port.process(&mut [block], &Controls::default());
    }
    let wrong = (latency..input.len())
        .filter(|&at| output[at] != input[at - latency])
        .count();
    // What was on its way, a block or two, and the features' context.
    let bound = 2 * latency + 20 * BLOCK;
    assert!(
        wrong > 0 && wrong < bound,
        "{wrong} samples, {bound} allowed"
    );
}

#[test]
fn a_worker_that_can_not_be_started_is_replaced_by_a_thread() {
    // In a process of its own: the program is part of the environment.
    if std::env::var_os("TIMBRA_TEST_NO_WORKER").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_worker_that_can_not_be_started_is_replaced_by_a_thread",
            ])
            .env("TIMBRA_TEST_NO_WORKER", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    if !support::runtime_is_there() {
        return;
    }
    let folder = support::folder("link-none");
    let path = folder.join("identity.timbra");
    support::write_identity(&path, 3, 0);
    for program in [folder.join("missing"), "/bin/false".into()] {
        // SAFETY: this process runs this one test.
        unsafe { std::env::set_var("TIMBRA_WORKER", &program) };
        Service::global().set_isolation(Isolation::Process);
        let config = StreamConfig {
            host_rate_hz: RATE_HZ,
            max_block_samples: BLOCK,
            channels: 1,
            tier: Tier::Live,
        };
        let (_port, handle) = Service::global().open(config, VoiceRef::at(&path)).unwrap();
        assert!(handle.wait_ready(PATIENCE));
        let status = handle.status();
        assert_eq!(status.worker_process, None);
        assert!(
            status.message.contains("inside the host"),
            "{}",
            status.message
        );
    }
}

#[test]
fn a_worker_with_too_little_memory_says_so_and_is_not_started_for_ever() {
    const NAME: &str = "a_worker_with_too_little_memory_says_so_and_is_not_started_for_ever";
    const VARIABLE: &str = "TIMBRA_TEST_MEMORY_KIB";
    if !support::runtime_is_there() || !cfg!(target_os = "linux") {
        return;
    }
    // From too little for ONNX Runtime to what is just enough for the voice: whatever it is that does not fit.
    let Ok(limit) = std::env::var(VARIABLE) else {
        for limit in [60, 150, 250, 350].map(|thousand| thousand * 1000) {
            // In a process of its own: the program is part of the environment.
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME, "--nocapture"])
                .env(VARIABLE, limit.to_string())
                .status()
                .unwrap();
            assert!(status.success(), "with {limit} KiB");
        }
        return;
    };
    let voice = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/trio.timbra");
    let folder = support::folder(&format!("link-memory-{limit}"));
    let (program, starts) = (folder.join("worker"), folder.join("starts"));
    let script = format!(
        "#!/bin/sh\necho >>'{}'\nulimit -v {limit}\nexec '{}' \"$@\"\n",
        starts.display(),
        env!("CARGO_BIN_EXE_timbra-worker")
    );
    let _ = std::fs::remove_file(&starts);
    std::fs::write(&program, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    // SAFETY: this process runs this one test.
    unsafe { std::env::set_var("TIMBRA_WORKER", &program) };
    Service::global().set_isolation(Isolation::Process);
    let config = StreamConfig {
        host_rate_hz: RATE_HZ,
        max_block_samples: BLOCK,
        channels: 1,
        tier: Tier::Live,
    };
    let (mut port, handle) = Service::global()
        .open(config, VoiceRef::at(&voice))
        .unwrap();
    let ready = handle.wait_ready(PATIENCE);
    // Words take their time, unlike the state.
    let asked = Instant::now();
    while !ready && handle.status().message.is_empty() && asked.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = handle.status();
    let times = std::fs::read_to_string(&starts).unwrap().lines().count();
    let message: String = status.message.chars().take(150).collect();
    println!(
        "{limit} KiB: {:?}, started {times} times: {message}",
        status.voice_state
    );
    // Two strikes and what a start that fails takes.
    assert!(times <= 6, "started {times} times");
    if !ready {
        assert_eq!(status.voice_state, VoiceState::Failed);
        assert!(!message.is_empty(), "the user is told");
        let output = render(&mut port, &support::song(RATE_HZ, 1.0));
        assert!(output.iter().all(|&sample| sample == 0.0), "silence");
    }
    let least: u32 = limit.parse().unwrap();
    assert!(!ready || least > 250_000, "it has no memory for that");
}

#[test]
fn nothing_is_missing_once_a_voice_cannot_come_back_after_the_end_of_its_worker() {
    if !support::runtime_is_there() {
        return;
    }
    let _alone = alone();
    let path = support::folder("link-gone").join("identity.timbra");
    support::write_identity(&path, 3, 80);
    let (mut port, handle) = open(&path);
    let song = support::song(RATE_HZ, 1.0);
    render(&mut port, &song);
    std::fs::remove_file(&path).unwrap();
    kill(handle.status().worker_process.unwrap());
    let began = Instant::now();
    while handle.status().voice_state != VoiceState::Failed {
        assert!(began.elapsed() < PATIENCE, "{:?}", handle.status());
        render(&mut port, &song[..BLOCK]);
        std::thread::sleep(Duration::from_millis(5));
    }
    render(&mut port, &song);
    let before = handle.status().gap_samples;
    render(&mut port, &song);
    assert_eq!(handle.status().gap_samples, before);
}

#[test]
fn a_path_that_no_message_can_hold_is_refused_and_the_worker_stays() {
    use std::os::unix::ffi::OsStrExt;
    if !support::runtime_is_there() {
        return;
    }
    let _alone = alone();
    let folder = support::folder("link-unicode");
    let path = folder.join("identity.timbra");
    support::write_identity(&path, 3, 80);
    let odd = folder.join(std::ffi::OsStr::from_bytes(b"\x83\x8b.timbra"));
    std::fs::copy(&path, &odd).unwrap();
    let (_port, neighbour) = open(&path);
    let worker = neighbour.status().worker_process;
    let (_other_port, handle) = open(&path);
    handle.load_voice(VoiceRef::at(&odd));
    assert!(!handle.wait_ready(PATIENCE), "it is refused");
    let status = handle.status();
    assert!(status.message.contains("rename"), "{}", status.message);
    std::thread::sleep(Duration::from_millis(300));
    for stream in [&neighbour, &handle] {
        assert_eq!(stream.status().worker_process, worker);
    }
    assert_eq!(neighbour.status().voice_state, VoiceState::Ready);
}
