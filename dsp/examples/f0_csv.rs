//! Prints the F0 of a recording as CSV: `cargo run -p timbra-dsp --example f0_csv -- [--lookahead long|short] [FILE.wav]`.
//!
//! Without a file it reads 32-bit floats at 16 kHz, mono, little endian, from standard input. Columns: time in
//! seconds, F0 in Hz (0 where unvoiced), periodicity, loudness in dBFS. The load goes to standard error.

use std::error::Error;
use std::io::{Read, Write};
use std::time::Instant;
use timbra_dsp::f0::{F0Config, F0Tracker};
use timbra_dsp::loudness::LoudnessMeter;
use timbra_dsp::resample::resample_all;
use timbra_dsp::{CONTENT_HOP_SAMPLES, CONTENT_RATE_HZ, Lookahead};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let mut lookahead = Lookahead::Long;
    if arguments.next_if(|it| it == "--lookahead").is_some() {
        lookahead = match arguments.next().as_deref() {
            Some("long") => Lookahead::Long,
            Some("short") => Lookahead::Short,
            other => return Err(format!("--lookahead is long or short, not {other:?}").into()),
        };
    }
    let samples = match arguments.next() {
        Some(path) => read_wav(&path)?,
        None => read_raw(std::io::stdin().lock())?,
    };
    let frame_count = samples.len() / CONTENT_HOP_SAMPLES;
    let mut tracker = F0Tracker::new(F0Config {
        lookahead,
        ..F0Config::default()
    });
    let mut meter = LoudnessMeter::with_lookahead(lookahead);
    let (mut pitches, mut levels) = (Vec::new(), Vec::new());
    let start = Instant::now();
    // Silence after the end brings out the last frames.
    let silence = [[0.0; CONTENT_HOP_SAMPLES]; 4];
    for hop in samples.as_chunks().0.iter().chain(&silence) {
        pitches.extend(tracker.push(hop));
        levels.extend(meter.push(hop));
    }
    let duration_s = samples.len() as f64 / f64::from(CONTENT_RATE_HZ);
    eprintln!(
        "load {:.5}",
        start.elapsed().as_secs_f64() / duration_s.max(1e-3)
    );
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "time_s,f0_hz,periodicity,loudness_dbfs")?;
    for (index, (pitch, level)) in pitches.iter().zip(&levels).enumerate().take(frame_count) {
        let time_s = index as f64 * 0.01;
        writeln!(
            out,
            "{time_s:.2},{:.3},{:.3},{level:.2}",
            pitch.f0_hz, pitch.periodicity
        )?;
    }
    Ok(())
}

fn read_raw(mut input: impl Read) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    Ok(bytes
        .as_chunks()
        .0
        .iter()
        .map(|&word| f32::from_le_bytes(word))
        .collect())
}

fn read_wav(path: &str) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut reader = hound::WavReader::open(path)?;
    let spec = reader.spec();
    let interleaved: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().collect::<Result<_, _>>()?,
        hound::SampleFormat::Int => {
            let scale = 1.0 / (1i64 << (spec.bits_per_sample - 1)) as f32;
            reader
                .samples::<i32>()
                .map(|sample| sample.map(|value| value as f32 * scale))
                .collect::<Result<_, _>>()?
        }
    };
    let channels = usize::from(spec.channels.max(1));
    let mono: Vec<f32> = interleaved
        .chunks(channels)
        .map(|frame| frame.iter().sum::<f32>() / channels as f32)
        .collect();
    Ok(resample_all(&mono, spec.sample_rate, CONTENT_RATE_HZ)?)
}
