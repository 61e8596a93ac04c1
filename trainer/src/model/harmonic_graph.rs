//! The streaming graph `synthesis.onnx` of the harmonic family.
//!
//! One step of `T` frames: the network's curves, the excitation of the same
//! frames, the filter bank, overlap-add; all state carried. The DFT matrices are
//! written as expressions of small constants; the runtime folds them when it
//! loads the graph, so the file holds little but weights.
//!
//! The DFTs are matrix products, which run on every provider, folded by their
//! symmetries as in `folded_dft`, since reading the matrices is what takes the
//! time. Bins are kept in the order all even, then all odd.

use burn::tensor::backend::Backend;
use timbra_dsp::mel::hz_to_mel;
use timbra_voice::manifest::GraphSpec;
use timbra_voice::onnx_writer::{Attr, GraphBuilder};

use super::causal::{StreamingGraph, to_vec};
use super::excitation::{IDLE_F0_HZ, MOST_AHEAD, PULSE_CENTRE_CYCLES, hann};
use super::folded_dft::bin_order;
use super::harmonic::{
    BINS, CURVE_RANGE, CURVE_SCALE, CURVE_START, FFT_SAMPLES, HALVES, HARMONIC_POINTS, HOP_SAMPLES,
    HarmonicVoice, LOUDNESS_FLOOR_DB, MODEL_RATE_HZ, NEPERS_PER_DB, NOISE_POINTS, OVERLAP_STEPS,
    REFERENCE_F0_HZ, STEP_SAMPLES,
};

const POINTS: usize = HARMONIC_POINTS + NOISE_POINTS;
/// Uniform noise in −1…1 times this has unit power.
const UNIT_NOISE: f32 = 1.732_050_8;
/// Even bins, 0 to half the length of the DFT.
const EVEN_BINS: usize = BINS.div_ceil(2);
/// A quarter of the DFT's length, where its symmetries fold.
const QUARTER: usize = FFT_SAMPLES / 4;

/// What a voice is given when it is exported, beside what it has learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finish {
    /// Lift of what is above 10 kHz in dB, and less from 8 kHz on.
    pub air_db: f32,
    /// By how many samples the lowest harmonics come before the highest. The audio is later by as much.
    ///
    /// Before the glottis closes its flow grows, so what is low in a voice's period comes before the click of the closure
    /// (Doval, d'Alessandro and Henrich, "The spectrum of glottal flow models", Acta Acustica 92, 2006: an anticausal
    /// resonance). Harmonics that all begin together make peaks of a height no voice has.
    pub lead_samples: usize,
}

impl Default for Finish {
    /// No air, and the lead that was heard to be best.
    fn default() -> Self {
        Self {
            air_db: 0.0,
            lead_samples: LEAD_SAMPLES,
        }
    }
}

/// The usual lead: 2 ms.
pub const LEAD_SAMPLES: usize = MODEL_RATE_HZ / 500;
/// Most lead: beyond it a window's response would not fit into its transform.
pub const MOST_LEAD_SAMPLES: usize = MODEL_RATE_HZ / 250;
/// Frequency at which the lead is half of what it is at 0 Hz.
pub const LEAD_HZ: f64 = 1_000.0;

/// Phase in radians by which a harmonic at `hz` is ahead: the integral over frequency of the lead.
#[must_use]
pub fn lead_phase(hz: f64, lead_samples: usize) -> f64 {
    let lead_s = lead_samples as f64 / MODEL_RATE_HZ as f64;
    std::f64::consts::TAU * lead_s * LEAD_HZ * (hz / LEAD_HZ).atan()
}

fn even_bins() -> impl Iterator<Item = usize> {
    (0..BINS).step_by(2)
}

fn odd_bins() -> impl Iterator<Item = usize> {
    (1..BINS).step_by(2)
}

