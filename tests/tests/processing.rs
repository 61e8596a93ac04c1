//! What the formats' validators do to a plugin while it plays: odd memory, odd blocks, odd values, odd numbers.

use timbra_tests::host::{Change, FORMATS, Host, Job, Mode, Setup};
use timbra_tests::measure::{first_difference, rms};
use timbra_tests::state::State;
use timbra_tests::{bundles, singer};

const RATE_HZ: u32 = 48_000;

/// Numbers that are the same every time: SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
    /// 0..1
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[test]
fn input_and_output_may_be_the_same_memory() {
    let song = singer::sing(RATE_HZ)[48_000..96_000].to_vec();
    let input = vec![song.clone(), song.iter().map(|s| -0.25 * s).collect()];
    for format in FORMATS {
        let mut play = [false, true].map(|in_place| {
            let mut host = bundles::open(format);
            host.set_text("dry_wet", "60 %").expect("set");
            host.activate(Setup::offline(RATE_HZ, 512))
                .expect("activate");
            let job = Job {
                in_place,
                ..Job::new(&input, &[512, 1, 77])
            };
            host.render(&job).expect("render")
        });
        let [apart, together] = &mut play;
        assert!(rms(&apart[0]) > 1e-3, "silent");
        for (a, b) in apart.iter().zip(together) {
            assert_eq!(first_difference(a, b, 0.0), None, "{}", format.name());
        }
    }
}

#[test]
fn random_blocks_values_and_signals_give_numbers_that_are_finite_and_not_denormal() {
    let mut random = Random(7);
    for round in 0..8 {
        for format in FORMATS {
            let mut host = bundles::open(format);
            let parameters = host.parameters().to_vec();
            for parameter in &parameters {
                // The ends are where formulas break.
                let value = [0.0, 1.0, random.share()][random.below(3)];
                host.set(parameter.id, value).expect("set");
            }
            let rate_hz = [22_050, 44_100, 48_000, 96_000][random.below(4)];
            let longest = 1 + random.below(2_000);
            let mut setup = Setup::offline(rate_hz, longest);
            setup.channels = 1 + random.below(2);
            if random.below(2) == 0 {
                setup = setup.mode(Mode::Realtime);
            }
            host.activate(setup).expect("activate");
            let total = 30_000;
            let level = [1e-41, 1e-38, 0.1, 1.0, 50.0][random.below(5)];
            let mut noise = || (2.0 * random.share() - 1.0) as f32 * level;
            let input: Vec<Vec<f32>> = (0..setup.channels)
                .map(|_| (0..total).map(|_| noise()).collect())
                .collect();
            let blocks: Vec<usize> = (0..50).map(|_| 1 + random.below(longest)).collect();
            let mut changes: Vec<Change> = (0..300)
                .map(|_| Change {
                    at_samples: random.below(total),
                    id: parameters[random.below(parameters.len())].id,
                    value: [0.0, 1.0, random.share()][random.below(3)],
                })
                .collect();
            changes.sort_by_key(|change| change.at_samples);
            let job = Job {
                changes: &changes,
                in_place: random.below(2) == 0,
                ..Job::new(&input, &blocks)
            };
            let case = format!(
                "round {round}: {} at {rate_hz} Hz, up to {longest}, {} channels, level {level}",
                format.name(),
                setup.channels
            );
            // The host fails on samples that are not finite or not written.
            let output = host
                .render(&job)
                .unwrap_or_else(|e| panic!("{case}: {e:#}"));
            // Bypassed, a denormal passes as everything does.
            if level > 1e-30 {
                let denormal = output.iter().flatten().find(|sample| sample.is_subnormal());
                assert_eq!(denormal, None, "{case}");
            }
        }
    }
}

/// What is saved of the parameters.
fn parameters(host: &mut dyn Host) -> serde_json::Value {
    let saved = host.save().expect("save");
    State::parse(&saved).expect("a state of ours").json["params"].clone()
}

