//! Claims about graphs that a CPU plays in 8 bits.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use timbra_engine::onnx::{self, NamedTensor, evaluate};
use timbra_voice::manifest::CpuWeights;
use timbra_voice::onnx_precision::{Operators, for_cpu};
use timbra_voice::onnx_writer::{Attr, GraphBuilder};

/// All that makes convolutions on this processor.
fn makers() -> Vec<Operators> {
    let mut makers = vec![Operators::Runtime, onnx::operators_here()];
    makers.dedup();
    makers
}

#[test]
fn convolutions_in_eight_bits_give_nearly_the_same() {
    if !support::runtime_is_there() {
        return;
    }
    const INPUTS: usize = 48;
    const SAMPLES: usize = 70;
    // Outputs, taps, dilation, zeros before and after, whether there is a bias.
    let layers = [
        (32, 7, 3, [18, 0], true),
        (32, 11, 5, [0, 0], false),
        (96, 1, 1, [0, 0], true),
        (40, 3, 1, [1, 1], true),
        (36, 3, 1, [1, 1], true),
    ];
    for (outputs, taps, dilation, pads, has_bias) in layers {
        let mut graph = GraphBuilder::new("layers");
        let samples = "samples".into();
        graph.input("x", &[1.into(), INPUTS.into(), samples]);
        let mut weights = vec![0.0; outputs * INPUTS * taps];
        timbra_dsp::noise::fill(1, 0, &mut weights);
        // Outputs of very different size: each has a scale of its own.
        for (n, own) in weights.chunks_mut(INPUTS * taps).enumerate() {
            own.iter_mut().for_each(|weight| *weight *= 1.0 + n as f32);
        }
        let weights = graph.f32s(&[outputs, INPUTS, taps], &weights);
        let bias: Vec<f32> = (0..outputs).map(|n| n as f32 - 7.0).collect();
        let bias = graph.f32s(&[outputs], &bias);
        let bent = graph.op("LeakyRelu", &["x"], vec![Attr::Float("alpha", 0.1)]);
        let all = [bent.as_str(), &weights, &bias];
        let attrs = vec![
            Attr::Ints("dilations", vec![dilation]),
            Attr::Ints("pads", pads.to_vec()),
        ];
        graph.node("Conv", &all[..if has_bias { 3 } else { 2 }], &["y"], attrs);
        graph.output("y", &[1.into(), outputs.into(), "after".into()]);
        eight_bits_give_nearly_the_same(&graph.finish(), [1, INPUTS, SAMPLES]);
    }
}

/// Asserts that a graph with an input `x` of `shape` gives nearly the same where a CPU plays it in 8 bits, and the same of silence, which
/// has no scale.
fn eight_bits_give_nearly_the_same(whole: &[u8], shape: [usize; 3]) {
    let run = |bytes: &[u8], data: &[f32]| {
        let x = NamedTensor {
            name: "x".to_owned(),
            shape: shape.to_vec(),
            data: data.to_vec(),
        };
        evaluate(bytes, &[x]).unwrap().remove(0)
    };
    let mut noise = vec![0.0; shape.iter().product()];
    let silence = noise.clone();
    timbra_dsp::noise::fill(2, 0, &mut noise);
    for by in makers() {
        let rounded = for_cpu(whole, CpuWeights::Int8, by).unwrap();
        assert!(rounded.len() < whole.len() / 2, "{}", rounded.len());
        assert_eq!(run(whole, &silence), run(&rounded, &silence), "silence");
        nearly_the_same(&run(whole, &noise), &run(&rounded, &noise));
    }
}

/// Asserts that every channel of `found` is within a fiftieth of `exact`.
fn nearly_the_same(exact: &NamedTensor, found: &NamedTensor) {
    assert_eq!(exact.shape, found.shape);
    let length = exact.shape[2];
    let channels = exact.data.chunks(length).zip(found.data.chunks(length));
    for (n, (exact, found)) in channels.enumerate() {
        within_a_fiftieth(exact, found, &format!("output {n}"));
    }
}

