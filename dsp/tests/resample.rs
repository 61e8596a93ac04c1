//! Claims about sample-rate conversion.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::f64::consts::TAU;
use timbra_dsp::resample::{ResampleError, StreamResampler, resample_all};

const RATES_HZ: [u32; 10] = [
    8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 88_200, 96_000, 192_000,
];

/// Output for the whole of `input`, handed over in slices of the given lengths, over and over.
fn stream(input_rate_hz: u32, output_rate_hz: u32, input: &[f32], slices: &[usize]) -> Vec<f32> {
    let mut resampler = StreamResampler::new(input_rate_hz, output_rate_hz).unwrap();
    let mut output = Vec::new();
    let mut lengths = slices.iter().cycle();
    let mut rest = input;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at((*lengths.next().unwrap()).min(rest.len()));
        let mut buffer = vec![0.0; resampler.max_output_samples(head.len())];
        let written = resampler.push(head, &mut buffer);
        output.extend_from_slice(&buffer[..written]);
        rest = tail;
    }
    output
}

/// A smooth pulse, 1 ms wide, centred on sample `at` (a fraction is allowed).
fn pulse(total_samples: usize, at: f64, rate_hz: u32) -> Vec<f32> {
    let width = 0.4e-3 * f64::from(rate_hz);
    (0..total_samples)
        .map(|n| (-0.5 * ((n as f64 - at) / width).powi(2)).exp() as f32)
        .collect()
}

/// Centre of gravity of a signal.
fn centroid(signal: &[f32]) -> f64 {
    let (mut moment, mut sum) = (0.0, 0.0);
    for (n, &sample) in signal.iter().enumerate() {
        moment += n as f64 * f64::from(sample);
        sum += f64::from(sample);
    }
    moment / sum
}

fn sine(total_samples: usize, frequency_hz: f64, rate_hz: u32) -> Vec<f32> {
    let step = TAU * frequency_hz / f64::from(rate_hz);
    (0..total_samples)
        .map(|n| (step * n as f64).sin() as f32)
        .collect()
}

/// Level in dB of a sine's response in the middle of `output`, relative to the sine.
fn response_db(output: &[f32]) -> f64 {
    let middle = &output[output.len() / 4..output.len() * 3 / 4];
    let power = middle.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / middle.len() as f64;
    10.0 * (2.0 * power + 1e-20).log10()
}

#[test]
fn reported_delay_is_the_true_one_at_all_rates() {
    for input_rate_hz in RATES_HZ {
        for output_rate_hz in RATES_HZ {
            let resampler = StreamResampler::new(input_rate_hz, output_rate_hz).unwrap();
            let at = 0.05 * f64::from(input_rate_hz) + 0.3;
            let input = pulse(input_rate_hz as usize / 5, at, input_rate_hz);
            let output = stream(input_rate_hz, output_rate_hz, &input, &[512]);
            let ratio = f64::from(output_rate_hz) / f64::from(input_rate_hz);
            let delay = centroid(&output) - at * ratio;
            let reported = resampler.delay_output_samples();
            assert!(
                (delay - reported).abs() < 0.01,
                "{input_rate_hz} → {output_rate_hz} Hz: measured {delay}, reported {reported}"
            );
            assert!((resampler.delay_input_samples() * ratio - reported).abs() < 1e-9);
        }
    }
}

#[test]
fn impulse_lands_on_the_reported_sample() {
    for (input_rate_hz, output_rate_hz) in [
        (48_000, 44_100),
        (44_100, 48_000),
        (16_000, 48_000),
        (96_000, 48_000),
    ] {
        let resampler = StreamResampler::new(input_rate_hz, output_rate_hz).unwrap();
        let mut input = vec![0.0; 4000];
        input[1000] = 1.0;
        let output = stream(input_rate_hz, output_rate_hz, &input, &[64]);
        let top = (0..output.len())
            .max_by(|&a, &b| output[a].abs().total_cmp(&output[b].abs()))
            .unwrap();
        let expected = 1000.0 * f64::from(output_rate_hz) / f64::from(input_rate_hz)
            + resampler.delay_output_samples();
        assert!((top as f64 - expected).abs() <= 0.5, "{top} for {expected}");
    }
}

