//! Levels of broad bands, each against its mean of the last seconds: how a sound was spoken, in so little detail that it
//! says little of whose throat it comes from (how little: `benches/RESULTS.md`).
//!
//! Speech whose spectrum is left in no more than four bands is understood (Shannon et al., "Speech recognition with
//! primarily temporal cues", Science 270, 1995). So a voice that hears these levels beside the phones that an encoder has
//! learned knows what the encoder has missed. What does not change while somebody speaks, microphone, room, the length of
//! the throat, is mostly in the means, and these are taken off; the level of all bands together too, which is what loudness
//! says.

use timbra_voice::onnx_writer::Attr;

use super::causal::StreamingGraph;
use super::mel;

/// How many bands: about three critical bands each.
pub const BANDS: usize = 8;
/// Where the lowest begins and the highest ends, in Hz. Neighbours overlap by half.
const EDGES_HZ: (f64, f64) = (80.0, 7_500.0);
/// Frames of the past that the means are of, and over how many of them an older one counts e times less.
const PAST_FRAMES: usize = 300;
const FADING_FRAMES: f64 = 150.0;
/// A frame counts in the means by this power of its own: loud ones most.
const WEIGHT_EXPONENT: f32 = 0.3;
/// What the means begin with, in nepers of power below all bands together: those of 52 clips of 21 people, read and sung.
const USUAL: [f32; BANDS] = [-2.00, -2.06, -2.77, -4.05, -4.27, -4.47, -4.65, -5.53];
/// How much that counts: about a quarter of a second of such a clip (-26 dBFS).
const USUAL_WEIGHT: f32 = 60.0;
/// Content per neper of power: levels move about as far as the channels that are learned.
const SCALE: f32 = 0.2;

/// Critical bands (ERB) below `hz`: Glasberg and Moore, Hearing Research 47, 1990.
fn erbs(hz: f64) -> f64 {
    21.4 * (1.0 + 0.004_37 * hz).log10()
}

/// `[mel::BANDS, BANDS + 1]`: triangles over the front end's bands, and at last all of them.
fn bank() -> Vec<f32> {
    let edges = timbra_dsp::mel::mel_edges_hz(mel::BANDS, 0.0, mel::RATE_HZ / 2.0);
    let (low, high) = (erbs(EDGES_HZ.0), erbs(EDGES_HZ.1));
    let width = (high - low) / (BANDS + 1) as f64;
    let mut bank = Vec::with_capacity(mel::BANDS * (BANDS + 1));
    for &centre_hz in &edges[1..=mel::BANDS] {
        let position = (erbs(centre_hz) - low) / width;
        bank.extend((1..=BANDS).map(|band| (1.0 - (position - band as f64).abs()).max(0.0) as f32));
        bank.push(1.0);
    }
    bank
}

/// Adds the levels to `graph`: `power` is that of the front end, `[1, T, mel::BANDS]`; returns `[1, T, BANDS]`, of the frames
/// `late_frames` before.
pub fn export(graph: &mut StreamingGraph, power: &str, late_frames: usize) -> String {
    let all = BANDS as i64;
    let g = &mut graph.builder;
    let bank = g.f32s(&[mel::BANDS, BANDS + 1], &bank());
    let sums = g.op("MatMul", &[power, &bank], vec![]);
    let floor = g.f32s(&[1], &[mel::FLOOR]);
    let sums = g.op("Add", &[&sums, &floor], vec![]);
    let logs = g.op("Log", &[&sums], vec![]);
    let levels = graph.slice(&logs, 2, 0, all);
    let whole = graph.slice(&logs, 2, all, all + 1);
    let g = &mut graph.builder;
    let shape = g.op("Sub", &[&levels, &whole], vec![]);
    let exponent = g.f32s(&[1], &[WEIGHT_EXPONENT]);
    let weight = g.op("Mul", &[&whole, &exponent], vec![]);
    let weight = g.op("Exp", &[&weight], vec![]);
    let weighted = g.op("Mul", &[&shape, &weight], vec![]);
    let both = g.op("Concat", &[&weighted, &weight], vec![Attr::Int("axis", 2)]);
    let sums = faded_sums(graph, &both);
    let sum = graph.slice(&sums, 2, 0, all);
    let count = graph.slice(&sums, 2, all, all + 1);
    let g = &mut graph.builder;
    let usual = g.f32s(&[BANDS], &USUAL.map(|level| level * USUAL_WEIGHT));
    let sum = g.op("Add", &[&sum, &usual], vec![]);
    let usual_weight = g.f32s(&[1], &[USUAL_WEIGHT]);
    let count = g.op("Add", &[&count, &usual_weight], vec![]);
    let mean = g.op("Div", &[&sum, &count], vec![]);
    let apart = g.op("Sub", &[&shape, &mean], vec![]);
    let scale = g.f32s(&[1], &[SCALE]);
    let levels = g.op("Mul", &[&apart, &scale], vec![]);
    if late_frames == 0 {
        return levels;
    }
    let history = graph.carry(&levels, late_frames, BANDS);
    graph.slice(&history, 1, 0, -(late_frames as i64))
}

/// For every frame of `rows`, `[1, T, BANDS + 1]`, the sum of it and those of the past, the older the less.
fn faded_sums(graph: &mut StreamingGraph, rows: &str) -> String {
    let seen = graph.taps(rows, BANDS + 1, PAST_FRAMES + 1, 1);
    let g = &mut graph.builder;
    let fading: Vec<f32> = (0..=PAST_FRAMES)
        .map(|place| (-((PAST_FRAMES - place) as f64) / FADING_FRAMES).exp() as f32)
        .collect();
    let fading = g.f32s(&[1, PAST_FRAMES + 1], &fading);
    let sums = g.op("MatMul", &[&fading, &seen], vec![]);
    let shape = g.i64s(&[1, -1, (BANDS + 1) as i64]);
    g.op("Reshape", &[&sums, &shape], vec![])
}