/// Asserts that numbers differ, by less than a fiftieth.
fn within_a_fiftieth(exact: &[f32], found: &[f32], what: &str) {
    let error: f32 = exact.iter().zip(found).map(|(a, b)| (a - b).powi(2)).sum();
    let power: f32 = exact.iter().map(|a| a * a).sum();
    let error = (error / power).sqrt();
    assert!(error > 0.0 && error < 0.02, "{what}: {error}");
}

#[test]
fn transposed_convolutions_in_eight_bits_give_nearly_the_same() {
    if !support::runtime_is_there() {
        return;
    }
    const INPUTS: usize = 96;
    const SAMPLES: usize = 9;
    // Outputs, taps, stride, samples left away before and after, whether there is a bias.
    let layers = [
        (96, 16, 8, [24, 8], true),
        (128, 12, 4, [0, 0], false),
        (256, 6, 6, [3, 0], true),
    ];
    for (outputs, taps, stride, pads, has_bias) in layers {
        let mut graph = GraphBuilder::new("layers");
        graph.input("x", &[1.into(), INPUTS.into(), "samples".into()]);
        let mut weights = vec![0.0; INPUTS * outputs * taps];
        timbra_dsp::noise::fill(1, 0, &mut weights);
        let weights = graph.f32s(&[INPUTS, outputs, taps], &weights);
        let bias: Vec<f32> = (0..outputs).map(|n| n as f32 * 0.1).collect();
        let bias = graph.f32s(&[outputs], &bias);
        let all = ["x", &weights, &bias];
        let attrs = vec![
            Attr::Ints("strides", vec![stride]),
            Attr::Ints("pads", pads.to_vec()),
        ];
        let inputs = &all[..if has_bias { 3 } else { 2 }];
        graph.node("ConvTranspose", inputs, &["y"], attrs);
        graph.output("y", &[1.into(), outputs.into(), "after".into()]);
        eight_bits_give_nearly_the_same(&graph.finish(), [1, INPUTS, SAMPLES]);
    }
}

/// A layer of a decoder in a streaming graph: bent, masked, after the end of the past, summed with what `sum` is.
fn layer_of_a_decoder(slope: f32, sum: &str) -> Vec<u8> {
    const CHANNELS: usize = 48;
    const REACH: usize = 12;
    const LATE: usize = 6;
    let mut graph = GraphBuilder::new("layers");
    let (channels, samples) = (CHANNELS.into(), || "samples".into());
    graph.input("x", &[1.into(), channels, samples()]);
    graph.input("past", &[1.into(), CHANNELS.into(), REACH.into()]);
    let mut weights = vec![0.0; CHANNELS * CHANNELS * 7];
    timbra_dsp::noise::fill(1, 0, &mut weights);
    let weights = graph.f32s(&[CHANNELS, CHANNELS, 7], &weights);
    let bias = graph.f32s(&[CHANNELS], &[0.5; CHANNELS]);
    let bent = graph.op("LeakyRelu", &["x"], vec![Attr::Float("alpha", slope)]);
    // Nothing before the first sample of the stream.
    graph.input("place", &[samples()]);
    let [first, least, most] = [1.0, 0.0, 1.0].map(|number| graph.f32s(&[], &[number]));
    let since = graph.op("Sub", &["place", &first], vec![]);
    let mask = graph.op("Clip", &[&since, &least, &most], vec![]);
    let bent = graph.op("Mul", &[&bent, &mask], vec![]);
    let joined = graph.op("Concat", &["past", &bent], vec![Attr::Int("axis", 2)]);
    let [start, end, axis] = [-(REACH as i64), i64::MAX, 2].map(|n| graph.i64s(&[n]));
    let kept = graph.op("Slice", &[&joined, &start, &end, &axis], vec![]);
    graph.node("Identity", &[&kept], &["past_next"], vec![]);
    let attrs = vec![Attr::Ints("dilations", vec![2])];
    let made = graph.op("Conv", &[&joined, &weights, &bias], attrs);
    graph.input("more_past", &[1.into(), CHANNELS.into(), LATE.into()]);
    let [zero, two, three, late] = [0, 2, 3, -(LATE as i64)].map(|n| graph.i64s(&[n]));
    let delayed = graph.op("Concat", &["more_past", "x"], vec![Attr::Int("axis", 2)]);
    let kept = graph.op("Slice", &[&delayed, &late, &end, &axis], vec![]);
    graph.node("Identity", &[&kept], &["more_past_next"], vec![]);
    let extents = graph.op("Shape", &["x"], vec![]);
    let count = graph.op("Slice", &[&extents, &two, &three, &zero], vec![]);
    let more = match sum {
        "mean" => graph.op("ReduceMean", &["x"], vec![Attr::Ints("axes", vec![2])]),
        "late" => graph.op("Slice", &[&delayed, &zero, &count, &axis], vec![]),
        other => other.to_owned(),
    };
    graph.node("Add", &[&more, &made], &["y"], vec![]);
    graph.output("y", &[1.into(), CHANNELS.into(), samples()]);
    graph.output("past_next", &[1.into(), CHANNELS.into(), REACH.into()]);
    graph.output("more_past_next", &[1.into(), CHANNELS.into(), LATE.into()]);
    graph.finish()
}