#[test]
fn values_are_the_same_however_they_come() {
    let mut random = Random(11);
    for format in FORMATS {
        let ids: Vec<u32> = bundles::open(format)
            .parameters()
            .iter()
            .map(|p| p.id)
            .collect();
        let values: Vec<(u32, f64)> = ids.iter().map(|&id| (id, random.share())).collect();
        let setup = Setup::offline(RATE_HZ, 256);
        let play = |host: &mut dyn Host, changes: &[Change]| {
            let input = vec![vec![0.0; 512]; 2];
            let job = Job {
                changes,
                ..Job::new(&input, &[256])
            };
            host.render(&job).expect("render");
        };
        let set = |host: &mut dyn Host| {
            for &(id, value) in &values {
                host.set(id, value).expect("set");
            }
        };
        let mut idle = bundles::open(format);
        set(idle.as_mut());
        let wanted = parameters(idle.as_mut());

        let mut active = bundles::open(format);
        active.activate(setup).expect("activate");
        play(active.as_mut(), &[]);
        set(active.as_mut());
        assert_eq!(
            parameters(active.as_mut()),
            wanted,
            "{}: while active",
            format.name()
        );

        let mut playing = bundles::open(format);
        playing.activate(setup).expect("activate");
        let changes: Vec<Change> = values
            .iter()
            .map(|&(id, value)| Change {
                at_samples: 300,
                id,
                value,
            })
            .collect();
        play(playing.as_mut(), &changes);
        assert_eq!(
            parameters(playing.as_mut()),
            wanted,
            "{}: while playing",
            format.name()
        );

        let mut restored = bundles::open(format);
        restored.load(&idle.save().expect("save")).expect("load");
        assert_eq!(
            parameters(restored.as_mut()),
            wanted,
            "{}: restored",
            format.name()
        );
    }
}

#[test]
fn a_state_goes_through_a_stream_of_any_grain() {
    for format in FORMATS {
        let mut first = bundles::open(format);
        first.set_text("pitch", "+3").expect("set");
        let saved = first.save().expect("save");
        for piece in [1, 2, 23, 4096] {
            let again = first.save_in_pieces(piece);
            let mut second = bundles::open(format);
            let fresh = parameters(second.as_mut());
            let loaded = second.load_in_pieces(&saved, piece);
            let case = format!("{} by {piece} bytes", format.name());
            if format == timbra_tests::host::Format::Clap || piece >= saved.len() {
                let parse = |bytes: &[u8]| State::parse(bytes).expect("ours");
                assert_eq!(parse(&again.expect("save")), parse(&saved), "{case}");
                loaded.unwrap_or_else(|e| panic!("{case}: {e:#}"));
                assert_eq!(
                    parameters(second.as_mut()),
                    parameters(first.as_mut()),
                    "{case}"
                );
            } else {
                // VST3's streams are whole; one that is not is refused, and nothing has changed.
                assert!(loaded.is_err(), "{case}");
                assert_eq!(parameters(second.as_mut()), fresh, "{case}");
            }
        }
    }
}

#[test]
fn what_is_no_state_is_refused_with_a_word_and_changes_nothing() {
    let mut random = Random(13);
    for format in FORMATS {
        let mut host = bundles::open(format);
        host.set_text("pitch", "+2").expect("set");
        let saved = host.save().expect("save");
        let before = State::parse(&saved).expect("ours");
        let mut bad: Vec<Vec<u8>> = (0..20)
            .map(|round| (0..round * 40).map(|_| random.next() as u8).collect())
            .collect();
        // Cut off, and lengths that nobody has memory for.
        bad.extend((1..10).map(|tenth| saved[..saved.len() * tenth / 10].to_vec()));
        for length in [u64::MAX, i64::MAX as u64, 1 << 40, 1 << 31] {
            bad.push([&length.to_le_bytes()[..], b"{}"].concat());
        }
        for bytes in bad {
            let start = &bytes[..bytes.len().min(16)];
            let case = format!("{}: {} bytes, {start:02x?}", format.name(), bytes.len());
            assert!(host.load(&bytes).is_err(), "{case} were taken");
            let after = State::parse(&host.save().expect("save")).expect("ours");
            assert_eq!(before, after, "{case}");
        }
    }
}