impl<B: Backend> HarmonicVoice<B> {
    /// The graph and what the manifest says of it; its audio lags its controls by the lead.
    pub fn export(&self, finish: Finish) -> (Vec<u8>, GraphSpec) {
        let [speakers, _] = self.speakers.val().dims();
        let content_channels =
            self.entry.conv.weight.val().dims()[1] - super::harmonic::EXTRA_INPUTS;
        let mut graph = StreamingGraph::new("synthesis");
        let inputs = [
            "content",
            "f0_hz",
            "loudness",
            "speaker_mix",
            "formant_semitones",
            "noise",
        ];
        for input in inputs {
            match input {
                "content" => graph
                    .builder
                    .input(input, &[1.into(), "frames".into(), content_channels.into()]),
                "speaker_mix" => graph
                    .builder
                    .input(input, &[1.into(), "frames".into(), speakers.into()]),
                "noise" => graph.builder.input(input, &[1.into(), "samples".into()]),
                _ => graph.builder.input(input, &[1.into(), "frames".into()]),
            };
        }
        let curves = self.export_curves(&mut graph, finish.air_db);
        let (gain, phase) = export_filters(&mut graph, &curves);
        let excitation = export_excitation(&mut graph);
        export_render(&mut graph, &excitation, &gain, &phase, finish.lead_samples);
        graph.builder.output("audio", &[1.into(), "samples".into()]);
        let spec = GraphSpec {
            file: "synthesis.onnx".to_owned(),
            inputs: inputs.map(str::to_owned).to_vec(),
            outputs: vec!["audio".to_owned()],
            states: graph.states.clone(),
            cpu_weights: None,
        };
        (graph.builder.finish(), spec)
    }

    /// Curves and the formant ratio's semitones of the half-frames to render, `[1, 2T, POINTS + 1]`.
    fn export_curves(&self, graph: &mut StreamingGraph, air_db: f32) -> String {
        let g = &mut graph.builder;
        let column = g.i64s(&[1, -1, 1]);
        let zero = g.f32s(&[1], &[0.0]);
        let f0 = g.op("Reshape", &["f0_hz", &column], vec![]);
        let is_voiced = g.op("Greater", &[&f0, &zero], vec![]);
        let voiced = g.op("Cast", &[&is_voiced], vec![Attr::Int("to", 1)]);
        let reference = g.f32s(&[1], &[REFERENCE_F0_HZ]);
        let safe = g.op("Where", &[&is_voiced, &f0, &reference], vec![]);
        let ratio = g.op("Div", &[&safe, &reference], vec![]);
        let log = g.op("Log", &[&ratio], vec![]);
        let to_octaves = g.f32s(&[1], &[std::f32::consts::LOG2_E]);
        let octaves = g.op("Mul", &[&log, &to_octaves], vec![]);
        let loudness = g.op("Reshape", &["loudness", &column], vec![]);
        let floor = g.f32s(&[1], &[LOUDNESS_FLOOR_DB]);
        let loudness = g.op("Max", &[&loudness, &floor], vec![]);
        let (forty, twentieth) = (g.f32s(&[1], &[40.0]), g.f32s(&[1], &[1.0 / 20.0]));
        let level_in = g.op("Add", &[&loudness, &forty], vec![]);
        let level_in = g.op("Mul", &[&level_in, &twentieth], vec![]);
        let x = g.op(
            "Concat",
            &["content", &octaves, &voiced, &level_in],
            vec![Attr::Int("axis", 2)],
        );
        let embeddings = to_vec(self.speakers.val());
        let embeddings = g.f32s(&self.speakers.val().dims(), &embeddings);
        let speaker = g.op("MatMul", &["speaker_mix", &embeddings], vec![]);

        let mut x = self.entry.export(graph, &x);
        for block in &self.blocks {
            x = block.export(graph, &x, Some(&speaker));
        }
        let x = self.norm.export(graph, &x);
        let raw = self.curves.export(graph, &x);
        let g = &mut graph.builder;
        let halves = g.i64s(&[1, -1, POINTS as i64]);
        let raw = g.op("Reshape", &[&raw, &halves], vec![]);
        let scale = g.f32s(&[1], &[CURVE_SCALE]);
        let raw = g.op("Mul", &[&raw, &scale], vec![]);
        let start: Vec<f32> = [
            (HARMONIC_POINTS, CURVE_START[0]),
            (NOISE_POINTS, CURVE_START[1]),
        ]
        .into_iter()
        .flat_map(|(points, level)| {
            (0..points).map(move |point| level + air_db * NEPERS_PER_DB * air_share(point, points))
        })
        .collect();
        let start = g.f32s(&[POINTS], &start);
        let raw = g.op("Add", &[&raw, &start], vec![]);
        let (low, high) = (g.f32s(&[], &[CURVE_RANGE.0]), g.f32s(&[], &[CURVE_RANGE.1]));
        let curve = g.op("Clip", &[&raw, &low, &high], vec![]);
        let nepers = g.f32s(&[1], &[NEPERS_PER_DB]);
        let level = g.op("Mul", &[&loudness, &nepers], vec![]);
        let level = g.op("Concat", &[&level, &level], vec![Attr::Int("axis", 2)]);
        let level = g.op("Reshape", &[&level, &column], vec![]);
        let curve = g.op("Add", &[&curve, &level], vec![]);
        let formant = g.op("Reshape", &["formant_semitones", &column], vec![]);
        let formant = g.op("Concat", &[&formant, &formant], vec![Attr::Int("axis", 2)]);
        let formant = g.op("Reshape", &[&formant, &column], vec![]);
        g.op("Concat", &[&curve, &formant], vec![Attr::Int("axis", 2)])
    }
}