#[test]
fn what_lies_around_a_convolution_is_one_operator_with_it_and_streams_alike() {
    if !support::runtime_is_there() {
        return;
    }
    let tensor = |name: &str, samples: usize, data: Vec<f32>| NamedTensor {
        name: name.to_owned(),
        shape: vec![1, 48, samples],
        data,
    };
    for (slope, sum) in [(0.1, "x"), (0.0, "mean"), (1.0, "late")] {
        let whole = layer_of_a_decoder(slope, sum);
        for by in makers() {
            let rounded = for_cpu(&whole, CpuWeights::Int8, by).unwrap();
            let has = |op: &[u8]| rounded.windows(op.len()).any(|part| part == op);
            let is_own = by == Operators::Own;
            // As operators are written: their length, then their name.
            for op in [&b"\x09LeakyRelu"[..], b"\x03Add", b"\x03Mul"] {
                assert!(has(op) != is_own, "{by:?} {}", op.escape_ascii());
            }
            // What is carried and not added stays.
            assert_eq!(has(b"\x06Concat"), !is_own || sum != "late", "{by:?} {sum}");
            let mut pasts = [&whole, &rounded].map(|_| [vec![0.0; 48 * 12], vec![0.0; 48 * 6]]);
            let mut began = 0;
            // Steps shorter and longer than what a result sees of the past.
            for (step, samples) in [40, 5, 7, 30].into_iter().enumerate() {
                let mut noise = vec![0.0; 48 * samples];
                timbra_dsp::noise::fill(step as u64, 0, &mut noise);
                let [exact, found] = [&whole, &rounded].map(|graph| graph.as_slice());
                let mut run = |graph: &[u8], n: usize| {
                    let place = NamedTensor {
                        name: "place".to_owned(),
                        shape: vec![samples],
                        data: (0..samples).map(|n| (began + n) as f32 - 7.0).collect(),
                    };
                    let inputs = [
                        tensor("x", samples, noise.clone()),
                        tensor("past", 12, pasts[n][0].clone()),
                        tensor("more_past", 6, pasts[n][1].clone()),
                        place,
                    ];
                    let mut results = evaluate(graph, &inputs).unwrap();
                    for (past, name) in pasts[n].iter_mut().zip(["past_next", "more_past_next"]) {
                        let place = results.iter().position(|r| r.name == name).unwrap();
                        *past = results.remove(place).data;
                    }
                    results.remove(0)
                };
                let (exact, found) = (run(exact, 0), run(found, 1));
                assert_eq!(exact.shape, found.shape);
                within_a_fiftieth(&exact.data, &found.data, &format!("{by:?}, step {step}"));
                assert_eq!(pasts[0], pasts[1], "{by:?}, step {step}");
                began += samples;
            }
        }
    }
}

