//! A project that is opened again sounds as it did, without a click in the editor.

use std::path::PathBuf;
use std::time::Duration;

use timbra_tests::bundles;
use timbra_tests::host::{FORMATS, Format, Host, Job, Mode, Pace, Setup};
use timbra_tests::measure::{first_difference, rms};
use timbra_tests::state::State;
use timbra_tests::{singer, voices};

fn folder() -> PathBuf {
    bundles::folder().join("../test-voices")
}

fn render(host: &mut dyn Host, seconds: f64) -> Vec<f32> {
    let mut vocal = singer::sing(48_000);
    vocal.truncate((seconds * 48_000.0) as usize);
    let input = vec![vocal.clone(), vocal];
    let job = Job::new(&input, &[512]);
    host.render(&job).expect("render").swap_remove(0)
}

#[test]
fn state_round_trip_restores_voice_parameters_and_sound() {
    let voice = voices::identity(&folder(), "state-identity");
    for format in FORMATS {
        let settings = [
            ("pitch", "+3.25 st"),
            ("output_gain", "-6.0 dB"),
            ("mix_3", "40.0 %"),
            ("seed", "42"),
            ("auto_f0", "On"),
            ("f0_smoothing", "30.0 ms"),
            ("noise_scale", "50.0 %"),
            ("retune_mode", "Scale"),
            ("retune_key", "F#"),
            ("retune_scale", "Harmonic minor"),
            ("retune_speed", "12.5 ms"),
            ("retune_humanise", "75.0 %"),
            ("retune_amount", "90.0 %"),
            ("retune_reference", "442.0 Hz"),
        ];
        let mut first = bundles::open_with_voice(format, &voice);
        for (key, text) in settings {
            first.set_text(key, text).expect("set");
        }
        first
            .activate(Setup::offline(48_000, 512))
            .expect("activate");
        let sound = render(first.as_mut(), 2.0);
        assert!(rms(&sound) > 1e-3, "{}: silent", format.name());
        let saved = first.save().expect("save");
        drop(first);

        let wanted = State::parse(&saved)
            .expect("ours")
            .field("voice")
            .expect("voice");
        assert_eq!(wanted["path"].as_str(), Some(&*voice.to_string_lossy()));
        assert_eq!(
            wanted["sha256"].as_str().map(str::len),
            Some(64),
            "the hash was filled in"
        );

        let mut second = bundles::open(format);
        second.load(&saved).expect("load");
        for (key, text) in settings {
            let parameter = second.find(key).expect(key);
            let value = second.value(parameter.id).expect("value");
            let wanted = second.value_of(parameter.id, text).expect("text");
            assert!(
                (value - wanted).abs() < 1e-6,
                "{key} is {value}, was {wanted}"
            );
        }
        second
            .activate(Setup::offline(48_000, 512))
            .expect("activate");
        let again = render(second.as_mut(), 2.0);
        let at = first_difference(&sound, &again, 0.0);
        assert_eq!(
            at,
            None,
            "{}: the restored instance sounds different",
            format.name()
        );
        let resaved = State::parse(&second.save().expect("save")).expect("ours");
        assert_eq!(
            resaved,
            State::parse(&saved).expect("ours"),
            "{}",
            format.name()
        );
    }
}

#[test]
fn state_may_come_after_activation() {
    // Ardour and JUCE hosts activate first and restore then.
    let voice = voices::identity(&folder(), "state-identity");
    for format in FORMATS {
        let mut first = bundles::open_with_voice(format, &voice);
        first.set_text("output_gain", "-6 dB").expect("set");
        first
            .activate(Setup::offline(48_000, 512))
            .expect("activate");
        let sound = compensated(first.as_mut(), 2.0);
        let saved = first.save().expect("save");

        let mut second = bundles::open(format);
        second
            .activate(Setup::offline(48_000, 512))
            .expect("activate");
        second.load(&saved).expect("load");
        // Time for the voice to load, and for a restart if it needs more latency.
        for _ in 0..3 {
            render(second.as_mut(), 0.2);
            second.idle(Duration::from_millis(500)).expect("idle");
        }
        second.reset().expect("reset");
        let again = compensated(second.as_mut(), 2.0);
        let common = sound.len().min(again.len());
        let at = first_difference(&sound[..common], &again[..common], 0.0);
        assert_eq!(at, None, "{}: differs after a late state", format.name());
    }
}

/// What is heard once the reported latency is taken off.
fn compensated(host: &mut dyn Host, seconds: f64) -> Vec<f32> {
    let latency = host.latency_samples();
    render(host, seconds).split_off(latency)
}

#[test]
fn a_voice_that_moved_is_found_by_its_hash() {
    let voice = voices::identity(&folder(), "state-moved");
    for format in FORMATS {
        let mut host = bundles::open_with_voice(format, &voice);
        host.activate(Setup::offline(48_000, 512))
            .expect("activate");
        host.idle(Duration::from_millis(600)).expect("idle");
        let mut state = State::parse(&host.save().expect("save")).expect("ours");
        let wanted = state.field("voice").expect("voice");
        let hash = wanted["sha256"].as_str().unwrap_or_default().to_owned();
        assert_eq!(hash.len(), 64);
        // The saved place is empty now, and the shipped voices lie beside the plugin.
        let trio = state_of_default(format);
        let sha = trio["sha256"].as_str().unwrap_or_default();
        state.set_voice("trio", "/nowhere/trio.timbra", sha);
        let mut second = bundles::open(format);
        second.load(&state.bytes()).expect("load");
        second
            .activate(Setup::offline(48_000, 512))
            .expect("activate");
        assert!(
            rms(&render(second.as_mut(), 3.0)) > 1e-3,
            "{}: not found",
            format.name()
        );
    }
}

