//! What happens between a host and the plugin, without a host: activation, processing, missing voices.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use nice_plug::midi::{Channel, Key, VoiceID};
use nice_plug::prelude::*;
use support::{Host, activate, process, set, sine, want};
use timbra::Timbra;

#[test]
fn processing_does_not_allocate() {
    for (channels, block) in [(1, 1), (2, 64), (2, 333), (1, 1024)] {
        let host = Host::default();
        let mut plugin = Timbra::default();
        activate(&mut plugin, &host, channels, 48_000.0, 1024);
        let mut audio = vec![sine(20_000); channels as usize];
        process(&mut plugin, &host, &mut audio, block);
        assert!(audio.iter().flatten().all(|sample| sample.is_finite()));
        assert_eq!(host.latency_calls_in_process.get(), 0);
    }
}

#[test]
fn processing_notes_does_not_allocate() {
    for (channels, block) in [(1, 1), (2, 64), (2, 333), (1, 1024)] {
        let host = Host::default();
        let mut plugin = Timbra::default();
        set(&plugin, "retune_mode", "MIDI");
        activate(&mut plugin, &host, channels, 48_000.0, 1024);
        let mut audio = vec![sine(20_000); channels as usize];
        let mut pressed = 0;
        for (number, samples) in (0..20_000).step_by(block).enumerate() {
            let mut piece: Vec<Vec<f32>> = audio
                .iter_mut()
                .map(|channel| channel[samples..(samples + block).min(20_000)].to_vec())
                .collect();
            {
                let mut events = host.events.borrow_mut();
                // In the middle, at both ends, several at once, and after the block, as the framework may.
                for (timing, on) in [
                    (0, number % 3 == 0),
                    (block as u32 / 2, number % 2 == 0),
                    (block as u32 / 2, true),
                    (block as u32 - 1, number % 5 == 0),
                    (block as u32, number % 7 == 0),
                    (9_999, number % 11 == 0),
                ] {
                    pressed += 1;
                    let (voice_id, velocity) = (VoiceID::Wildcard, 0.5);
                    let channel = Channel::Number(pressed % 16);
                    let key = Key::Number(pressed % 128);
                    events.push_back(if on {
                        NoteEvent::NoteOn {
                            timing,
                            voice_id,
                            channel,
                            key,
                            velocity,
                        }
                    } else {
                        NoteEvent::NoteOff {
                            timing,
                            voice_id,
                            channel: Channel::Wildcard,
                            key: Key::Number(pressed % 100),
                            velocity,
                        }
                    });
                    pressed %= 120;
                }
            }
            process(&mut plugin, &host, &mut piece, block);
            assert!(piece.iter().flatten().all(|sample| sample.is_finite()));
            assert!(host.events.borrow().is_empty());
        }
    }
}

#[test]
fn a_missing_voice_is_silent_and_says_so() {
    let host = Host::default();
    let mut plugin = Timbra::default();
    want(&plugin, "a voice nobody has");
    activate(&mut plugin, &host, 2, 48_000.0, 512);
    let mut audio = vec![sine(48_000); 2];
    process(&mut plugin, &host, &mut audio, 512);
    assert!(audio.iter().flatten().all(|&sample| sample == 0.0));
    // Said by the threads that look for it, which nobody waits for.
    let said = || plugin.session().status().unwrap().message;
    let began = Instant::now();
    while said().is_empty() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(said().contains("a voice nobody has"), "{}", said());
}

#[test]
fn the_name_of_a_missing_voice_is_kept() {
    let host = Host::default();
    let mut plugin = Timbra::default();
    want(&plugin, "a voice nobody has");
    activate(&mut plugin, &host, 2, 48_000.0, 512);
    plugin.deactivate();
    let fields = plugin.params().serialize_fields();
    assert!(fields["voice"].contains("a voice nobody has"));
}

#[test]
fn an_impossible_rate_keeps_the_plugin_loaded_and_silent() {
    let host = Host::default();
    let mut plugin = Timbra::default();
    activate(&mut plugin, &host, 2, 1.0, 512);
    assert_eq!(host.latency_samples.get(), Some(0));
    let mut audio = vec![sine(2_000); 2];
    process(&mut plugin, &host, &mut audio, 512);
    assert!(audio.iter().flatten().all(|&sample| sample == 0.0));
    assert!(!plugin.session().failure().is_empty());
}

#[test]
fn a_new_tier_asks_for_one_restart_and_leaves_the_latency_alone() {
    let host = Host::default();
    let mut plugin = Timbra::default();
    activate(&mut plugin, &host, 2, 48_000.0, 512);
    let before = host.latency_samples.get();
    set(&plugin, "tier", "Studio");
    let mut audio = vec![sine(20_000); 2];
    process(&mut plugin, &host, &mut audio, 512);
    assert_eq!(host.restarts.get(), 1);
    assert_eq!(host.latency_calls_in_process.get(), 0);
    assert_eq!(host.latency_samples.get(), before);
    activate(&mut plugin, &host, 2, 48_000.0, 512);
    assert!(host.latency_samples.get() > before);
    process(&mut plugin, &host, &mut audio, 512);
    assert_eq!(host.restarts.get(), 1);
}
