//! What a content encoder loses when its weights are kept in fewer bits.

use anyhow::{Context, Result, bail};
use timbra_dsp::CONTENT_HOP_SAMPLES;
use timbra_engine::onnx::{Carried, Evaluation, NamedTensor};
use timbra_voice::manifest::EncoderSpec;

/// Longest stretch of a recording that is listened to: encoders are large, and the figure is steady by then.
const MOST_SECONDS: usize = 30;
/// Samples a second of what encoders hear.
const RATE_HZ: usize = 16_000;

/// How far the content of two graphs lies apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// ‖other − reference‖ / ‖reference‖ over all frames.
    pub relative: f64,
    /// The least cosine between the two in any frame.
    pub least_cosine: f64,
    /// Frames compared.
    pub frames: usize,
}

/// Streams `audio` (16 kHz) through two graphs of one encoder and compares what they give.
///
/// # Errors
/// The audio is shorter than a step, or a graph does not run.
pub fn loss(spec: &EncoderSpec, reference: &[u8], other: &[u8], audio: &[f32]) -> Result<Loss> {
    let audio = &audio[..audio.len().min(MOST_SECONDS * RATE_HZ)];
    let expected = stream(spec, reference, audio)?;
    let found = stream(spec, other, audio)?;
    if expected.is_empty() {
        bail!(
            "the recording has {} samples at 16 kHz, fewer than a step of the encoder; give a longer one",
            audio.len()
        );
    }
    let (mut difference, mut power, mut least_cosine) = (0.0, 0.0, 1.0f64);
    let frames = expected
        .chunks(spec.channels)
        .zip(found.chunks(spec.channels));
    for (a, b) in frames {
        let dot = |x: &[f32], y: &[f32]| -> f64 {
            x.iter()
                .zip(y)
                .map(|(x, y)| f64::from(*x) * f64::from(*y))
                .sum()
        };
        let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
        difference += aa + bb - 2.0 * ab;
        power += aa;
        if aa > 0.0 && bb > 0.0 {
            least_cosine = least_cosine.min(ab / (aa * bb).sqrt());
        }
    }
    Ok(Loss {
        relative: (difference.max(0.0) / power.max(f64::MIN_POSITIVE)).sqrt(),
        least_cosine,
        frames: expected.len() / spec.channels,
    })
}

/// The content of `audio`, step by step as it is played.
fn stream(spec: &EncoderSpec, graph: &[u8], audio: &[f32]) -> Result<Vec<f32>> {
    let mut evaluation = Evaluation::new(graph)?;
    let (window, hop, lookahead) = match &spec.step {
        Some(step) => (
            step.lag_samples(),
            step.frames * step.frame_samples,
            Some(step.lookahead_frames),
        ),
        None => (CONTENT_HOP_SAMPLES, CONTENT_HOP_SAMPLES, None),
    };
    let mut states = Carried::new(&spec.graph.states);
    let mut content = Vec::new();
    let mut from = 0;
    while from + window <= audio.len() {
        let mut inputs = vec![NamedTensor {
            name: "audio".to_owned(),
            shape: vec![1, window],
            data: audio[from..from + window].to_vec(),
        }];
        inputs.extend(lookahead.map(|frames| NamedTensor {
            name: "lookahead_frames".to_owned(),
            shape: vec![1, 1],
            data: vec![frames as f32],
        }));
        inputs.extend_from_slice(states.inputs());
        for result in states.take(evaluation.run(&inputs)?) {
            content.extend(result.data);
        }
        from += hop;
    }
    Ok(content)
}

/// The first half minute of a recording as encoders hear it.
///
/// # Errors
/// It cannot be read, or has a rate that cannot be converted.
pub fn heard(path: &std::path::Path) -> Result<Vec<f32>> {
    let audio = crate::data::audio::read_audio(path)?;
    let mono = audio.to_mono();
    let most = MOST_SECONDS * audio.rate_hz as usize;
    let mono = &mono[..mono.len().min(most)];
    timbra_dsp::resample::resample_all(mono, audio.rate_hz, RATE_HZ as u32)
        .with_context(|| path.display().to_string())
}