/// Where the lift of the highs begins and where it is whole, in Hz.
const AIR_HZ: (f64, f64) = (8_000.0, 10_000.0);

/// How much of the lift point `point` of `points` mel-spaced ones gets, 0..1.
fn air_share(point: usize, points: usize) -> f32 {
    let position = hz_to_mel(MODEL_RATE_HZ as f64 / 2.0) * point as f64 / (points - 1) as f64;
    ((position - hz_to_mel(AIR_HZ.0)) / (hz_to_mel(AIR_HZ.1) - hz_to_mel(AIR_HZ.0))).clamp(0.0, 1.0)
        as f32
}

/// Gain and phase at every bin, `[2, 2T, BINS]`: harmonic first, then noise.
fn export_filters(graph: &mut StreamingGraph, curves: &str) -> (String, String) {
    let harmonic = graph.slice(curves, 2, 0, HARMONIC_POINTS as i64);
    let noise = graph.slice(curves, 2, HARMONIC_POINTS as i64, POINTS as i64);
    let formant = graph.slice(curves, 2, POINTS as i64, i64::MAX);
    let g = &mut graph.builder;
    // A curve moved up by r is read at f / r.
    let per_semitone = g.f32s(&[1], &[-std::f32::consts::LN_2 / 12.0]);
    let exponent = g.op("Mul", &[&formant, &per_semitone], vec![]);
    let stretch = g.op("Exp", &[&exponent], vec![]);
    let bins_over_700: Vec<f32> = bin_order(BINS)
        .map(|bin| (bin as f64 * MODEL_RATE_HZ as f64 / FFT_SAMPLES as f64 / 700.0) as f32)
        .collect();
    let bins = g.f32s(&[1, 1, BINS], &bins_over_700);
    let hz = g.op("Mul", &[&bins, &stretch], vec![]);
    let one = g.f32s(&[1], &[1.0]);
    let hz = g.op("Add", &[&hz, &one], vec![]);
    let log = g.op("Log", &[&hz], vec![]);
    let top = hz_to_mel(MODEL_RATE_HZ as f64 / 2.0) / 2595.0 * std::f64::consts::LN_10;
    let mut logs = Vec::new();
    for (curve, points) in [(&harmonic, HARMONIC_POINTS), (&noise, NOISE_POINTS)] {
        let scale = g.f32s(&[1], &[((points - 1) as f64 / top) as f32]);
        let position = g.op("Mul", &[&log, &scale], vec![]);
        let (low, high) = (g.f32s(&[], &[0.0]), g.f32s(&[], &[points as f32 - 1.001]));
        let position = g.op("Clip", &[&position, &low, &high], vec![]);
        let whole = g.op("Floor", &[&position], vec![]);
        let fraction = g.op("Sub", &[&position, &whole], vec![]);
        let index = g.op("Cast", &[&whole], vec![Attr::Int("to", 7)]);
        let step = g.i64s(&[1]);
        let next = g.op("Add", &[&index, &step], vec![]);
        let here = g.op(
            "GatherElements",
            &[curve, &index],
            vec![Attr::Int("axis", 2)],
        );
        let there = g.op(
            "GatherElements",
            &[curve, &next],
            vec![Attr::Int("axis", 2)],
        );
        let rise = g.op("Sub", &[&there, &here], vec![]);
        let rise = g.op("Mul", &[&rise, &fraction], vec![]);
        logs.push(g.op("Add", &[&here, &rise], vec![]));
    }
    let log = g.op("Concat", &[&logs[0], &logs[1]], vec![Attr::Int("axis", 0)]);
    let gain = g.op("Exp", &[&log], vec![]);
    // Minimum phase: fold the cepstrum (cosines in, sines out). What even bins do to even ones and
    // odd to odd cancels.
    let even = graph.slice(&log, 2, 0, EVEN_BINS as i64);
    let odd = graph.slice(&log, 2, EVEN_BINS as i64, i64::MAX);
    let to_odd = minimum_phase(graph, "even", even_bins(), odd_bins());
    let to_even = minimum_phase(graph, "odd", odd_bins(), even_bins());
    let g = &mut graph.builder;
    let even_phase = g.op("MatMul", &[&odd, &to_even], vec![]);
    let odd_phase = g.op("MatMul", &[&even, &to_odd], vec![]);
    let phase = g.op(
        "Concat",
        &[&even_phase, &odd_phase],
        vec![Attr::Int("axis", 2)],
    );
    (gain, phase)
}

