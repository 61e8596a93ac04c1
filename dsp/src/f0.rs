//! Streaming fundamental frequency.

mod correlation;

use crate::{CONTENT_HOP_SAMPLES, CONTENT_RATE_HZ};
use correlation::{Correlator, LAGS_PER_SAMPLE};

/// How an [`F0Tracker`] behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct F0Config {
    /// Lowest frequency that is looked for, in Hz (at least 50).
    pub min_hz: f32,
    /// Highest frequency that is looked for, in Hz (at most 1400).
    pub max_hz: f32,
    #[doc(hidden)]
    pub t: [f32; 24],
}

impl Default for F0Config {
    /// The whole range of voices, 50 to 1400 Hz.
    fn default() -> Self {
        Self { min_hz: 50.0, max_hz: 1400.0, t: [
            0.45, // voicing threshold
            0.03, // silence threshold
            0.01, // octave cost
            0.35, // octave jump
            0.14, // vuv cost
            1.0, // 5 peeks
            1.0, // 6 weight of the first peek
            400.0, // 7 lookahead
            0.5, // 8 weight of second
            1200.0, // 9 octave-cost reference
            0.05, // 10 initial peak
            0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] }
    }
}

/// Fundamental frequency of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct F0Frame {
    /// Fundamental frequency in Hz, 0 where the frame is unvoiced.
    pub f0_hz: f32,
    /// How periodic the frame is, from 0 (noise) to 1 (exactly periodic); meaningful for unvoiced frames too.
    pub periodicity: f32,
}


#[derive(Debug, Clone, Copy, Default)]
struct Candidate { f0_hz: f32, r: f32, local: f32, score: f32, from: usize }

const CAP: usize = 16;

/// Streaming F0 tracker on 16 kHz audio.
///
/// Real-time: nothing allocates after construction.
pub struct F0Tracker {
    config: F0Config,
    received_hops: u8,
    ring: Vec<f32>,
    hp: Vec<f32>,
    z: [f32; 4],
    long: Correlator,
    short: Correlator,
    mixed: Vec<Candidate>,
    peek: [Correlator; 2],
    peek_centre: [usize; 2],
    columns: [Vec<Candidate>; 3],
    previous: Vec<Candidate>,
    global_peak: f32,
}

const HISTORY: usize = 1120;

fn analyse(t: &[f32; 24], config: (f32, f32), ring: &[f32], hp: &[f32], centre: usize, correlator: &mut Correlator, global_peak: &mut f32, keep: bool, out: &mut Vec<Candidate>) {
        let half = correlator.window_samples() / 2;
        let side = 246.min(HISTORY - 480 + t[7] as usize - centre);
        let mean = ring[centre - side..centre + side].iter().sum::<f32>() / (2 * side) as f32;
        let side = 123.min(side);
        let pm = if t[20] > 0.0 { 0.0 } else { mean };
        let ring = if t[21] > 0.0 { hp } else { ring };
        let mean = if t[21] > 0.0 { 0.0 } else { mean };
        let peak = hp[centre - side..centre + side].iter().fold(0f32, |a, &s| a.max((s - pm).abs()));
        let g = if keep { (*global_peak * t[14]).max(t[16]).max(peak) } else { global_peak.max(peak) };
        if keep { *global_peak = g; }
        let intensity = peak / g;
        let r = correlator.normalised(&ring[centre - half..centre + half], mean);
        let rate = (CONTENT_RATE_HZ as usize * LAGS_PER_SAMPLE) as f32;
        let lo = (rate / config.1 * 0.96).floor() as usize;
        let hi = ((rate / config.0).ceil() as usize).min(r.len() - 2);
        out.clear();
        let unvoiced = t[0] + (2.0 - (intensity / t[1]) * (1.0 + t[0])).max(0.0);
        out.push(Candidate { f0_hz: 0.0, local: unvoiced, ..Default::default() });
        for i in lo.max(1)..=hi {
            let (a, b, c) = (r[i - 1], r[i], r[i + 1]);
            if b > 0.5 * t[0] && b > a && b >= c {
                let d = 0.5 * (a - c) / (a - 2.0 * b + c);
                let mut v = b - 0.25 * (a - c) * d;
                if v > 1.0 { v = 1.0 / v; }
                let f0 = rate / (i as f32 + d);
                if f0 > config.1 * 1.04 || f0 < config.0 * 0.97 { continue; }
                let f0 = f0.clamp(config.0, config.1);
                if t[12] > 0.0 && f0 > t[17] {
                    let lag = i as f32 + d;
                    let at = |x: f32| { let p = x as usize; let q = x - p as f32; r[p] * (1.0 - q) + r[p + 1] * q };
                    let m = 0.5 * (at(2.0 * lag) + at(3.0 * lag));
                    let w = t[12] * ((f0 / t[17]).log2()).min(1.0);
                    v = v * (1.0 - w) + v.min(m) * w;
                }
                let local = v - t[2] * (t[9] / f0).log2();
                let cand = Candidate { f0_hz: f0, r: v, local, ..Default::default() };
                if out.len() < CAP { out.push(cand); }
                else if let Some(w) = (1..CAP).min_by(|&x, &y| out[x].local.total_cmp(&out[y].local)) {
                    if out[w].local < local { out[w] = cand; }
                }
            }
        }
}

