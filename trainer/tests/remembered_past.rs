//! A streamed voice remembers a limited past: up to the limit it is the whole clip's, and past it only attention can tell.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod references;
mod support;

use references::{
    ALL, B, Case, SHARED_FLOW, TRANSFORMER_FLOW, TRANSFORMER_SHARED, audio_of, load, one_speaker,
    own, relative,
};
use support::runtime_is_there;
use timbra_engine::onnx::{Evaluation, evaluate};
use timbra_trainer::model::vits::export::{Exported, PAST_FRAMES};
use timbra_trainer::model::vits::spec::VitsSpec;
use timbra_trainer::model::vits::voice::VitsVoice;

/// Longer than twice the limit.
const FRAMES: usize = 2 * PAST_FRAMES + 88;
/// Frames of a step, each with all of the future.
const STEP: usize = 50;

/// A voice, something long, and what the whole graph sings of it.
struct Clip {
    spec: VitsSpec,
    voice: VitsVoice<B>,
    case: Case,
    mix: Vec<f32>,
    whole: Vec<f32>,
}

impl Clip {
    fn new(name: &str) -> Self {
        let (spec, voice) = load(&own(name));
        let case = Case::long(&spec, FRAMES);
        let mix = one_speaker(&spec, FRAMES, 1);
        let inputs = case.graph_inputs(&spec, &mix, false, (0, FRAMES));
        let whole = audio_of(&evaluate(&voice.export_whole(&spec).bytes, &inputs).unwrap());
        Self {
            spec,
            voice,
            case,
            mix,
            whole,
        }
    }

    /// How far a streaming graph's audio is from the whole one's, before frame `split` and from there on.
    fn apart(&self, streaming: &Exported, split: usize) -> [f64; 2] {
        let mut graph = Evaluation::new(&streaming.bytes).unwrap();
        let graph = (&mut graph, &streaming.spec.states[..]);
        let found = self
            .case
            .stream(graph, &self.spec, (&self.mix, false), (STEP, ALL));
        let delay = streaming.delay_samples;
        let there = self.whole.len() - delay;
        let split = split * self.spec.hop_samples() - delay;
        let (whole, found) = (&self.whole[..there], &found[delay..]);
        [
            relative(&whole[..split], &found[..split]),
            relative(&whole[split..], &found[split..]),
        ]
    }
}

#[test]
fn what_looks_no_further_than_the_limit_streams_as_the_whole_clip_however_long() {
    if !runtime_is_there() {
        return;
    }
    let clip = Clip::new(SHARED_FLOW.name);
    let streaming = clip.voice.export_streaming(&clip.spec);
    let apart = clip.apart(&streaming, PAST_FRAMES);
    println!(
        "{}: {:.1e} before the limit, {:.1e} past it",
        SHARED_FLOW.name, apart[0], apart[1]
    );
    assert!(apart.iter().all(|&apart| apart < 1e-4), "{apart:?}");
}

#[test]
fn what_looks_further_is_the_whole_clip_up_to_the_limit_and_with_a_limit_beyond_the_clip() {
    if !runtime_is_there() {
        return;
    }
    // The last step that begins before the limit still sees all of the past.
    let full = (PAST_FRAMES / STEP + 1) * STEP;
    // What forgetting costs past the limit, with attention of random weights, which may look everywhere alike; measured: 2.0e-4,
    // .78, .074 and 7.3e-4. Attention that has learned to look near loses nothing, as above.
    for (name, most) in [
        ("sovits_fork", 1e-3),
        ("rvc_v2_40k", 1.0),
        (TRANSFORMER_FLOW.name, 0.1),
        (TRANSFORMER_SHARED.name, 2e-3),
    ] {
        let clip = Clip::new(name);
        let [before, past] = clip.apart(&clip.voice.export_streaming(&clip.spec), full);
        let unlimited = clip.voice.export_remembering(&clip.spec, FRAMES);
        let unlimited = clip.apart(&unlimited, full);
        println!(
            "{name}: {before:.1e} before the limit, {past:.1e} past it; without one {:.1e}, {:.1e}",
            unlimited[0], unlimited[1]
        );
        assert!(before < 1e-4, "{name}: {before}");
        assert!(unlimited.iter().all(|&u| u < 1e-4), "{name}: {unlimited:?}");
        assert!(past > 1e-4 && past < most, "{name}: {past}");
    }
}
