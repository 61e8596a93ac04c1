//! Voices that change or vanish under a plugin that plays, and plugins that vanish while a voice is loaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use timbra_tests::host::{FORMATS, Format, Host, Job, Mode, Setup};
use timbra_tests::measure::{first_difference, rms};
use timbra_tests::state::State;
use timbra_tests::{bundles, singer, voices};

const RATE_HZ: u32 = 48_000;
/// Longest a voice may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn folder() -> PathBuf {
    bundles::folder().join("../test-voices")
}

fn activate(host: &mut dyn Host) {
    host.activate(Setup::offline(RATE_HZ, 512))
        .expect("activate");
    host.idle(Duration::from_millis(400)).expect("idle");
}

/// Until what would be saved has the hash of the wanted voice, which means that it is loaded.
fn wait_for_voice(host: &mut dyn Host) {
    let began = Instant::now();
    while voice_of(host)["sha256"].as_str().map(str::len) != Some(64) {
        assert!(began.elapsed() < PATIENCE, "the voice was not loaded");
        host.idle(Duration::from_millis(50)).expect("idle");
    }
}

/// Three seconds, without the first of the latency, in which what was heard before a reset may fade; `before` is called
/// with the position before each block.
fn render(host: &mut dyn Host, before: &(dyn Fn(usize) + Sync)) -> Vec<f32> {
    let mut song = singer::sing(RATE_HZ);
    song.truncate(3 * RATE_HZ as usize);
    let input = vec![song; 2];
    let job = Job {
        before: Some(before),
        ..Job::new(&input, &[512])
    };
    let latency = host.latency_samples();
    let mut output = host.render(&job).expect("render").swap_remove(0);
    output.split_off(latency)
}

fn voice_of(host: &mut dyn Host) -> serde_json::Value {
    let saved = State::parse(&host.save().expect("save")).expect("ours");
    saved.field("voice").expect("voice")
}

#[test]
fn a_voice_whose_file_is_lost_or_changed_plays_on_stays_wanted_and_sings_again_when_it_is_back() {
    type Damage<'a> = (&'a str, &'a (dyn Fn(&Path) + Sync), bool);
    let other = fs::read(voices::control_as_level(&folder(), voices::Shows::F0)).expect("read");
    let damages: [Damage; 4] = [
        (
            "deleted",
            &|path| fs::remove_file(path).expect("remove"),
            true,
        ),
        (
            "truncated",
            &|path| {
                let file = fs::OpenOptions::new().write(true).open(path);
                file.and_then(|file| file.set_len(100)).expect("truncate");
            },
            true,
        ),
        (
            "garbage",
            &|path| fs::write(path, [0x55; 5000]).expect("write"),
            true,
        ),
        (
            "another",
            &|path| fs::write(path, &other).expect("write"),
            false,
        ),
    ];
    for format in FORMATS {
        for (damage, harm, silent) in damages {
            let case = format!("{} {damage}", format.name());
            let path = voices::identity(&folder(), &format!("fault-{}-{damage}", format.name()));
            let whole = fs::read(&path).expect("read");
            let mut host = bundles::open_with_voice(format, &path);
            activate(host.as_mut());
            wait_for_voice(host.as_mut());
            let wanted = voice_of(host.as_mut());
            let expected = render(host.as_mut(), &|_| {});
            assert!(rms(&expected) > 1e-3, "{case}: silent");
            host.reset().expect("reset");
            let disturbed = render(host.as_mut(), &|position| {
                if position / 512 == 90 {
                    harm(&path);
                }
            });
            let differs = first_difference(&expected, &disturbed, 0.0);
            assert_eq!(differs, None, "{case}: the sound changed");
            host.idle(Duration::from_millis(400)).expect("idle");
            assert_eq!(
                voice_of(host.as_mut()),
                wanted,
                "{case}: what is saved changed"
            );

            host.deactivate();
            activate(host.as_mut());
            let after = render(host.as_mut(), &|_| {});
            if silent {
                assert!(
                    after.iter().all(|s| *s == 0.0),
                    "{case}: a sound without a voice"
                );
            }
            assert_eq!(
                voice_of(host.as_mut()),
                wanted,
                "{case}: what is wanted changed"
            );

            fs::write(&path, &whole).expect("write");
            host.deactivate();
            activate(host.as_mut());
            let again = render(host.as_mut(), &|_| {});
            let differs = first_difference(&expected, &again, 0.0);
            assert_eq!(differs, None, "{case}: not the same when it is back");
        }
    }
}

#[test]
fn instances_dropped_while_their_voice_loads_do_no_harm() {
    for n in 0..50 {
        let mut host = bundles::open(FORMATS[n % 2]);
        host.activate(Setup::offline(RATE_HZ, 512).mode(Mode::Realtime))
            .expect("activate");
        let share = timbra_dsp::noise::uniform(23, n as u64).abs();
        std::thread::sleep(Duration::from_secs_f32(0.3 * share * share));
    }
    let mut host = bundles::open(Format::Clap);
    activate(host.as_mut());
    assert!(
        rms(&render(host.as_mut(), &|_| {})) > 1e-3,
        "silent afterwards"
    );
}

#[test]
fn of_many_voices_asked_for_quickly_the_last_one_sings() {
    let first = voices::control_as_level(&folder(), voices::Shows::F0);
    let last = voices::identity(&folder(), "fault-last");
    for format in FORMATS {
        let mut host = bundles::open_with_voice(format, &last);
        activate(host.as_mut());
        let expected = render(host.as_mut(), &|_| {});
        let quick = vec![vec![0.1; 2048]; 2];
        for n in 0..41 {
            bundles::ask_for_voice(host.as_mut(), if n % 2 == 0 { &last } else { &first });
            host.render(&Job::new(&quick, &[512])).expect("render");
        }
        wait_for_voice(host.as_mut());
        host.render(&Job::new(&quick, &[512])).expect("render");
        host.idle(Duration::from_millis(300)).expect("idle");
        assert_eq!(
            voice_of(host.as_mut())["name"],
            "fault-last",
            "{}",
            format.name()
        );
        host.reset().expect("reset");
        let found = render(host.as_mut(), &|_| {});
        let differs = first_difference(&expected, &found, 0.0);
        let silent = found.iter().filter(|&&sample| sample == 0.0).count();
        let wrong = expected.iter().zip(&found).filter(|(a, b)| a != b).count();
        let name = format.name();
        assert_eq!(
            differs,
            None,
            "{name}: another voice sings: {wrong} of {} samples differ, {silent} are silent",
            found.len()
        );
    }
}