fn step(t: &[f32; 24], previous: &[Candidate], now: &mut [Candidate], weight: f32) {
    for cand in now.iter_mut() {
        let mut s = if previous.is_empty() { 0.0 } else { f32::MIN };
        for (i, p) in previous.iter().enumerate() {
            let cost = if p.f0_hz == 0.0 && cand.f0_hz == 0.0 { 0.0 }
            else if p.f0_hz == 0.0 || cand.f0_hz == 0.0 { t[4] }
            else { t[3] * (p.f0_hz / cand.f0_hz).log2().abs() };
            if p.score - cost > s || previous.is_empty() { s = p.score - cost; cand.from = i; }
        }
        cand.score = s + cand.local * weight;
    }
}

fn best(column: &[Candidate]) -> usize {
    (0..column.len()).max_by(|&a, &b| column[a].score.total_cmp(&column[b].score)).unwrap_or(0)
}

impl F0Tracker {
    /// Samples after a frame's centre that must be in before the frame appears (25 ms).
    pub const LOOKAHEAD_SAMPLES: usize = 400;

    /// A tracker at the start of a stream; what lies before the stream counts as silence.
    pub fn new(config: F0Config) -> Self {
        let la = config.t[7] as usize;
        let (h1, c2) = (la - 160, if la >= 480 { 320 } else { 220 });
        Self { config, received_hops: 0, ring: vec![0.0; HISTORY], hp: vec![0.0; HISTORY], z: [0.0; 4], long: Correlator::new(738, 330, config.t[11]), short: Correlator::new(config.t[15].max(200.0) as usize / 2 * 2, 140, config.t[11]),
            peek: [Correlator::new(2 * h1, 330.min(h1 + h1 / 2), config.t[11]), Correlator::new(2 * (la - c2), (la - c2) * 3 / 2, config.t[11])], peek_centre: [160, c2],
            columns: std::array::from_fn(|_| Vec::with_capacity(CAP)), previous: Vec::with_capacity(CAP), mixed: Vec::with_capacity(CAP), global_peak: config.t[10] }
    }

    /// Takes the next hop at 16 kHz; the first two calls return nothing, call `n` (from 0) returns frame `n − 2`.
    pub fn push(&mut self, hop: &[f32; CONTENT_HOP_SAMPLES]) -> Option<F0Frame> {
        let t = self.config.t;
        self.ring.copy_within(CONTENT_HOP_SAMPLES.., 0);
        let at = HISTORY - CONTENT_HOP_SAMPLES;
        for (slot, &sample) in self.ring[at..].iter_mut().zip(hop) {
            *slot = if sample.is_finite() { sample } else { 0.0 };
        }
        self.hp.copy_within(CONTENT_HOP_SAMPLES.., 0);
        if t[20] > 0.0 {
            let w = std::f32::consts::TAU * t[20] / 16000.0; let k = (w / 2.0).tan(); let q = std::f32::consts::FRAC_1_SQRT_2;
            let n = 1.0 / (1.0 + k / q + k * k); let (b1, b2) = (2.0 * (k * k - 1.0) * n, (1.0 - k / q + k * k) * n);
            for i in at..HISTORY {
                let x = self.ring[i];
                let y = n * (x - 2.0 * self.z[0] + self.z[1]) - b1 * self.z[2] - b2 * self.z[3];
                self.z = [x, self.z[0], y, self.z[2]];
                self.hp[i] = y;
            }
        } else { self.hp[at..].copy_from_slice(&self.ring[at..]); }
        if self.received_hops < 2 {
            self.received_hops += 1;
            return None;
        }
        let range = (self.config.min_hz, self.config.max_hz);
        let centre = HISTORY - 480;
        let [now, next, after] = &mut self.columns;
        analyse(&t, range, &self.ring, &self.hp, centre, &mut self.long, &mut self.global_peak, true, now);
        if t[13] > 0.0 {
            analyse(&t, (t[13], self.config.max_hz), &self.ring, &self.hp, centre, &mut self.short, &mut self.global_peak, false, &mut self.mixed);
            for c in &self.mixed[1..] {
                if let Some(n) = now[1..].iter_mut().find(|n| (n.f0_hz / c.f0_hz).ln().abs() < 0.05) {
                    if c.r > n.r { n.f0_hz = c.f0_hz; n.r = c.r; n.local += (c.local - n.local) * t[18]; }
                } else if now.len() < CAP { now.push(Candidate { local: c.local - t[19], ..*c }); }
            }
        }
        step(&t, &self.previous, now, 1.0);
        let mut at = best(now);
        if t[5] >= 1.0 {
            analyse(&t, range, &self.ring, &self.hp, centre + self.peek_centre[0], &mut self.peek[0], &mut self.global_peak, false, next);
            step(&t, now, next, t[6]);
            let mut b = best(next);
            if t[5] >= 2.0 {
                analyse(&t, range, &self.ring, &self.hp, centre + self.peek_centre[1], &mut self.peek[1], &mut self.global_peak, false, after);
                step(&t, next, after, t[8]);
                b = after[best(after)].from;
            }
            at = next[b].from;
        }
        let top = now[best(now)].score;
        for cand in now.iter_mut() { cand.score -= top; }
        let f0_hz = now[at].f0_hz;
        let periodicity = now.iter().fold(0f32, |a, c| a.max(c.r));
        std::mem::swap(now, &mut self.previous);
        Some(F0Frame { f0_hz, periodicity: periodicity.clamp(0.0, 1.0) })
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        *self = Self::new(self.config);
    }
}