/// The voice a fresh, activated instance ends up with.
fn state_of_default(format: Format) -> serde_json::Value {
    let mut host = bundles::open(format);
    host.activate(Setup::offline(48_000, 512))
        .expect("activate");
    host.idle(Duration::from_millis(600)).expect("idle");
    State::parse(&host.save().expect("save"))
        .expect("ours")
        .field("voice")
        .expect("voice")
}

#[test]
fn a_missing_voice_is_silent_and_stays_wanted() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        let mut state = State::parse(&host.save().expect("save")).expect("ours");
        let hash = "0123456789abcdef".repeat(4);
        state.set_voice("somebody", "/nowhere/somebody.timbra", &hash);
        host.load(&state.bytes()).expect("load");
        host.activate(Setup::offline(48_000, 512))
            .expect("activate");
        let sound = render(host.as_mut(), 1.0);
        assert!(
            sound.iter().all(|s| *s == 0.0),
            "{}: dry or wrong voice leaks",
            format.name()
        );
        let saved = State::parse(&host.save().expect("save")).expect("ours");
        let wanted = saved.field("voice").expect("voice");
        assert_eq!(wanted["name"], "somebody", "{}", format.name());
        assert_eq!(wanted["sha256"], hash.as_str(), "{}", format.name());

        host.deactivate();
        host.set_text("fallback", "Dry").expect("set");
        host.activate(Setup::offline(48_000, 512))
            .expect("activate");
        assert!(
            rms(&render(host.as_mut(), 1.0)) > 1e-3,
            "{}: dry was chosen",
            format.name()
        );
    }
}

#[test]
fn a_project_with_a_damaged_voice_is_silent_until_it_gets_a_good_one() {
    let good = voices::identity(&folder(), "state-identity");
    let bytes = std::fs::read(&good).expect("read");
    let damaged = |name: &str, bytes: &[u8]| {
        let path = folder().join(name);
        std::fs::write(&path, bytes).expect("write");
        path
    };
    let half = damaged("state-half.timbra", &bytes[..bytes.len() / 2]);
    let mut flipped_bytes = bytes.clone();
    let place = bytes.len() * 2 / 3;
    flipped_bytes[place] ^= 0x40;
    let flipped = damaged("state-flipped.timbra", &flipped_bytes);
    let empty = damaged("state-empty.timbra", &[]);
    for format in FORMATS {
        for bad in [&half, &flipped, &empty] {
            let case = format!("{} with {}", format.name(), bad.display());
            let mut host = bundles::open_with_voice(format, bad);
            host.activate(Setup::offline(48_000, 512))
                .expect("activate");
            assert!(
                render(host.as_mut(), 1.0).iter().all(|s| *s == 0.0),
                "{case}: a sound"
            );
            let saved = State::parse(&host.save().expect("save")).expect("ours");
            let wanted = saved.field("voice").expect("voice");
            assert_eq!(
                wanted["path"].as_str(),
                Some(&*bad.to_string_lossy()),
                "{case}"
            );

            bundles::ask_for_voice(host.as_mut(), &good);
            host.idle(Duration::from_millis(600)).expect("idle");
            render(host.as_mut(), 0.2);
            host.idle(Duration::from_millis(300)).expect("idle");
            assert!(
                rms(&render(host.as_mut(), 1.0)) > 1e-3,
                "{case}: still silent"
            );
        }
    }
}

#[test]
fn a_state_that_is_no_state_is_refused_and_changes_nothing() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        host.set_text("pitch", "+2").expect("set");
        let before = State::parse(&host.save().expect("save")).expect("ours");
        for bad in [&b""[..], b"{", b"not a state at all", &[0xff; 64], &[0; 8]] {
            // Whether the plugin says no is up to the format's rules; it must survive.
            let _ = host.load(bad);
        }
        let after = State::parse(&host.save().expect("save")).expect("ours");
        assert_eq!(before, after, "{}", format.name());
    }
}

#[test]
fn parameters_of_a_newer_version_are_left_out_and_the_rest_is_restored() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        let mut state = State::parse(&host.save().expect("save")).expect("ours");
        state.json["version"] = "99.0.0".into();
        state.json["params"]["from_the_future"] = serde_json::json!({ "f32": 0.5 });
        state.json["params"]["pitch"] = serde_json::json!({ "f32": 7.0 });
        state.json["fields"]["another"] = "{}".into();
        host.load(&state.bytes()).expect("load");
        let pitch = host.find("pitch").expect("pitch");
        let value = host.value(pitch.id).expect("value");
        let wanted = host.value_of(pitch.id, "+7").expect("text");
        assert!(
            (value - wanted).abs() < 1e-6,
            "{}: pitch is {value}",
            format.name()
        );
    }
}

#[test]
fn a_restored_instance_plays_in_real_time_too() {
    let voice = voices::identity(&folder(), "state-identity");
    let mut host = bundles::open_with_voice(Format::Clap, &voice);
    let setup = Setup::offline(48_000, 512).mode(Mode::Realtime);
    host.activate(setup).expect("activate");
    let vocal: Vec<f32> = singer::sing(48_000).into_iter().take(48_000).collect();
    let input = vec![vocal.clone(), vocal];
    let job = Job {
        pace: Pace::RealTime,
        ..Job::new(&input, &[512])
    };
    let output = host.render(&job).expect("render");
    assert!(rms(&output[0]) > 1e-3, "silent");
}
