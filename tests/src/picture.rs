//! A picture of two sounds: spectrogram with the F0 curve over it, one above the other.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::{BLACK, BitMapBackend, Color, DrawingBackend, RGBColor, WHITE};
use timbra_dsp::f0::{F0Config, F0Tracker};
use timbra_dsp::resample::resample_all;
use timbra_dsp::stft::stft_magnitude;
use timbra_dsp::{CONTENT_HOP_SAMPLES, CONTENT_RATE_HZ};

use crate::wav::Sound;

const WIDTH: u32 = 1400;
const PANEL_HEIGHT: u32 = 360;
const MARGIN_LEFT: u32 = 64;
const MARGIN: u32 = 34;
/// Range of the frequency axis in Hz; logarithmic, so that F0 and consonants both show.
const LOW_HZ: f32 = 50.0;
const HIGH_HZ: f32 = 16_000.0;

/// Draws `sounds` below each other with their names and writes a PNG.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(path: &Path, sounds: &[(&str, &Sound)]) -> Result<()> {
    let panels = u32::try_from(sounds.len())?;
    let size = (WIDTH, panels * (PANEL_HEIGHT + MARGIN) + MARGIN);
    let mut canvas = BitMapBackend::new(path, size);
    canvas.draw_rect((0, 0), (size.0 as i32, size.1 as i32), &WHITE, true)?;
    let longest = sounds.iter().map(|(_, s)| s.samples() as f32 / s.rate_hz as f32);
    let seconds = longest.fold(0.1, f32::max);
    for (index, (name, sound)) in sounds.iter().enumerate() {
        let top = MARGIN + index as u32 * (PANEL_HEIGHT + MARGIN);
        panel(&mut canvas, top, name, sound, seconds)
            .with_context(|| format!("cannot draw {}", path.display()))?;
    }
    canvas.present().map_err(|e| anyhow!("cannot write {}: {e}", path.display()))
}

/// Row of a frequency inside a panel, from its top.
fn row(frequency_hz: f32) -> i32 {
    let share = (frequency_hz / LOW_HZ).ln() / (HIGH_HZ / LOW_HZ).ln();
    ((1.0 - share) * (PANEL_HEIGHT - 1) as f32).round() as i32
}

fn panel(
    canvas: &mut BitMapBackend,
    top: u32,
    name: &str,
    sound: &Sound,
    seconds: f32,
) -> Result<()> {
    let mono = sound.mono();
    let rate = sound.rate_hz as f32;
    let width = WIDTH - MARGIN_LEFT - MARGIN;
    let fft_samples = if sound.rate_hz > 24_000 { 2048 } else { 1024 };
    let hop = 128;
    let spectrum = stft_magnitude(&mono, fft_samples, hop);
    let loudest = (0..spectrum.frames())
        .flat_map(|f| spectrum.frame(f))
        .fold(1e-6f32, |peak, m| peak.max(*m));
    for x in 0..width {
        let time_s = (x as f32 + 0.5) / width as f32 * seconds;
        let frame = (time_s * rate / hop as f32).round() as usize;
        for y in 0..PANEL_HEIGHT {
            let share = 1.0 - y as f32 / (PANEL_HEIGHT - 1) as f32;
            let frequency = LOW_HZ * (HIGH_HZ / LOW_HZ).powf(share);
            let bin = (frequency / rate * fft_samples as f32).round() as usize;
            let level = if frame < spectrum.frames() && bin <= fft_samples / 2 {
                spectrum.frame(frame)[bin] / loudest
            } else {
                0.0
            };
            // 80 dB of range.
            let shade = (1.0 + level.max(1e-6).log10() / 4.0).clamp(0.0, 1.0);
            let position = ((MARGIN_LEFT + x) as i32, (top + y) as i32);
            canvas.draw_pixel(position, colour(shade).to_backend_color())?;
        }
    }
    let x_of = |time_s: f32| (MARGIN_LEFT as f32 + time_s / seconds * width as f32) as i32;
    let mut last: Option<(i32, i32)> = None;
    for (time_s, f0_hz) in f0(sound.rate_hz, &mono)? {
        let point = (x_of(time_s), top as i32 + row(f0_hz.max(LOW_HZ)));
        if f0_hz > 0.0 {
            if let Some(from) = last {
                let line = RGBColor(90, 255, 160);
                for offset in 0..2 {
                    let (a, b) = ((from.0, from.1 + offset), (point.0, point.1 + offset));
                    canvas.draw_line(a, b, &line)?;
                }
            }
            last = Some(point);
        } else {
            last = None;
        }
    }
    write(canvas, MARGIN_LEFT as i32, top as i32 - 18, name)?;
    for (label, frequency) in [("100", 100.0), ("300", 300.0), ("1k", 1e3), ("3k", 3e3), ("10k", 1e4)]
    {
        let y = top as i32 + row(frequency);
        canvas.draw_line((MARGIN_LEFT as i32 - 5, y), (MARGIN_LEFT as i32, y), &BLACK)?;
        write(canvas, 8, y - 7, label)?;
    }
    let bottom = (top + PANEL_HEIGHT) as i32;
    for second in 0..=seconds as u32 {
        let x = x_of(second as f32);
        canvas.draw_line((x, bottom), (x, bottom + 4), &BLACK)?;
        if seconds < 30.0 {
            write(canvas, x - 4, bottom + 7, &second.to_string())?;
        }
    }
    Ok(())
}

