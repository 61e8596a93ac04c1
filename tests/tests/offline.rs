//! The trainer's converter and the plugin are the same engine.

use timbra_engine::{Controls, offline};
use timbra_tests::bundles;
use timbra_tests::host::{FORMATS, Job, Setup};
use timbra_tests::measure::{first_difference, rms};
use timbra_tests::singer;

#[test]
fn offline_conversion_is_bit_identical_to_the_plugins_bounce() {
    let trio = bundles::root().join("models/trio.timbra");
    let vocal = singer::sing(44_100);
    let voice = offline::load_voice(&trio).expect("the shipped voice");
    let mut mix = Controls::default().speaker_mix;
    (mix[0], mix[1]) = (0.25, 0.75);
    let controls = Controls {
        pitch_semitones: -3.5,
        speaker_mix: mix,
        ..Controls::default()
    };
    let converted =
        offline::convert(&voice, &vocal, 44_100, &|_| controls, &mut |_| {}).expect("convert");
    assert_eq!(converted.len(), vocal.len());
    assert!(rms(&converted) > 1e-3, "silent");
    for format in FORMATS {
        let mut host = bundles::open_with_voice(format, &trio);
        for (key, text) in [("pitch", "-3.5"), ("mix_1", "25 %"), ("mix_2", "75 %")] {
            host.set_text(key, text).expect("set");
        }
        host.activate(Setup::offline(44_100, 480).mono())
            .expect("activate");
        let latency = host.latency_samples();
        let mut channel = vocal.clone();
        channel.resize(vocal.len() + latency, 0.0);
        let input = [channel];
        let job = Job::new(&input, &[480]);
        let bounced = host
            .render(&job)
            .expect("render")
            .swap_remove(0)
            .split_off(latency);
        let at = first_difference(&converted, &bounced, 0.0);
        assert_eq!(at, None, "{} differs from the converter", format.name());
    }
}
