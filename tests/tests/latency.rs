//! The latency a host is told is the one that is heard. Of controls: `alignment.rs`.

use timbra_tests::bundles;
use timbra_tests::host::{FORMATS, Format, Host, Job, Setup};
use timbra_tests::measure::{first_difference, peak, peak_position, rms};
use timbra_tests::{singer, voices};

const RATES_HZ: [u32; 6] = [44_100, 48_000, 88_200, 96_000, 176_400, 192_000];
const BLOCKS: [usize; 10] = [1, 7, 32, 64, 100, 256, 480, 1024, 4096, 8192];
const TIERS: [&str; 3] = ["Live", "Studio", "Render"];

fn identity() -> std::path::PathBuf {
    voices::identity(
        &bundles::folder().join("../test-voices"),
        "latency-identity",
    )
}

/// The lowest peak that counts as the impulse: the test voice has a rate of 16 kHz, so of one sample at a higher rate
/// it keeps the share of the band that it has.
fn lowest_peak(rate_hz: u32) -> f32 {
    2_000.0 / rate_hz as f32
}

/// Sends an impulse through an activated plugin; returns its position, the
/// reported latency and the peak.
fn impulse(host: &mut dyn Host, setup: Setup) -> (i64, i64, f32) {
    host.activate(setup).expect("activate");
    host.idle(std::time::Duration::from_millis(20))
        .expect("idle");
    let latency = host.latency_samples();
    // Not a multiple of any block, hop or control grid.
    let at = 9_001;
    let mut channel = vec![0.0; at + latency + 2_000];
    channel[at] = 0.5;
    let input = vec![channel; setup.channels];
    let blocks = [setup.max_block_samples];
    let job = Job::new(&input, &blocks);
    let output = host.render(&job).expect("render");
    let again = host.latency_samples();
    assert_eq!(latency, again, "latency changed while processing");
    host.deactivate();
    (
        peak_position(&output[0]) as i64 - at as i64,
        latency as i64,
        peak(&output[0]),
    )
}

fn check(format: Format, what: &str, tolerance: i64, mut prepare: impl FnMut(&mut dyn Host)) {
    let mut host = bundles::open_with_voice(format, &identity());
    prepare(host.as_mut());
    for rate_hz in RATES_HZ {
        for (index, block) in BLOCKS.into_iter().enumerate() {
            let setup = Setup::offline(rate_hz, block);
            // Both channel counts occur with every rate and, over the rates, with every block.
            let mono = (index + rate_hz as usize / 44_100).is_multiple_of(2);
            let setup = if mono { setup.mono() } else { setup };
            let (heard, reported, peak) = impulse(host.as_mut(), setup);
            let case = format!(
                "{what}, {} at {rate_hz} Hz, blocks of {block}, {} channels",
                format.name(),
                setup.channels
            );
            assert!(
                peak > lowest_peak(rate_hz),
                "{case}: the impulse did not come out (peak {peak})"
            );
            assert!(
                (heard - reported).abs() <= tolerance,
                "{case}: reported {reported}, heard {heard}"
            );
        }
    }
}

#[test]
fn reported_latency_matches_impulse_through_the_voice() {
    for format in FORMATS {
        check(format, "wet", 1, |_| {});
    }
}

#[test]
fn reported_latency_matches_impulse_in_the_dry_path_exactly() {
    for format in FORMATS {
        check(format, "dry", 0, |host| {
            host.set_text("dry_wet", "0 %").expect("dry")
        });
    }
}

#[test]
fn reported_latency_matches_impulse_in_bypass_exactly() {
    for format in FORMATS {
        check(format, "bypass", 0, |host| {
            host.set_text("bypass", "on").expect("bypass")
        });
    }
}