/// Times in seconds and F0 in Hz (0 = unvoiced), by the tracker the plugin uses.
fn f0(rate_hz: u32, mono: &[f32]) -> Result<Vec<(f32, f32)>> {
    let mut content = resample_all(mono, rate_hz, CONTENT_RATE_HZ)?;
    content.resize(content.len() + F0Tracker::LOOKAHEAD_SAMPLES + CONTENT_HOP_SAMPLES, 0.0);
    let mut tracker = F0Tracker::new(F0Config::default());
    let (hops, _) = content.as_chunks::<CONTENT_HOP_SAMPLES>();
    let frames = hops.iter().filter_map(|hop| tracker.push(hop));
    Ok(frames.enumerate().map(|(k, frame)| (k as f32 * 0.01, frame.f0_hz)).collect())
}

/// Black over violet and orange to white.
fn colour(shade: f32) -> RGBColor {
    let stops = [(0, 0, 8), (72, 18, 104), (190, 50, 84), (250, 150, 40), (252, 250, 220)];
    let place = shade * (stops.len() - 1) as f32;
    let index = (place as usize).min(stops.len() - 2);
    let part = place - index as f32;
    let (a, b): ((i32, i32, i32), (i32, i32, i32)) = (stops[index], stops[index + 1]);
    let mix = |a: i32, b: i32| (a as f32 + (b - a) as f32 * part) as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Letters of 3×5 dots, one row an octal digit; enough for names and numbers,
/// and no font has to be shipped.
const LETTERS: [(char, [u8; 5]); 40] = [
    ('0', [7, 5, 5, 5, 7]),
    ('1', [2, 6, 2, 2, 7]),
    ('2', [7, 1, 7, 4, 7]),
    ('3', [7, 1, 7, 1, 7]),
    ('4', [5, 5, 7, 1, 1]),
    ('5', [7, 4, 7, 1, 7]),
    ('6', [7, 4, 7, 5, 7]),
    ('7', [7, 1, 1, 2, 2]),
    ('8', [7, 5, 7, 5, 7]),
    ('9', [7, 5, 7, 1, 7]),
    ('a', [2, 5, 7, 5, 5]),
    ('b', [6, 5, 6, 5, 6]),
    ('c', [3, 4, 4, 4, 3]),
    ('d', [6, 5, 5, 5, 6]),
    ('e', [7, 4, 6, 4, 7]),
    ('f', [7, 4, 6, 4, 4]),
    ('g', [3, 4, 5, 5, 3]),
    ('h', [5, 5, 7, 5, 5]),
    ('i', [7, 2, 2, 2, 7]),
    ('j', [1, 1, 1, 5, 2]),
    ('k', [5, 5, 6, 5, 5]),
    ('l', [4, 4, 4, 4, 7]),
    ('m', [5, 7, 7, 5, 5]),
    ('n', [6, 5, 5, 5, 5]),
    ('o', [2, 5, 5, 5, 2]),
    ('p', [6, 5, 6, 4, 4]),
    ('q', [2, 5, 5, 6, 3]),
    ('r', [6, 5, 6, 5, 5]),
    ('s', [3, 4, 2, 1, 6]),
    ('t', [7, 2, 2, 2, 2]),
    ('u', [5, 5, 5, 5, 7]),
    ('v', [5, 5, 5, 5, 2]),
    ('w', [5, 5, 7, 7, 5]),
    ('x', [5, 5, 2, 5, 5]),
    ('y', [5, 5, 2, 2, 2]),
    ('z', [7, 1, 2, 4, 7]),
    ('.', [0, 0, 0, 0, 2]),
    ('-', [0, 0, 7, 0, 0]),
    ('_', [0, 0, 0, 0, 7]),
    ('/', [1, 1, 2, 4, 4]),
];

fn write(canvas: &mut BitMapBackend, x: i32, y: i32, text: &str) -> Result<()> {
    const DOT: i32 = 3;
    for (index, letter) in text.to_lowercase().chars().enumerate() {
        let Some((_, rows)) = LETTERS.iter().find(|(known, _)| *known == letter) else { continue };
        for (line, dots) in rows.iter().enumerate() {
            for column in (0..3).filter(|column| dots & (4 >> column) != 0) {
                let left = x + (index as i32 * 4 + column) * DOT;
                let top = y + line as i32 * DOT;
                canvas.draw_rect((left, top), (left + DOT, top + DOT), &BLACK, true)?;
            }
        }
    }
    Ok(())
}
