//! Claims about streams served by the threads of the service.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use timbra_engine::offline;
use timbra_engine::{
    AudioPort, Controls, Fallback, LoadedVoice, Service, StreamConfig, StreamHandle, Tier,
    VoiceRef, VoiceState,
};

use timbra_voice::identity::IdentityVoice;
use timbra_voice::package::{self, Form};

const PATIENCE: Duration = Duration::from_secs(30);

fn config(host_rate_hz: u32, max_block_samples: usize) -> StreamConfig {
    StreamConfig {
        host_rate_hz,
        max_block_samples,
        channels: 1,
        tier: Tier::Live,
    }
}

fn open(config: StreamConfig, path: &PathBuf) -> (AudioPort, StreamHandle) {
    let (port, handle) = Service::global().open(config, VoiceRef::at(path)).unwrap();
    assert!(handle.wait_ready(PATIENCE), "{}", handle.status().message);
    (port, handle)
}

/// Plays as fast as the port lets us, as a rendering host does.
fn render(
    port: &mut AudioPort,
    input: &[f32],
    block_samples: usize,
    controls: &Controls,
) -> Vec<f32> {
    let mut output = input.to_vec();
    for block in output.chunks_mut(block_samples) {
        port.process(&mut [block], controls);
    }
    output
}

/// Plays with a block every so often, as a host with a device does. Gives the output and the longest time in
/// `process`.
fn play(
    port: &mut AudioPort,
    input: &[f32],
    config: &StreamConfig,
    controls: &Controls,
) -> (Vec<f32>, Vec<f64>) {
    let mut output = input.to_vec();
    let mut spent = Vec::new();
    let began = Instant::now();
    let mut played = 0;
    for block in output.chunks_mut(config.max_block_samples) {
        let due = Duration::from_secs_f64(played as f64 / f64::from(config.host_rate_hz));
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        played += block.len();
        let entered = Instant::now();
        port.process(&mut [block], controls);
        spent.push(entered.elapsed().as_secs_f64());
    }
    (output, spent)
}

#[test]
fn a_bounce_has_no_gaps_and_is_what_offline_conversion_gives() {
    if !support::runtime_is_there() {
        return;
    }
    let path = support::folder("bounce").join("identity.timbra");
    support::write_identity(&path, 3, 80);
    let voice = LoadedVoice::load(&path, &[]).unwrap();
    let input = support::song(44_100, 4.0);
    let expected = offline::convert(
        &voice,
        &input,
        44_100,
        &|_| Controls::default(),
        &mut |_| {},
    )
    .unwrap();
    for offline in [true, false] {
        for block_samples in [64, 1024, 8192] {
            let (mut port, handle) = open(config(44_100, block_samples), &path);
            port.set_offline(offline);
            let latency = port.latency_samples() as usize;
            let mut padded = input.clone();
            padded.resize(input.len() + latency, 0.0);
            let output = render(&mut port, &padded, block_samples, &Controls::default());
            let status = handle.status();
            assert_eq!(
                status.gap_samples, 0,
                "offline {offline}, blocks of {block_samples}"
            );
            assert!(status.free_wheeling);
            support::assert_same(
                &output[latency..],
                &expected,
                &format!("offline {offline}, blocks of {block_samples}"),
            );
        }
    }
}

#[test]
fn a_voice_slower_than_real_time_still_bounces_without_gaps() {
    if !support::runtime_is_there() {
        return;
    }
    let path = support::folder("slow").join("slow.timbra");
    support::write_with_synthesis(&path, &["content"], support::slow_graph(30), |_| {});
    let (mut port, handle) = open(config(48_000, 1024), &path);
    let input = support::song(48_000, 1.5);
    let began = Instant::now();
    render(&mut port, &input, 1024, &Controls::default());
    let status = handle.status();
    assert_eq!(
        status.gap_samples,
        0,
        "load {} in {:?}",
        status.load,
        began.elapsed()
    );
    assert!(
        began.elapsed() > Duration::from_millis(1500),
        "it was meant to be slow: {:?}",
        began.elapsed()
    );
}

