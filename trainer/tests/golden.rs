//! Imported voices compute what the implementation they come from computes: by burn, as a whole graph, and streamed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod references;
mod support;

use references::{
    ALL, B, Case, array, audio_of, checkpoint, folders, load, name_of, own, relative,
};
use support::runtime_is_there;
use timbra_engine::onnx::{Evaluation, evaluate};
use timbra_trainer::import::read_state_dict;
use timbra_trainer::import::weights::CheckpointWeights;
use timbra_trainer::model::causal::{from_vec, to_vec};
use timbra_trainer::model::vits::eval::Compute;
use timbra_trainer::model::vits::voice::Posterior;

#[test]
fn imported_voices_sing_as_where_they_come_from() {
    for folder in folders() {
        let name = name_of(&folder);
        let (spec, voice) = load(&folder);
        let case = Case::read(&folder);
        let mut eval = Compute::default();
        for reference in case.references(&folder, &spec) {
            let inputs = case.inputs(&spec, reference.mix, reference.auto_f0);
            let (audio, f0) = voice.sing(&mut eval, &inputs);
            let error = relative(&reference.audio, &to_vec(audio));
            println!("{name} {}: {error:.2e}", reference.name);
            assert!(error < 1e-3, "{name} {}: {error}", reference.name);
            if !reference.auto_f0 {
                continue;
            }
            let Some((_, expected)) = array(&folder, "auto_f0_hz") else {
                continue;
            };
            let found = to_vec(f0);
            let mut cents: Vec<f64> = expected
                .iter()
                .zip(&found)
                .filter(|(a, b)| **a > 1.0 && **b > 1.0)
                .map(|(a, b)| 1200.0 * f64::from(a / b).log2().abs())
                .collect();
            cents.sort_by(f64::total_cmp);
            // A voice that was not trained may predict frequencies below 0, which have no cents.
            if let Some(median) = cents.get(cents.len() / 2) {
                println!("{name} auto F0: {median:.4} cents");
                assert!(*median < 0.1, "{name}: {cents:?}");
            }
            let error = relative(&expected, &found);
            println!("{name} auto F0: {error:.2e}");
            assert!(error < 5e-5, "{name} auto F0: {error}");
        }
    }
}

#[test]
fn exported_graphs_sing_as_where_they_come_from_whole_and_streamed() {
    if !runtime_is_there() {
        return;
    }
    for folder in folders() {
        let name = name_of(&folder);
        let (spec, voice) = load(&folder);
        let case = Case::read(&folder);
        let whole = voice.export_whole(&spec);
        let streaming = voice.export_streaming(&spec);
        let mut graph = Evaluation::new(&streaming.bytes).unwrap();
        for reference in case.references(&folder, &spec) {
            let (mix, auto_f0) = (&reference.mix[..], reference.auto_f0);
            let expected = &reference.audio;
            let name = format!("{name} {}", reference.name);
            let inputs = case.graph_inputs(&spec, mix, auto_f0, (0, case.frames));
            let offline = audio_of(&evaluate(&whole.bytes, &inputs).unwrap());
            let error = relative(expected, &offline);
            println!("{name}: whole graph {error:.2e}");
            assert!(error < 1e-3, "{name}: {error}");

            for step in [case.frames, 10, 7, 3] {
                let graph = (&mut graph, &streaming.spec.states[..]);
                let found = case.stream(graph, &spec, (mix, auto_f0), (step, ALL));
                // What is late has not come out yet at the end.
                let there = expected.len() - streaming.delay_samples;
                let found = &found[streaming.delay_samples..];
                let error = relative(&expected[..there], &found[..there]);
                let apart = relative(&offline[..there], &found[..there]);
                println!("{name}: streamed by {step} {error:.2e}, from the whole {apart:.2e}");
                assert!(error < 1e-3, "{name} by {step}: {error}");
                assert!(apart < 1e-4, "{name} by {step}: {apart} from the whole");
            }
        }
    }
}

#[test]
fn the_posterior_says_of_a_spectrum_what_it_says_where_it_comes_from() {
    let folder = own("sovits_fork");
    let (spec, voice) = load(&folder);
    let weights = read_state_dict(&checkpoint(&folder)).unwrap();
    let device = Default::default();
    let mut eval = Compute::<B>::default();
    let posterior = Posterior::load(&mut CheckpointWeights(&weights), &spec, &device).unwrap();
    let (shape, spectrum) = array(&folder, "spectrum").unwrap();
    let frames = shape[2];
    let spectrum = from_vec::<B, 3>(spectrum, [1, spec.spectrum_bins, frames], &device);
    // The references are of speaker 1.
    let speaker = voice.speakers.val().narrow(0, 1, 1);
    let speaker = speaker.reshape([1, spec.speaker_channels, 1]);
    let speaker = speaker.repeat_dim(2, frames);
    let (mean, log_deviation) = posterior.statistics(&mut eval, &spectrum, &speaker);
    for (name, found) in [
        ("posterior_mean", mean.clone()),
        ("posterior_log_deviation", log_deviation),
    ] {
        let (shape, expected) = array(&folder, name).unwrap();
        assert_eq!(found.dims().to_vec(), shape);
        let error = relative(&expected, &to_vec(found));
        println!("{name}: {error:.2e}");
        assert!(error < 1e-3, "{name}: {error}");
    }

    let there = voice.flow.forward(&mut eval, &mean, &speaker);
    let back = voice.flow.inverse(&mut eval, &there, &speaker);
    let moved = relative(&to_vec(mean.clone()), &to_vec(there));
    assert!(moved > 1e-3, "the flow does something: {moved}");
    let error = relative(&to_vec(mean), &to_vec(back));
    assert!(error < 1e-5, "the flow undoes itself: {error}");
}