/// Log amplitude at the bins `from` to their part of the minimum phase at the bins `to`, a constant expression.
fn minimum_phase(
    graph: &mut StreamingGraph,
    name: &str,
    from: impl Iterator<Item = usize>,
    to: impl Iterator<Item = usize>,
) -> String {
    let (from, to): (Vec<i64>, Vec<i64>) = (
        from.map(|k| k as i64).collect(),
        to.map(|k| k as i64).collect(),
    );
    let quefrencies: Vec<i64> = (1..FFT_SAMPLES as i64 / 2).collect();
    let cosines = angles(
        graph,
        &format!("phase_from_{name}"),
        &from,
        &quefrencies,
        "Cos",
    );
    let sines = angles(graph, &format!("phase_of_{name}"), &quefrencies, &to, "Sin");
    let g = &mut graph.builder;
    let weights: Vec<f32> = from
        .iter()
        .map(|&k| {
            (if k == 0 || k as usize == BINS - 1 {
                -2.0
            } else {
                -4.0
            }) / FFT_SAMPLES as f32
        })
        .collect();
    let weights = g.f32s(&[from.len(), 1], &weights);
    let cosines = g.op("Mul", &[&cosines, &weights], vec![]);
    g.op("MatMul", &[&cosines, &sines], vec![])
}

/// `op(2π·row·column / FFT_SAMPLES)` as a `[rows, columns]` constant expression.
fn angles(
    graph: &mut StreamingGraph,
    name: &str,
    rows: &[i64],
    columns: &[i64],
    op: &str,
) -> String {
    let g = &mut graph.builder;
    let row_name = format!("{name}_{op}_rows");
    let column_name = format!("{name}_{op}_columns");
    g.constant_i64(&row_name, &[rows.len(), 1], rows);
    g.constant_i64(&column_name, &[1, columns.len()], columns);
    let product = g.op("Mul", &[&row_name, &column_name], vec![]);
    let modulus = g.i64s(&[FFT_SAMPLES as i64]);
    let wrapped = g.op("Mod", &[&product, &modulus], vec![]);
    let wrapped = g.op("Cast", &[&wrapped], vec![Attr::Int("to", 1)]);
    let scale = g.f32s(&[1], &[(std::f64::consts::TAU / FFT_SAMPLES as f64) as f32]);
    let angle = g.op("Mul", &[&wrapped, &scale], vec![]);
    g.op(op, &[&angle], vec![])
}