#[test]
fn a_bounce_that_begins_while_the_voice_loads_waits_for_it() {
    if !support::runtime_is_there() {
        return;
    }
    let path = support::folder("early").join("identity.timbra");
    support::write_identity(&path, 2, 0);
    let (mut port, handle) = Service::global()
        .open(config(16_000, 512), VoiceRef::at(&path))
        .unwrap();
    port.set_offline(true);
    let latency = port.latency_samples() as usize;
    let input = support::song(16_000, 1.0);
    let output = render(&mut port, &input, 512, &Controls::default());
    assert_eq!(handle.status().gap_samples, 0);
    support::assert_same(
        &output[latency..],
        &input[..input.len() - latency],
        "bounce",
    );
}

#[test]
fn in_real_time_the_audio_thread_does_not_wait_and_the_output_is_on_time() {
    if !support::runtime_is_there() {
        return;
    }
    let path = support::folder("realtime").join("identity.timbra");
    support::write_identity(&path, 3, 0);
    let config = config(16_000, 160);
    let (mut port, handle) = open(config, &path);
    let latency = port.latency_samples() as usize;
    let input = support::song(16_000, 3.0);
    let (output, mut spent) = play(&mut port, &input, &config, &Controls::default());
    let status = handle.status();
    assert!(!status.free_wheeling);
    spent.sort_by(f64::total_cmp);
    assert!(
        spent[spent.len() / 2] < 0.001,
        "median time in process: {} s",
        spent[spent.len() / 2]
    );
    // A busy machine may make the worker late now and then; everything else is exact.
    let exact = output[latency..]
        .iter()
        .zip(&input)
        .filter(|(heard, sung)| heard == sung)
        .count();
    assert!(
        exact * 10 > input.len() * 8,
        "{exact} of {} samples, {} gaps",
        input.len() - latency,
        status.gaps
    );
    assert!(status.in_peak > 0.1 && status.out_peak > 0.1);
    assert!(handle.f0_history().len() > 200);
}

#[test]
fn without_its_voice_a_stream_is_silent_or_dry_and_says_what_is_missing() {
    if !support::runtime_is_there() {
        return;
    }
    let wanted = VoiceRef {
        name: "nowhere".into(),
        path: "/no/such/voice.timbra".into(),
        sha256: "ab".repeat(32),
    };
    let (mut port, handle) = Service::global()
        .open(config(48_000, 256), wanted.clone())
        .unwrap();
    assert!(!handle.wait_ready(PATIENCE));
    let status = handle.status();
    assert_eq!(
        (status.voice_state, status.wanted, status.playing),
        (VoiceState::Failed, wanted, None)
    );
    for part in ["nowhere", "/no/such/voice.timbra", "abababab"] {
        assert!(status.message.contains(part), "{}", status.message);
    }
    let input = support::song(48_000, 0.5);
    let latency = port.latency_samples() as usize;
    let silent = render(&mut port, &input, 256, &Controls::default());
    assert!(silent.iter().all(|&sample| sample == 0.0));
    port.reset();
    let dry = render(
        &mut port,
        &input,
        256,
        &Controls {
            fallback: Fallback::Dry,
            ..Controls::default()
        },
    );
    support::assert_same(
        &dry[latency + 1000..],
        &input[1000..input.len() - latency],
        "dry",
    );
    assert_eq!(handle.status().gaps, 0, "nothing is owed without a voice");
}

#[test]
fn a_refused_voice_leaves_the_old_one_playing() {
    if !support::runtime_is_there() {
        return;
    }
    let folder = support::folder("refused");
    let good = folder.join("good.timbra");
    support::write_identity(&good, 3, 0);
    let (mut port, handle) = open(config(16_000, 160), &good);
    let input = support::song(16_000, 0.5);
    render(&mut port, &input, 160, &Controls::default());

    let cut = folder.join("cut.timbra");
    let bytes = std::fs::read(&good).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    handle.load_voice(VoiceRef::at(&cut));
    assert!(!handle.wait_ready(PATIENCE));
    let status = handle.status();
    assert_eq!(status.voice_state, VoiceState::Ready);
    assert_eq!(status.playing.unwrap().name, "good");
    assert!(status.message.contains("cut.timbra"), "{}", status.message);
    let output = render(&mut port, &input, 160, &Controls::default());
    let latency = port.latency_samples() as usize;
    support::assert_same(
        &output[latency..],
        &input[..input.len() - latency],
        "the old voice",
    );

    let patient = folder.join("patient.timbra");
    support::write_identity(&patient, 40, 0);
    handle.load_voice(VoiceRef::at(&patient));
    assert!(!handle.wait_ready(PATIENCE));
    let status = handle.status();
    assert_eq!(status.voice_state, VoiceState::NeedsRestart);
    assert!(
        status.message.contains("Restart the plugin"),
        "{}",
        status.message
    );
    assert_eq!(status.playing.unwrap().name, "good");
}