#[test]
fn every_tier_is_true_in_mono_and_stereo() {
    for format in FORMATS {
        let mut host = bundles::open_with_voice(format, &identity());
        let mut live = 0;
        for tier in TIERS {
            host.set_text("tier", tier).expect("tier");
            for rate_hz in RATES_HZ {
                for block in [32, 256, 1000] {
                    let stereo = Setup::offline(rate_hz, block);
                    for setup in [stereo, stereo.mono()] {
                        let (heard, reported, peak) = impulse(host.as_mut(), setup);
                        let case = format!(
                            "{tier}, {} at {rate_hz} Hz, blocks of {block}, {} channels",
                            format.name(),
                            setup.channels
                        );
                        assert!(
                            peak > lowest_peak(rate_hz),
                            "{case}: the impulse did not come out (peak {peak})"
                        );
                        assert!(
                            (heard - reported).abs() <= 1,
                            "{case}: reported {reported}, heard {heard}"
                        );
                        if (rate_hz, block, setup.channels) == (48_000, 256, 2) {
                            // Otherwise the tier did not get through.
                            assert!(
                                reported > live,
                                "{case}: {reported} samples, the tier before had {live}"
                            );
                            live = reported;
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn latency_stays_true_after_a_jump_and_after_another_voice() {
    let folder = bundles::folder().join("../test-voices");
    let other = voices::identity(&folder, "latency-other");
    for format in FORMATS {
        let mut host = bundles::open_with_voice(format, &identity());
        let setup = Setup::offline(48_000, 480);
        host.activate(setup).expect("activate");
        let noise = vec![vec![0.3; 20_011]; 2];
        let job = Job::new(&noise, &[480]);
        host.render(&job).expect("render");
        host.reset().expect("a jump");
        let at = 4_003;
        let latency = host.latency_samples();
        let mut channel = vec![0.0; at + latency + 2_000];
        channel[at] = 0.5;
        let input = vec![channel; 2];
        let job = Job::new(&input, &[480]);
        let output = host.render(&job).expect("render");
        // What was in flight before the jump has faded long before.
        let heard = peak_position(&output[0][at..]) as i64;
        assert!(
            (heard - latency as i64).abs() <= 1,
            "{} after a jump: reported {latency}, heard {heard}",
            format.name()
        );
        host.deactivate();

        bundles::ask_for_voice(host.as_mut(), &other);
        let (heard, reported, peak) = impulse(host.as_mut(), setup);
        assert!(
            peak > lowest_peak(48_000),
            "{}: the other voice is silent",
            format.name()
        );
        assert!(
            (heard - reported).abs() <= 1,
            "{} with another voice: reported {reported}, heard {heard}",
            format.name()
        );
    }
}

/// The shipped voice swallows impulses, so its lateness shows another way: less the latency it reports, a song must be
/// the same to the bit whatever block and tier it was played with, and in time with its source.
#[test]
fn the_shipped_voice_is_in_time_at_every_block_and_tier() {
    let song = singer::sing(48_000);
    let song = &song[..3 * 48_000];
    let mut reference: Option<Vec<f32>> = None;
    for (format, tier, block) in [
        (Format::Clap, "Live", 480),
        (Format::Clap, "Live", 7),
        (Format::Vst3, "Live", 8192),
        (Format::Vst3, "Studio", 256),
        (Format::Clap, "Render", 1024),
    ] {
        let mut host = bundles::open(format);
        host.set_text("tier", tier).expect("tier");
        host.activate(Setup::offline(48_000, block))
            .expect("activate");
        host.idle(std::time::Duration::from_millis(100))
            .expect("idle");
        let latency = host.latency_samples();
        let mut channel = song.to_vec();
        channel.resize(song.len() + latency, 0.0);
        let input = vec![channel; 2];
        let blocks = [block];
        let output = host
            .render(&Job::new(&input, &blocks))
            .expect("render")
            .swap_remove(0)
            .split_off(latency);
        assert!(rms(&output) > 1e-3, "the shipped voice is silent");
        let case = format!("{} {tier} with blocks of {block}", format.name());
        match &reference {
            None => reference = Some(output),
            Some(first) => assert_eq!(
                first_difference(first, &output, 0.0),
                None,
                "{case} is not the same song"
            ),
        }
    }
}

#[test]
fn latency_of_the_live_tier_is_at_most_60_ms() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        host.activate(Setup::offline(48_000, 256))
            .expect("activate");
        let latency_ms = host.latency_samples() as f64 / 48.0;
        assert!(latency_ms <= 60.0, "{}: {latency_ms:.1} ms", format.name());
    }
}

#[test]
fn blocks_shorter_than_announced_change_nothing() {
    let at = 9_001;
    let mut host = bundles::open_with_voice(Format::Clap, &identity());
    host.activate(Setup::offline(48_000, 1024))
        .expect("activate");
    let latency = host.latency_samples();
    let mut channel = vec![0.0; at + latency + 2_000];
    channel[at] = 0.5;
    let input = vec![channel; 2];
    // The pieces hosts really send around automation points: 1023 + 1.
    let job = Job::new(&input, &[1023, 1, 17, 1024]);
    let output = host.render(&job).expect("render");
    let heard = peak_position(&output[0]) - at;
    assert!(
        heard.abs_diff(latency) <= 1,
        "reported {latency}, heard {heard}"
    );
}