#[test]
fn delay_is_low() {
    for (input_rate_hz, output_rate_hz) in [
        (48_000, 16_000),
        (48_000, 44_100),
        (44_100, 16_000),
        (44_100, 48_000),
        (192_000, 16_000),
    ] {
        let resampler = StreamResampler::new(input_rate_hz, output_rate_hz).unwrap();
        let delay_ms = 1e3 * resampler.delay_output_samples() / f64::from(output_rate_hz);
        assert!(
            delay_ms < 1.4,
            "{input_rate_hz} → {output_rate_hz} Hz: {delay_ms} ms"
        );
        let latency_ms = 1e3 * resampler.latency_input_samples() as f64 / f64::from(input_rate_hz);
        assert!(
            latency_ms < 1.6,
            "{input_rate_hz} → {output_rate_hz} Hz: {latency_ms} ms until it is written"
        );
    }
}

#[test]
fn output_is_bit_identical_however_the_input_is_cut() {
    for (input_rate_hz, output_rate_hz) in [
        (48_000, 16_000),
        (44_100, 48_000),
        (48_000, 44_100),
        (16_000, 44_100),
        (47_999, 16_000),
        (48_000, 48_000),
    ] {
        let mut input = vec![0.0; 6000];
        timbra_dsp::noise::fill(3, 0, &mut input);
        let whole = stream(input_rate_hz, output_rate_hz, &input, &[6000]);
        for slices in [&[1][..], &[2, 3, 5], &[160], &[441], &[1, 4096, 7, 0]] {
            let cut = stream(input_rate_hz, output_rate_hz, &input, slices);
            assert!(
                whole == cut,
                "{input_rate_hz} → {output_rate_hz} Hz in slices of {slices:?}"
            );
        }
    }
}

#[test]
fn as_much_is_written_as_is_promised() {
    for (input_rate_hz, output_rate_hz) in [
        (48_000, 16_000),
        (44_100, 48_000),
        (8_000, 192_000),
        (192_000, 8_000),
        (47_999, 16_001),
    ] {
        let mut resampler = StreamResampler::new(input_rate_hz, output_rate_hz).unwrap();
        let step = f64::from(input_rate_hz) / f64::from(output_rate_hz);
        let mut buffer = vec![0.0; resampler.max_output_samples(1)];
        let mut written = 0u64;
        for taken in 1..=20_000u64 {
            written += resampler.push(&[0.0], &mut buffer) as u64;
            let promised = resampler.written_after(taken);
            assert!(
                written >= promised,
                "{taken} in: {written} written, {promised} promised"
            );
            assert!(written - promised <= 2 + (resampler.max_output_samples(0) as u64));
            // What the output describes lags the input by no more than the stated latency.
            let described = (written as f64 - 1.0 - resampler.delay_output_samples()) * step;
            assert!(
                taken < 5000
                    || taken as f64 - described <= resampler.latency_input_samples() as f64
            );
        }
    }
}

#[test]
fn nothing_drifts_in_an_hour() {
    // 441 input samples are 160 output samples, so that a noise burst a whole number of such periods later must give
    // the very same bits that much later: any drift of the position would choose another filter phase.
    const PERIOD: usize = 441;
    let mut burst = vec![0.0; PERIOD];
    timbra_dsp::noise::fill(1, 0, &mut burst);
    let silence = vec![0.0; PERIOD];
    let mut resampler = StreamResampler::new(44_100, 16_000).unwrap();
    let mut buffer = vec![0.0; resampler.max_output_samples(PERIOD)];
    let mut responses: Vec<Vec<f32>> = Vec::new();
    let mut total = 0;
    for period in 0..360_000 {
        let starts_burst = period == 2 || period == 359_996;
        let written = resampler.push(if starts_burst { &burst } else { &silence }, &mut buffer);
        if starts_burst {
            responses.push(Vec::new());
        }
        if let Some(response) = responses.last_mut() {
            // Where a slice of output begins may shift by what one chunk holds back; the sequence may not.
            if response.len() < 300 {
                if response.is_empty() {
                    let skipped = period * 160 - total;
                    response.extend_from_slice(&buffer[skipped.min(written)..written]);
                } else {
                    response.extend_from_slice(&buffer[..written]);
                }
            }
        }
        total += written;
    }
    assert!(responses[0][..300] == responses[1][..300]);
}

