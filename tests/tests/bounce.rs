//! Same in, same out: at any block size, in any format, at any pace.

use timbra_tests::bundles;
use timbra_tests::host::{Change, FORMATS, Format, Host, Job, Mode, Pace, Setup};
use timbra_tests::measure::{first_difference, lag_samples, rms, zero_runs};
use timbra_tests::{singer, voices};

const RATE_HZ: u32 = 48_000;
/// The block all runs announce: latency depends on it, the sound must not.
const ANNOUNCED: usize = 1024;

fn vocal() -> Vec<f32> {
    singer::sing(RATE_HZ)
}

/// Pitch, mix and seed on the move, at odd samples.
fn automation(host: &mut dyn Host, total: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    for (share, key, text) in [
        (0.11, "pitch", "+3.25"),
        (0.23, "formant", "-1"),
        (0.37, "mix_2", "60 %"),
        (0.49, "pitch", "-4"),
        (0.52, "seed", "7"),
        (0.71, "dry_wet", "80 %"),
        (0.83, "output_gain", "-3 dB"),
    ] {
        let parameter = host.find(key).expect(key);
        let value = host.value_of(parameter.id, text).expect(text);
        let at_samples = (total as f64 * share) as usize + 13;
        changes.push(Change {
            at_samples,
            id: parameter.id,
            value,
        });
    }
    changes
}

/// Bounces the vocal with automation through the shipped voice.
fn bounce(format: Format, setup: Setup, blocks: &[usize], pace: Pace) -> Vec<Vec<f32>> {
    bounce_of(bundles::open(format).as_mut(), setup, blocks, pace)
}

fn bounce_of(host: &mut dyn Host, setup: Setup, blocks: &[usize], pace: Pace) -> Vec<Vec<f32>> {
    host.activate(setup).expect("activate");
    host.idle(std::time::Duration::from_millis(100))
        .expect("idle");
    let latency = host.latency_samples();
    let mut channel = vocal();
    let total = channel.len();
    channel.resize(total + latency, 0.0);
    let changes = automation(host, total);
    let input = vec![channel; setup.channels];
    let job = Job {
        changes: &changes,
        pace,
        ..Job::new(&input, blocks)
    };
    let mut output = host.render(&job).expect("render");
    for channel in &mut output {
        channel.drain(..latency);
    }
    output
}

#[test]
fn bounces_are_bit_identical_over_block_sizes_and_formats() {
    let setup = Setup::offline(RATE_HZ, ANNOUNCED);
    let reference = bounce(Format::Clap, setup, &[1024], Pace::Free);
    assert!(rms(&reference[0]) > 1e-3, "the shipped voice is silent");
    for (format, blocks) in [
        (Format::Clap, &[1024usize][..]),
        (Format::Vst3, &[1024]),
        (Format::Clap, &[64]),
        (Format::Vst3, &[480]),
        (Format::Clap, &[1023, 1, 17, 333]),
        (Format::Vst3, &[1]),
    ] {
        let other = bounce(format, setup, blocks, Pace::Free);
        for (a, b) in reference.iter().zip(&other) {
            let at = first_difference(a, b, 0.0);
            assert_eq!(
                at,
                None,
                "{} with blocks of {blocks:?} differs",
                format.name()
            );
        }
    }
}

#[test]
fn bounces_repeat_beside_other_instances_and_after_restoring() {
    let setup = Setup::offline(RATE_HZ, ANNOUNCED);
    let set = |host: &mut dyn Host| {
        for (key, text) in [
            ("pitch", "-2.5"),
            ("mix_1", "30 %"),
            ("mix_3", "70 %"),
            ("seed", "3"),
            ("dry_wet", "100 %"),
            ("output_gain", "0 dB"),
            ("formant", "0"),
            ("mix_2", "0 %"),
            ("cluster_ratio", "40 %"),
        ] {
            host.set_text(key, text).expect(key);
        }
    };
    let mut host = bundles::open(Format::Clap);
    set(host.as_mut());
    let saved = host.save().expect("save");
    let reference = bounce_of(host.as_mut(), setup, &[1024], Pace::Free).swap_remove(0);
    assert!(rms(&reference) > 1e-3, "the shipped voice is silent");
    host.deactivate();
    // The very same instance, again and again; the bounce itself automates what is set.
    for repeat in 1..10 {
        set(host.as_mut());
        let again = bounce_of(host.as_mut(), setup, &[1024], Pace::Free).swap_remove(0);
        assert_eq!(
            first_difference(&reference, &again, 0.0),
            None,
            "repeat {repeat} differs"
        );
        host.deactivate();
    }
    drop(host);
    let mut restored = bundles::open(Format::Clap);
    restored.load(&saved).expect("load");
    let again = bounce_of(restored.as_mut(), setup, &[333], Pace::Free).swap_remove(0);
    assert_eq!(
        first_difference(&reference, &again, 0.0),
        None,
        "a restored instance differs"
    );
    drop(restored);
    // Eight at once, each with a main thread of its own.
    std::thread::scope(|scope| {
        for index in 0..8 {
            let (reference, set) = (&reference, &set);
            scope.spawn(move || {
                let format = FORMATS[index % 2];
                let mut host = bundles::open(format);
                set(host.as_mut());
                let again = bounce_of(host.as_mut(), setup, &[1024], Pace::Free).swap_remove(0);
                assert_eq!(
                    first_difference(reference, &again, 0.0),
                    None,
                    "{} number {index} differs",
                    format.name()
                );
            });
        }
    });
}