/// F0 half a frame after `now`, as [`super::excitation`] foretells it; frames `[1, T, 1]` in Hz, 0 where unvoiced.
fn half_a_frame_on(g: &mut GraphBuilder, before: &str, now: &str) -> String {
    let zero = g.f32s(&[1], &[0.0]);
    let known = g.op("Greater", &[before, &zero], vec![]);
    let safe = g.op("Where", &[&known, before, now], vec![]);
    // Where both are 0 the quotient is no number; it is not used there.
    let ratio = g.op("Div", &[now, &safe], vec![]);
    let rise = g.op("Sqrt", &[&ratio], vec![]);
    let (least, most) = (
        g.f32s(&[], &[MOST_AHEAD.recip()]),
        g.f32s(&[], &[MOST_AHEAD]),
    );
    let rise = g.op("Clip", &[&rise, &least, &most], vec![]);
    g.op("Mul", &[now, &rise], vec![])
}

/// Pulses and noise, `[2, 2T, STEP_SAMPLES]`.
fn export_excitation(graph: &mut StreamingGraph) -> String {
    let rate = MODEL_RATE_HZ as f32;
    let column = graph.builder.i64s(&[1, -1, 1]);
    let now = graph.builder.op("Reshape", &["f0_hz", &column], vec![]);
    let joined = graph.carry(&now, 2, 1);
    let earlier = graph.slice(&joined, 1, 0, -2);
    let before = graph.slice(&joined, 1, 1, -1);
    let phase_state = graph.state(&[1, 1, 1]);
    let g = &mut graph.builder;
    let zero = g.f32s(&[1], &[0.0]);
    let now_voiced = g.op("Greater", &[&now, &zero], vec![]);
    let before_voiced = g.op("Greater", &[&before, &zero], vec![]);
    let idle = g.f32s(&[1], &[IDLE_F0_HZ]);
    let fallback = g.op("Where", &[&now_voiced, &now, &idle], vec![]);
    let before_on = half_a_frame_on(g, &earlier, &before);
    let now_on = half_a_frame_on(g, &before, &now);
    let start = g.op("Where", &[&before_voiced, &before_on, &fallback], vec![]);
    let end = g.op("Where", &[&now_voiced, &now_on, &start], vec![]);
    let fade: Vec<f32> = (1..=HOP_SAMPLES)
        .map(|i| ((HALVES * i) as f32 / HOP_SAMPLES as f32).min(1.0))
        .collect();
    let fade = g.f32s(&[1, 1, HOP_SAMPLES], &fade);
    let now_level = g.op("Cast", &[&now_voiced], vec![Attr::Int("to", 1)]);
    let before_level = g.op("Cast", &[&before_voiced], vec![Attr::Int("to", 1)]);
    let span = g.op("Sub", &[&now_level, &before_level], vec![]);
    let rise = g.op("Mul", &[&span, &fade], vec![]);
    let amplitude = g.op("Add", &[&before_level, &rise], vec![]);
    // Phase inside a hop in closed form: after i samples of a glide from a to b it is
    // (a·i + (b − a)·i·(i + 1)/(2·hop)) / rate. Only whole hops are accumulated, modulo
    // one cycle, so that a long run is as exact as a step.
    let hop = HOP_SAMPLES as f64;
    let linear: Vec<f32> = (1..=HOP_SAMPLES)
        .map(|i| (i as f64 / f64::from(rate)) as f32)
        .collect();
    let square: Vec<f32> = (1..=HOP_SAMPLES)
        .map(|i| (i as f64 * (i as f64 + 1.0) / (2.0 * hop) / f64::from(rate)) as f32)
        .collect();
    let linear = g.f32s(&[1, 1, HOP_SAMPLES], &linear);
    let square = g.f32s(&[1, 1, HOP_SAMPLES], &square);
    let span = g.op("Sub", &[&end, &start], vec![]);
    let steady = g.op("Mul", &[&start, &linear], vec![]);
    let bend = g.op("Mul", &[&span, &square], vec![]);
    let inside = g.op("Add", &[&steady, &bend], vec![]);
    let whole = graph.slice(&inside, 2, -1, i64::MAX);
    let g = &mut graph.builder;
    let rounded = g.op("Round", &[&whole], vec![]);
    let whole = g.op("Sub", &[&whole, &rounded], vec![]);
    g.constant_i64("cumsum_axis", &[], &[1]);
    let upto = g.op("CumSum", &[&whole, "cumsum_axis"], vec![]);
    let earlier = g.op("Sub", &[&upto, &whole], vec![]);
    let first = g.op("Add", &[&earlier, &phase_state], vec![]);
    let phase = g.op("Add", &[&first, &inside], vec![]);
    let rounded = g.op("Round", &[&phase], vec![]);
    let theta = g.op("Sub", &[&phase, &rounded], vec![]);
    let last = graph.slice(&theta, 1, -1, i64::MAX);
    let last = graph.slice(&last, 2, -1, i64::MAX);
    graph.keep(&phase_state, &last);
    let g = &mut graph.builder;
    let top = g.op("Max", &[&start, &end], vec![]);
    let half_rate = g.f32s(&[1], &[0.5 * rate]);
    let harmonics = g.op("Div", &[&half_rate, &top], vec![]);
    let harmonics = g.op("Floor", &[&harmonics], vec![]);
    let two = g.f32s(&[1], &[2.0]);
    let scale = g.op("Div", &[&two, &harmonics], vec![]);
    let scale = g.op("Sqrt", &[&scale], vec![]);
    let amplitude = g.op("Mul", &[&amplitude, &scale], vec![]);
    // sin(π(2K + 1)θ) / (2 sin πθ) − ½, and K where θ is 0.
    let pi = g.f32s(&[1], &[std::f32::consts::PI]);
    let angle = g.op("Mul", &[&theta, &pi], vec![]);
    let one = g.f32s(&[1], &[1.0]);
    let order = g.op("Mul", &[&harmonics, &two], vec![]);
    let order = g.op("Add", &[&order, &one], vec![]);
    let fast = g.op("Mul", &[&angle, &order], vec![]);
    let fast = g.op("Sin", &[&fast], vec![]);
    let slow = g.op("Sin", &[&angle], vec![]);
    let slow = g.op("Mul", &[&slow, &two], vec![]);
    let distance = g.op("Abs", &[&theta], vec![]);
    let centre = g.f32s(&[1], &[PULSE_CENTRE_CYCLES]);
    let at_centre = g.op("Less", &[&distance, &centre], vec![]);
    let slow = g.op("Where", &[&at_centre, &one, &slow], vec![]);
    let ratio = g.op("Div", &[&fast, &slow], vec![]);
    let half = g.f32s(&[1], &[0.5]);
    let pulse = g.op("Sub", &[&ratio, &half], vec![]);
    let pulse = g.op("Where", &[&at_centre, &harmonics, &pulse], vec![]);
    let pulse = g.op("Mul", &[&pulse, &amplitude], vec![]);
    let steps = g.i64s(&[1, -1, STEP_SAMPLES as i64]);
    let pulse = g.op("Reshape", &[&pulse, &steps], vec![]);
    let noise = g.op("Reshape", &["noise", &steps], vec![]);
    let unit = g.f32s(&[1], &[UNIT_NOISE]);
    let noise = g.op("Mul", &[&noise, &unit], vec![]);
    g.op("Concat", &[&pulse, &noise], vec![Attr::Int("axis", 0)])
}