#[test]
fn pass_band_is_flat_and_aliases_are_low() {
    // (from, to, flat up to Hz, silent from Hz)
    for (input_rate_hz, output_rate_hz, flat_hz, stop_hz) in [
        (48_000, 16_000, 6_000.0, 8_550.0),
        (44_100, 16_000, 6_000.0, 8_550.0),
        (48_000, 44_100, 20_000.0, 22_600.0),
    ] {
        for part in 1..=20 {
            let inside_hz = flat_hz * f64::from(part) / 20.0;
            let output = stream(
                input_rate_hz,
                output_rate_hz,
                &sine(24_000, inside_hz, input_rate_hz),
                &[480],
            );
            let level_db = response_db(&output);
            assert!(
                level_db.abs() < 0.1,
                "{input_rate_hz} → {output_rate_hz} Hz, {inside_hz} Hz: {level_db} dB"
            );
            let outside_hz =
                stop_hz + (f64::from(input_rate_hz) / 2.0 - stop_hz) * f64::from(part) / 21.0;
            let output = stream(
                input_rate_hz,
                output_rate_hz,
                &sine(24_000, outside_hz, input_rate_hz),
                &[480],
            );
            let level_db = response_db(&output);
            assert!(
                level_db < -70.0,
                "{input_rate_hz} → {output_rate_hz} Hz, {outside_hz} Hz: {level_db} dB"
            );
        }
    }
}

#[test]
fn images_are_low_going_up() {
    for (input_rate_hz, output_rate_hz) in [(16_000, 48_000), (44_100, 48_000), (47_999, 96_000)] {
        let frequency_hz = 3_000.0;
        let resampler = StreamResampler::new(input_rate_hz, output_rate_hz).unwrap();
        let output = stream(
            input_rate_hz,
            output_rate_hz,
            &sine(12_000, frequency_hz, input_rate_hz),
            &[100],
        );
        let step = TAU * frequency_hz / f64::from(output_rate_hz);
        let residue: Vec<f32> = (0..output.len())
            .map(|n| {
                (f64::from(output[n])
                    - (step * (n as f64 - resampler.delay_output_samples())).sin())
                    as f32
            })
            .collect();
        let level_db = response_db(&residue);
        assert!(
            level_db < -60.0,
            "{input_rate_hz} → {output_rate_hz} Hz: {level_db} dB"
        );
    }
}

#[test]
fn whole_signals_keep_their_time_and_get_the_exact_length() {
    for (input_rate_hz, output_rate_hz) in [
        (44_100, 16_000),
        (16_000, 48_000),
        (48_000, 16_000),
        (11_025, 48_000),
        (48_000, 44_100),
        (47_999, 16_000),
        (192_000, 8_000),
    ] {
        let total_samples = input_rate_hz as usize / 2 + 17;
        let input = sine(total_samples, 700.0, input_rate_hz);
        let output = resample_all(&input, input_rate_hz, output_rate_hz).unwrap();
        let expected =
            (total_samples as f64 * f64::from(output_rate_hz) / f64::from(input_rate_hz)).round();
        assert_eq!(output.len(), expected as usize);
        let step = TAU * 700.0 / f64::from(output_rate_hz);
        let residue: Vec<f32> = output
            .iter()
            .enumerate()
            .map(|(n, &s)| (f64::from(s) - (step * n as f64).sin()) as f32)
            .collect();
        let level_db = response_db(&residue);
        assert!(
            level_db < -75.0,
            "{input_rate_hz} → {output_rate_hz} Hz: {level_db} dB"
        );
    }
    assert!(resample_all(&[], 44_100, 16_000).unwrap().is_empty());
    assert_eq!(resample_all(&[0.5], 16_000, 48_000).unwrap().len(), 3);
}

#[test]
fn absurd_rates_are_refused() {
    for (input_rate_hz, output_rate_hz) in [
        (0, 48_000),
        (48_000, 0),
        (48_000, u32::MAX),
        (3_999, 16_000),
    ] {
        let error = StreamResampler::new(input_rate_hz, output_rate_hz).unwrap_err();
        assert_eq!(
            error,
            ResampleError::Rate {
                input_rate_hz,
                output_rate_hz
            }
        );
    }
    // Two rates without a common divisor still work.
    assert!(StreamResampler::new(767_999, 44_101).is_ok());
}