#[test]
fn a_bounce_that_claims_to_be_real_time_has_no_gaps() {
    // Ardour's export and other hosts render as fast as they can and say "real time".
    for format in FORMATS {
        let offline = bounce(
            format,
            Setup::offline(RATE_HZ, ANNOUNCED),
            &[1024],
            Pace::Free,
        );
        let setup = Setup::offline(RATE_HZ, ANNOUNCED).mode(Mode::Realtime);
        let claimed = bounce(format, setup, &[1024], Pace::Free);
        let at = first_difference(&offline[0], &claimed[0], 0.0);
        assert_eq!(at, None, "{}: the claim changed the sound", format.name());
    }
}

#[test]
fn the_voice_sings_on_time_in_mono_and_stereo() {
    for format in FORMATS {
        for setup in [
            Setup::offline(RATE_HZ, 512),
            Setup::offline(RATE_HZ, 512).mono(),
        ] {
            let output = bounce(format, setup, &[512], Pace::Free);
            let source = vocal();
            let case = format!("{} with {} channels", format.name(), setup.channels);
            assert!(
                output.iter().all(|c| c.len() == source.len()),
                "{case}: length"
            );
            assert!(rms(&output[0]) > 1e-3, "{case}: silent");
            // Loudness contours are compared, since the voice has a waveform of its own.
            let contour = |signal: &[f32]| -> Vec<f32> {
                let levels = signal.chunks(48).map(|hop| (rms(hop) + 1e-4).log10());
                let levels: Vec<f32> = levels.collect();
                let mean = levels.iter().sum::<f32>() / levels.len() as f32;
                levels.iter().map(|l| l - mean).collect()
            };
            let lag_ms = lag_samples(&contour(&source), &contour(&output[0]));
            assert!(lag_ms.abs() <= 15, "{case}: {lag_ms} ms late");
            // In the middle of a note nothing may be missing.
            let held = &output[0][(2.6 * 48e3) as usize..(3.1 * 48e3) as usize];
            assert_eq!(zero_runs(held, 16), [], "{case}: gaps");
        }
    }
}

#[test]
fn silence_in_gives_silence_out_after_the_tail() {
    let voice = voices::identity(&bundles::folder().join("../test-voices"), "bounce-identity");
    for format in FORMATS {
        for shipped in [true, false] {
            let mut host = if shipped {
                bundles::open(format)
            } else {
                bundles::open_with_voice(format, &voice)
            };
            host.activate(Setup::offline(RATE_HZ, 512))
                .expect("activate");
            let vocal: Vec<f32> = vocal().into_iter().take(2 * RATE_HZ as usize).collect();
            let input = vec![vocal.clone(), vocal];
            let job = Job::new(&input, &[512]);
            host.render(&job).expect("render");
            let tail = host.tail_samples();
            assert!(tail < 20 * RATE_HZ as usize, "an endless tail");
            let silence = vec![vec![0.0; tail + RATE_HZ as usize]; 2];
            let job = Job::new(&silence, &[512]);
            let output = host.render(&job).expect("render");
            let after = &output[0][tail..];
            let at = after.iter().position(|s| *s != 0.0);
            assert_eq!(
                at,
                None,
                "{}: sound after the tail of {tail}",
                format.name()
            );
        }
    }
}

#[test]
fn a_reset_forgets_what_was_in_flight() {
    let voice = voices::identity(&bundles::folder().join("../test-voices"), "bounce-identity");
    for format in FORMATS {
        let mut host = bundles::open_with_voice(format, &voice);
        host.activate(Setup::offline(RATE_HZ, 512))
            .expect("activate");
        let loud = vec![vec![0.5; 8192]; 2];
        let job = Job::new(&loud, &[512]);
        host.render(&job).expect("render");
        host.reset().expect("reset");
        let silence = vec![vec![0.0; 48_000]; 2];
        let job = Job::new(&silence, &[512]);
        let output = host.render(&job).expect("render");
        // What was heard last may fade for 2 ms, so that a jump does not click.
        let at = output[0][96..].iter().position(|s| *s != 0.0);
        assert_eq!(at, None, "{}: sound from before the reset", format.name());
        assert!(
            output[0].iter().all(|s| s.abs() <= 0.51),
            "{}: a click",
            format.name()
        );
    }
}

#[test]
fn not_a_number_in_the_input_does_not_come_out_and_does_no_lasting_harm() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        host.activate(Setup::offline(RATE_HZ, 512))
            .expect("activate");
        let mut vocal = vocal();
        vocal[20_000..20_010].fill(f32::NAN);
        vocal[30_000] = f32::INFINITY;
        let input = vec![vocal.clone(), vocal];
        let job = Job::new(&input, &[512]);
        // The host fails on any sample that is not finite.
        let output = host.render(&job).expect("render");
        let later = &output[0][output[0].len() - 3 * RATE_HZ as usize..];
        assert!(rms(later) > 1e-3, "{}: silent after NaN", format.name());
    }
}