/// Spectra of Hann windows over `before` and `after` `[2, 2T, STEP_SAMPLES]`, seen from between the two: real and
/// imaginary parts, `[2, 2T, BINS]` each.
///
/// Around its centre a window is an even part (cosines alone) plus an odd one (sines alone).
fn export_analysis(graph: &mut StreamingGraph, before: &str, after: &str) -> (String, String) {
    let centre = graph.slice(after, 2, 0, 1);
    let after = graph.slice(after, 2, 1, i64::MAX);
    // The window is zero at its very first sample.
    let before = graph.reversed(before, 2, -1, 0);
    let order: Vec<i64> = bin_order(BINS).map(|k| k as i64).collect();
    let distance: Vec<i64> = (0..STEP_SAMPLES as i64).collect();
    let cosines = angles(graph, "analysis", &distance, &order, "Cos");
    let sines = angles(graph, "analysis", &distance[1..], &order, "Sin");
    let g = &mut graph.builder;
    let both = g.op("Add", &[&after, &before], vec![]);
    let even = g.op("Concat", &[&centre, &both], vec![Attr::Int("axis", 2)]);
    let odd = g.op("Sub", &[&before, &after], vec![]);
    let window = &hann()[STEP_SAMPLES..];
    let even_window = g.f32s(&[STEP_SAMPLES, 1], window);
    let odd_window = g.f32s(&[STEP_SAMPLES - 1, 1], &window[1..]);
    let cosines = g.op("Mul", &[&cosines, &even_window], vec![]);
    let sines = g.op("Mul", &[&sines, &odd_window], vec![]);
    (
        g.op("MatMul", &[&even, &cosines], vec![]),
        g.op("MatMul", &[&odd, &sines], vec![]),
    )
}