#[test]
fn a_rectifier_that_others_see_and_a_past_that_others_see_stay() {
    if !support::runtime_is_there() {
        return;
    }
    let mut graph = GraphBuilder::new("layers");
    graph.input("x", &[1.into(), 48.into(), "samples".into()]);
    graph.input("past", &[1.into(), 48.into(), 2.into()]);
    let mut weights = vec![0.0; 48 * 48 * 3];
    timbra_dsp::noise::fill(1, 0, &mut weights);
    let weights = graph.f32s(&[48, 48, 3], &weights);
    let bent = graph.op("LeakyRelu", &["x"], vec![Attr::Float("alpha", 0.1)]);
    let joined = graph.op("Concat", &["past", &bent], vec![Attr::Int("axis", 2)]);
    graph.node("Conv", &[&joined, &weights], &["y"], vec![]);
    graph.node("Identity", &[&bent], &["bent"], vec![]);
    graph.node("Identity", &[&joined], &["joined"], vec![]);
    let outputs = [("y", "samples"), ("bent", "samples"), ("joined", "all")];
    for (name, samples) in outputs {
        graph.output(name, &[1.into(), 48.into(), samples.into()]);
    }
    let whole = graph.finish();
    let mut noise = vec![0.0; 48 * 22];
    timbra_dsp::noise::fill(2, 0, &mut noise);
    let (past, new) = noise.split_at(48 * 2);
    let inputs = [("x", 20, new), ("past", 2, past)].map(|(name, samples, data)| NamedTensor {
        name: name.to_owned(),
        shape: vec![1, 48, samples],
        data: data.to_vec(),
    });
    for by in makers() {
        let rounded = for_cpu(&whole, CpuWeights::Int8, by).unwrap();
        let exact = evaluate(&whole, &inputs).unwrap();
        let found = evaluate(&rounded, &inputs).unwrap();
        nearly_the_same(&exact[0], &found[0]);
        assert_eq!(exact[1..], found[1..], "{by:?}");
    }
}

#[test]
fn products_of_our_own_are_those_of_the_runtime() {
    if !support::runtime_is_there() {
        return;
    }
    // Blocks of 128 and of 64; columns that end within four groups.
    for (inner, columns) in [(3072, 3072), (192, 43_728)] {
        let mut graph = GraphBuilder::new("products");
        graph.input("x", &[1.into(), "rows".into(), inner.into()]);
        let mut weights = vec![0.0; inner * columns];
        timbra_dsp::noise::fill(1, 0, &mut weights);
        graph.constant_f32("weights", &[inner, columns], &weights);
        graph.node("MatMul", &["x", "weights"], &["y"], vec![]);
        graph.output("y", &[1.into(), "rows".into(), columns.into()]);
        let whole = graph.finish();
        let [theirs, ours] = [Operators::Runtime, onnx::operators_here()]
            .map(|by| for_cpu(&whole, CpuWeights::Int8, by).unwrap());
        let is_ours = ours.windows(8).any(|part| part == b"Product8");
        assert_eq!(is_ours, onnx::operators_here() == Operators::Own);
        for rows in [1, 2, 3, 4, 5, 6, 7, 13] {
            let mut x = NamedTensor {
                name: "x".to_owned(),
                shape: vec![1, rows, inner],
                data: vec![0.0; rows * inner],
            };
            timbra_dsp::noise::fill(rows as u64, 0, &mut x.data);
            // A row of zeros has no scale.
            x.data[(rows - 1) * inner..].fill(if rows == 2 { 0.0 } else { 0.5 });
            let [theirs, ours] =
                [&theirs, &ours].map(|graph| evaluate(graph, &[x.clone()]).unwrap().remove(0));
            assert_eq!(theirs.shape, ours.shape);
            let largest = theirs.data.iter().fold(0.0f32, |most, v| most.max(v.abs()));
            let pairs = theirs.data.iter().zip(&ours.data);
            let error = pairs.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            println!(
                "{inner} x {columns}, {rows} rows: {:.1e}",
                error / largest.max(1e-9)
            );
            assert!(
                error <= 1e-4 * largest,
                "{inner} x {columns}, {rows} rows: {error} of {largest}"
            );
            if rows == 2 {
                assert!(ours.data[columns..].iter().all(|&value| value == 0.0));
            }
        }
    }
}