#[test]
fn another_voice_takes_over_at_the_same_latency_without_a_click() {
    if !support::runtime_is_there() {
        return;
    }
    for lookahead_frames in 0..=4 {
        one_of_so_much_look_ahead_takes_over(lookahead_frames);
    }
}

fn one_of_so_much_look_ahead_takes_over(lookahead_frames: usize) {
    let folder = support::folder(&format!("swap-{lookahead_frames}"));
    let (first, second) = (folder.join("first.timbra"), folder.join("second.timbra"));
    support::write_identity(&first, 4, 100);
    support::write_identity(&second, lookahead_frames, 10);
    let config = config(16_000, 160);
    let (mut port, handle) = open(config, &first);
    port.set_offline(true);
    let latency = port.latency_samples() as usize;
    let input: Vec<f32> = (0..48_000)
        .map(|index| 0.4 * (index as f32 * 0.03).sin())
        .collect();
    let mut output = input.clone();
    for (index, block) in output.chunks_mut(160).enumerate() {
        if index == 100 {
            handle.load_voice(VoiceRef::at(&second));
            let began = Instant::now();
            while handle
                .status()
                .playing
                .is_none_or(|voice| voice.name != "second")
            {
                assert!(began.elapsed() < PATIENCE);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        port.process(&mut [block], &Controls::default());
    }
    assert!(handle.wait_ready(PATIENCE));
    support::assert_same(
        &output[latency..90 * 160],
        &input[..90 * 160 - latency],
        "before",
    );
    support::assert_same(
        &output[120 * 160..],
        &input[120 * 160 - latency..input.len() - latency],
        "after",
    );
    assert_eq!(
        handle.status().gaps,
        0,
        "{lookahead_frames}: the time in which the new voice listens is not owed"
    );
    let steepest = output[latency + 1..]
        .windows(2)
        .map(|pair| (pair[0] - pair[1]).abs())
        .fold(0.0, f32::max);
    assert!(steepest < 0.03, "{steepest}");
}

#[test]
fn streams_share_one_copy_of_a_voice_and_all_are_right() {
    if !support::runtime_is_there() {
        return;
    }
    let path = support::folder("many").join("identity.timbra");
    let sha256 = support::write_identity(&path, 3, 0);
    let input = support::song(16_000, 1.0);
    let voice = LoadedVoice::load(&path, &[]).unwrap();
    assert_eq!(voice.sha256(), sha256);
    let mut streams: Vec<_> = (0..8).map(|_| open(config(16_000, 256), &path)).collect();
    std::thread::scope(|scope| {
        for (port, _) in &mut streams {
            let input = &input;
            scope.spawn(move || {
                port.set_offline(true);
                let latency = port.latency_samples() as usize;
                let output = render(port, input, 256, &Controls::default());
                support::assert_same(
                    &output[latency..],
                    &input[..input.len() - latency],
                    "one of many",
                );
            });
        }
    });
    // The test's, and one for every stream's pipeline and handle; no second load.
    let again = LoadedVoice::load(&path, &[]).unwrap();
    assert!(std::sync::Arc::ptr_eq(&voice, &again));
}

#[test]
fn streams_come_and_go_in_any_order() {
    if !support::runtime_is_there() {
        return;
    }
    let path = support::folder("come-and-go").join("identity.timbra");
    support::write_identity(&path, 3, 0);
    let mut kept = Vec::new();
    for round in 0..60 {
        let (mut port, handle) = Service::global()
            .open(config(48_000, 64), VoiceRef::at(&path))
            .unwrap();
        port.process(&mut [&mut [0.1; 64]], &Controls::default());
        match round % 3 {
            // Dropped while loading, port or handle first.
            0 => {
                drop(port);
                drop(handle);
            }
            1 => {
                drop(handle);
                drop(port);
            }
            _ => kept.push((port, handle)),
        }
        if round % 7 == 6 {
            kept.remove(kept.len() / 2);
        }
    }
    for (_, handle) in &kept {
        assert!(handle.wait_ready(PATIENCE));
    }
}

#[test]
fn unloading_gives_silence() {
    if !support::runtime_is_there() {
        return;
    }
    let path = support::folder("unload").join("identity.timbra");
    support::write_identity(&path, 3, 0);
    let (mut port, handle) = open(config(16_000, 160), &path);
    port.set_offline(true);
    let input = support::song(16_000, 1.0);
    render(&mut port, &input, 160, &Controls::default());
    handle.load_voice(VoiceRef::default());
    assert!(handle.wait_ready(PATIENCE));
    let output = render(&mut port, &input, 160, &Controls::default());
    assert!(output[8000..].iter().all(|&sample| sample == 0.0));
    assert_eq!(handle.status().voice_state, VoiceState::Empty);
}

/// An identity voice without its encoder, which is beside it in a package of its own.
fn write_without_encoder(path: &std::path::Path, lookahead_frames: usize) {
    let voice = IdentityVoice {
        name: "alone".to_owned(),
        lookahead_frames,
        ..IdentityVoice::default()
    };
    let (mut manifest, mut files) = voice.parts();
    files.remove(&manifest.encoder.graph.file);
    // What `trainer import` writes where it was given no encoder.
    manifest.encoder.sha256 = package::ANY_ENCODER.to_owned();
    manifest.encoder.lookahead_samples = 0;
    manifest.encoder.graph.states.clear();
    package::write_voice(path, &manifest, &files, Form::File).unwrap();
    let (encoder, files) = voice.encoder_parts();
    let folder = path.parent().unwrap().join("encoders");
    std::fs::create_dir_all(&folder).unwrap();
    package::write_encoder(&folder.join("encoder.timbra"), &encoder, &files, Form::File).unwrap();
}

#[test]
fn a_voice_whose_encoder_is_elsewhere_is_told_with_the_look_ahead_of_that_encoder() {
    if !support::runtime_is_there() {
        return;
    }
    let folder = support::folder("encoder-elsewhere");
    let (alone, whole) = (folder.join("alone.timbra"), folder.join("whole.timbra"));
    write_without_encoder(&alone, 7);
    support::write_identity(&whole, 7, 0);
    let input = support::song(48_000, 1.0);
    let heard = [&alone, &whole].map(|path| {
        // What `open` waits for comes only if the voice fits what the host was told.
        let (mut port, handle) = open(config(48_000, 256), path);
        port.set_offline(true);
        let output = render(&mut port, &input, 256, &Controls::default());
        assert_eq!(handle.status().voice_state, VoiceState::Ready);
        (port.latency_samples(), output)
    });
    assert_eq!(heard[0].0, heard[1].0, "latency");
    support::assert_same(&heard[0].1, &heard[1].1, "with the encoder inside");
}

#[test]
fn encoders_of_one_graph_are_what_each_says_of_itself_whoever_came_first() {
    if !support::runtime_is_there() {
        return;
    }
    let folder = support::folder("encoders-of-one-graph");
    let voices = [4, 9].map(|lookahead_frames| {
        let path = folder.join(format!("{lookahead_frames}.timbra"));
        let (mut manifest, files) = IdentityVoice {
            lookahead_frames: 4,
            ..IdentityVoice::default()
        }
        .parts();
        manifest.encoder.lookahead_samples = lookahead_frames * 160;
        package::write_voice(&path, &manifest, &files, Form::File).unwrap();
        LoadedVoice::load(&path, &[]).unwrap()
    });
    let told = voices.map(|voice| voice.manifest().encoder.lookahead_samples / 160);
    assert_eq!(told, [4, 9]);
}