/// Harmonic plus noise spectra `[2, 2T, BINS]`, real and imaginary, to windows `[2T, FFT_SAMPLES]`.
///
/// With n from 0 to a quarter of the length N, the cosines and sines of even and of odd bins give the
/// samples at n, N/2 − n, N/2 + n and N − n; they differ in signs alone.
fn export_inverse(graph: &mut StreamingGraph, re: &str, im: &str) -> String {
    let quarter: Vec<i64> = (0..=QUARTER as i64).collect();
    let mut waves = Vec::new();
    for (part, values, op, sign) in [("re", re, "Cos", 1.0), ("im", im, "Sin", -1.0)] {
        let harmonic = graph.slice(values, 0, 0, 1);
        let noise = graph.slice(values, 0, 1, 2);
        let sum = graph.builder.op("Add", &[&harmonic, &noise], vec![]);
        let split = EVEN_BINS as i64;
        let bins: [(&str, Vec<i64>, i64, i64); 2] = [
            ("even", even_bins().map(|k| k as i64).collect(), 0, split),
            (
                "odd",
                odd_bins().map(|k| k as i64).collect(),
                split,
                i64::MAX,
            ),
        ];
        for (name, bins, first, last) in bins {
            let values = graph.slice(&sum, 2, first, last);
            let matrix = angles(
                graph,
                &format!("inverse_{part}_{name}"),
                &bins,
                &quarter,
                op,
            );
            let g = &mut graph.builder;
            let weights: Vec<f32> = bins
                .iter()
                .map(|&k| {
                    (if k == 0 || k as usize == BINS - 1 {
                        sign
                    } else {
                        2.0 * sign
                    }) / FFT_SAMPLES as f32
                })
                .collect();
            let weights = g.f32s(&[bins.len(), 1], &weights);
            let matrix = g.op("Mul", &[&matrix, &weights], vec![]);
            waves.push(g.op("MatMul", &[&values, &matrix], vec![]));
        }
    }
    let [even_re, odd_re, even_im, odd_im] = [0, 1, 2, 3].map(|index: usize| waves[index].as_str());
    let g = &mut graph.builder;
    let [even_sum, even_difference] =
        ["Add", "Sub"].map(|op| g.op(op, &[even_re, even_im], vec![]));
    let [odd_sum, odd_difference] = ["Add", "Sub"].map(|op| g.op(op, &[odd_re, odd_im], vec![]));
    let first = g.op("Add", &[&even_sum, &odd_sum], vec![]);
    let second = g.op("Sub", &[&even_difference, &odd_difference], vec![]);
    let third = g.op("Sub", &[&even_sum, &odd_sum], vec![]);
    let fourth = g.op("Add", &[&even_difference, &odd_difference], vec![]);
    let second = graph.reversed(&second, 2, -2, 0);
    let fourth = graph.reversed(&fourth, 2, -2, 0);
    let g = &mut graph.builder;
    let windows = g.op(
        "Concat",
        &[&first, &second, &third, &fourth],
        vec![Attr::Int("axis", 2)],
    );
    let flat = g.i64s(&[-1, FFT_SAMPLES as i64]);
    g.op("Reshape", &[&windows, &flat], vec![])
}

/// Windows, filters and overlap-adds `excitation` into `audio`.
fn export_render(
    graph: &mut StreamingGraph,
    excitation: &str,
    gain: &str,
    phase: &str,
    lead_samples: usize,
) {
    let state = graph.state(&[2, 1, STEP_SAMPLES]);
    let g = &mut graph.builder;
    let joined = g.op("Concat", &[&state, excitation], vec![Attr::Int("axis", 1)]);
    let kept = graph.slice(&joined, 1, -1, i64::MAX);
    graph.keep(&state, &kept);
    let before = graph.slice(&joined, 1, 0, -1);
    let (re, im) = export_analysis(graph, &before, excitation);
    let g = &mut graph.builder;
    // The windows are transformed around their centres. Harmonics lead, noise does not.
    let mut turns = Vec::with_capacity(2 * BINS);
    for lead in [lead_samples, 0] {
        turns.extend(bin_order(BINS).map(|k| {
            let wrapped = k * (STEP_SAMPLES + lead_samples) % FFT_SAMPLES;
            let delayed = wrapped as f64 / FFT_SAMPLES as f64 * std::f64::consts::TAU;
            let hz = k as f64 * MODEL_RATE_HZ as f64 / FFT_SAMPLES as f64;
            (lead_phase(hz, lead) - delayed) as f32
        }));
    }
    let turns = g.f32s(&[2, 1, BINS], &turns);
    let phase = g.op("Add", &[phase, &turns], vec![]);
    let (cos, sin) = (
        g.op("Cos", &[&phase], vec![]),
        g.op("Sin", &[&phase], vec![]),
    );
    let (h_re, h_im) = (
        g.op("Mul", &[gain, &cos], vec![]),
        g.op("Mul", &[gain, &sin], vec![]),
    );
    let products = [(&h_re, &re), (&h_im, &im), (&h_re, &im), (&h_im, &re)]
        .map(|(a, b)| g.op("Mul", &[a, b], vec![]));
    let out_re = g.op("Sub", &[&products[0], &products[1]], vec![]);
    let out_im = g.op("Add", &[&products[2], &products[3]], vec![]);
    let frames = export_inverse(graph, &out_re, &out_im);
    let g = &mut graph.builder;
    let padding = g.i64s(&[0, 0, 0, (OVERLAP_STEPS * STEP_SAMPLES - FFT_SAMPLES) as i64]);
    let frames = g.op("Pad", &[&frames, &padding], vec![]);
    let pieces = g.i64s(&[-1, OVERLAP_STEPS as i64, STEP_SAMPLES as i64]);
    let frames = g.op("Reshape", &[&frames, &pieces], vec![]);
    let earlier = OVERLAP_STEPS - 1;
    let state = graph.state(&[earlier, OVERLAP_STEPS, STEP_SAMPLES]);
    let all = graph
        .builder
        .op("Concat", &[&state, &frames], vec![Attr::Int("axis", 0)]);
    let kept = graph.slice(&all, 0, -(earlier as i64), i64::MAX);
    graph.keep(&state, &kept);
    let mut parts = Vec::new();
    for piece in 0..OVERLAP_STEPS {
        let end = if piece == 0 {
            i64::MAX
        } else {
            -(piece as i64)
        };
        let rows = graph.slice(&all, 0, (earlier - piece) as i64, end);
        parts.push(graph.slice(&rows, 1, piece as i64, piece as i64 + 1));
    }
    let names: Vec<&str> = parts.iter().map(String::as_str).collect();
    let g = &mut graph.builder;
    let sum = g.op("Sum", &names, vec![]);
    let flat = g.i64s(&[1, -1]);
    g.node("Reshape", &[&sum, &flat], &["audio"], vec![]);
    debug_assert_eq!(HALVES * STEP_SAMPLES, HOP_SAMPLES);
}
