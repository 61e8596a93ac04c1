//! Brings what a voice sings towards how it was sung: the level of eight broad bands, as it moves from sound to sound.
//!
//! An encoder misses some of a stranger's words, and no voice can sing what is not in its content. Speech is understood by
//! no more than four bands, a throat is known by finer things ([`timbra_dsp::bands`]). So of the input and of what was made,
//! the levels are taken, each against its mean of the last seconds, in which microphone, room and the length of a throat
//! are, and of what they are apart a share is added to what was made.
//!
//! The window over what was made ends where its gain is reached: there is nothing to wait for, and the gain is right for
//! what was 10 ms before. What that costs, and shares of all kinds, are in `benches/RESULTS.md`.

use std::collections::VecDeque;

use timbra_dsp::bands::{BANDS, BandFilter, BandLevels, BandMeter};
use timbra_dsp::{CONTENT_HOP_SAMPLES, CONTENT_RATE_HZ};

/// Times a hop in which levels are taken.
pub const HALVES: usize = 2;
/// Hops in a window.
const WINDOW_HOPS: usize = 2;
/// Most that a band is made louder or softer: 12 dB, in nepers.
const MOST: f32 = 1.381_551;
/// Where the input is softer than its mean by the first of these, in nepers of power, nothing more is done, and less and less
/// from the second on: 50 and 30 dB.
const FADING: (f32, f32) = (-11.513, -6.908);

/// Takes the levels of the input, hop by hop.
pub struct HeardLevels(BandMeter);

impl Default for HeardLevels {
    fn default() -> Self {
        Self(BandMeter::new(
            CONTENT_RATE_HZ,
            WINDOW_HOPS * CONTENT_HOP_SAMPLES,
        ))
    }
}

impl HeardLevels {
    /// Levels at the middle and at the end of a hop.
    pub fn hear(&mut self, hop: &[f32; CONTENT_HOP_SAMPLES]) -> [BandLevels; HALVES] {
        let (first, second) = hop.split_at(CONTENT_HOP_SAMPLES / HALVES);
        [first, second].map(|half| self.0.push(half))
    }

    /// Back to the start of a signal.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

/// Changes what a voice has made.
pub struct Articulation {
    made: BandMeter,
    filter: BandFilter,
    /// Levels of the input, newest first, as many as are waited for.
    heard: VecDeque<BandLevels>,
    /// How many halves of a hop the end of a hop that was made lies behind the newest of them.
    lag_halves: f32,
    /// Amounts of the frames, newest first, and how many halves of a hop the end of a hop lies behind the newest.
    amounts: VecDeque<f32>,
    delay_halves: f32,
    heard_mean: Mean,
    made_mean: Mean,
}

impl Articulation {
    /// For a voice at `rate_hz` whose frames are complete `lookahead_hops` later and sung `delay_samples` of its own after that.
    pub fn new(
        rate_hz: u32,
        hop_samples: usize,
        lookahead_hops: usize,
        delay_samples: usize,
    ) -> Self {
        let halves = HALVES as f32;
        let delay_halves = halves * delay_samples as f32 / hop_samples as f32;
        let lag_halves = halves * lookahead_hops as f32 + delay_halves;
        let kept = lag_halves as usize + HALVES + 1;
        Self {
            made: BandMeter::new(rate_hz, WINDOW_HOPS * hop_samples),
            filter: BandFilter::new(rate_hz, hop_samples.div_ceil(HALVES)),
            heard: std::iter::repeat_n(BandLevels::silence(), kept).collect(),
            lag_halves,
            amounts: std::iter::repeat_n(0.0, delay_samples / hop_samples + 3).collect(),
            delay_halves,
            heard_mean: Mean::default(),
            made_mean: Mean::default(),
        }
    }

    /// Takes the levels of the newest hop of the input, and the `amount`, 0..1, of the frame that is complete with it; changes a
    /// hop of what was made by such a share of the difference. At 0 it is left as it is, to the bit.
    pub fn apply(&mut self, heard: &[BandLevels; HALVES], amount: f32, made: &mut [f32]) {
        self.pass(heard);
        self.amounts[0] = amount;
        let half = made.len().div_ceil(HALVES);
        for (index, samples) in made.chunks_mut(half).enumerate() {
            let earlier = (HALVES - 1 - index) as f32;
            let (newer, part) = place(self.lag_halves + earlier);
            let heard = self.heard[newer].towards(&self.heard[newer + 1], part);
            let (newer, part) = place((self.delay_halves + earlier) / HALVES as f32);
            let amount = self.amounts[newer] * (1.0 - part) + self.amounts[newer + 1] * part;
            let heard_apart = self.heard_mean.push(&heard);
            let made_apart = self.made_mean.push(&self.made.push(samples));
            let (gone, full) = FADING;
            let present = ((heard_apart.whole - gone) / (full - gone)).clamp(0.0, 1.0);
            let gains = std::array::from_fn(|band| {
                // Half, for levels are of power.
                let apart = 0.5 * (heard_apart.bands[band] - made_apart.bands[band]);
                present * (amount * apart).clamp(-MOST, MOST)
            });
            self.filter.process(&gains, samples);
        }
    }

    /// Takes the levels of the newest hop of the input where nothing was made: its amount is that of the frame before.
    pub fn pass(&mut self, heard: &[BandLevels; HALVES]) {
        self.heard.rotate_right(HALVES);
        for (slot, levels) in self.heard.iter_mut().zip(heard.iter().rev()) {
            *slot = *levels;
        }
        self.amounts.rotate_right(1);
        self.amounts[0] = self.amounts[1];
    }

    /// What was heard and made before does not count any more.
    pub fn reset(&mut self) {
        self.made.reset();
        self.filter.reset();
        self.heard
            .iter_mut()
            .for_each(|levels| *levels = BandLevels::silence());
        self.amounts.iter_mut().for_each(|amount| *amount = 0.0);
        self.heard_mean = Mean::default();
        self.made_mean = Mean::default();
    }
}

/// What lies `back` in a line whose newest is 0: between which, and how far it is from the newer one.
fn place(back: f32) -> (usize, f32) {
    (back as usize, back.fract())
}

/// Means of levels over the past, the older the less, loud ones most: the bands' against the level of all together, which has
/// a mean of its own. A louder signal has the same means but for that one.
#[derive(Debug, Clone, Default)]
struct Mean {
    /// Sums of weighted levels, and of weights. Weights are against that of [`Self::reference`].
    bands: [f32; BANDS],
    whole: f32,
    weight: f32,
    /// The level that weighs 1: that of all that was heard, as it is now.
    reference: f32,
}

impl Mean {
    /// In so many halves of a hop an older level counts e times less.
    const FADING_HALVES: f32 = 300.0;
    /// A level counts by this power of its own.
    const EXPONENT: f32 = 0.3;
    /// Levels of the bands below all of them together that are assumed at the start: means of 52 clips of 21 people, read and
    /// sung. In nepers of power.
    const USUAL: [f32; BANDS] = [-2.00, -2.06, -2.77, -4.05, -4.27, -4.47, -4.65, -5.53];
    /// How many usual levels they count for.
    const USUAL_WEIGHT: f32 = 50.0;

    /// Takes levels; gives what they are above their means: `bands` against that of the band, `whole` against that of all.
    fn push(&mut self, levels: &BandLevels) -> BandLevels {
        let fading = (-1.0 / Self::FADING_HALVES).exp();
        let weight = (Self::EXPONENT * (levels.whole - self.reference)).exp();
        self.weight = self.weight * fading + weight;
        self.whole = self.whole * fading + weight * levels.whole;
        for (sum, level) in self.bands.iter_mut().zip(&levels.bands) {
            *sum = *sum * fading + weight * (level - levels.whole);
        }
        let whole = self.whole / self.weight;
        // From here on it is what has been heard now that weighs 1.
        let scale = (Self::EXPONENT * (self.reference - whole)).exp();
        self.reference = whole;
        self.weight *= scale;
        self.whole *= scale;
        self.bands.iter_mut().for_each(|sum| *sum *= scale);
        let count = self.weight + Self::USUAL_WEIGHT;
        BandLevels {
            bands: std::array::from_fn(|band| {
                let mean = (self.bands[band] + Self::USUAL_WEIGHT * Self::USUAL[band]) / count;
                levels.bands[band] - whole - mean
            }),
            whole: levels.whole - whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 48_000;
    const HOP: usize = 480;

    /// A buzz of `seconds` whose partials above 2 kHz are `bright` times as strong, as a function of the time in seconds.
    fn buzz(rate_hz: u32, seconds: f64, bright: impl Fn(f64) -> f64) -> Vec<f32> {
        let total = (seconds * f64::from(rate_hz)) as usize;
        let partials = 37; // up to 7.4 kHz
        (0..total)
            .map(|i| {
                let time_s = i as f64 / f64::from(rate_hz);
                let sum: f64 = (1..=partials)
                    .map(|k| {
                        let hz = 200.0 * f64::from(k);
                        let part = (std::f64::consts::TAU * hz * time_s + f64::from(k * k)).sin();
                        part * if hz > 2_000.0 { bright(time_s) } else { 1.0 }
                    })
                    .sum();
                (0.03 * sum) as f32
            })
            .collect()
    }

    /// What `made` becomes beside `heard`, which the voice hears `lookahead` hops ahead and sings `delay_samples` late.
    fn articulated(
        heard: &[f32],
        made: &[f32],
        amount: impl Fn(usize) -> f32,
        (lookahead, delay_samples): (usize, usize),
    ) -> Vec<f32> {
        let mut ear = HeardLevels::default();
        let mut articulation = Articulation::new(RATE_HZ, HOP, lookahead, delay_samples);
        let mut levels: Vec<[BandLevels; HALVES]> = Vec::new();
        for hop in heard.chunks_exact(CONTENT_HOP_SAMPLES) {
            levels.push(ear.hear(hop.try_into().expect("a hop")));
        }
        let mut out = made.to_vec();
        // The hop that ends at frame k leaves with hop k - 1 + lookahead of the input.
        for (k, hop) in out.chunks_exact_mut(HOP).enumerate() {
            let newest = levels.get(k + lookahead).copied();
            let newest = newest.unwrap_or([BandLevels::silence(); HALVES]);
            if k == 0 {
                levels[..lookahead]
                    .iter()
                    .for_each(|earlier| articulation.pass(earlier));
            }
            articulation.apply(&newest, amount(k), hop);
        }
        out
    }

    /// Level in dB of what is above 2.5 kHz against what is below 1.5 kHz, of every 10 ms.
    fn brightness_db(signal: &[f32]) -> Vec<f32> {
        let mut meter = BandMeter::new(RATE_HZ, 2 * HOP);
        (signal.chunks_exact(HOP))
            .map(|hop| {
                let levels = meter.push(hop);
                (levels.bands[7] - levels.bands[2]) * 4.343
            })
            .collect()
    }

    /// How far brightness goes up and down, in dB, when the means are known.
    fn swing(signal: &[f32]) -> f32 {
        let db = &brightness_db(signal)[200..350];
        let most = db.iter().copied().fold(f32::MIN, f32::max);
        most - db.iter().copied().fold(f32::MAX, f32::min)
    }

    /// Gain in dB from `made` to `out`.
    fn gain_db(out: &[f32], made: &[f32]) -> f32 {
        let power = |signal: &[f32]| signal.iter().map(|s| s * s).sum::<f32>();
        10.0 * (power(out) / power(made)).log10()
    }

    fn syllables(time_s: f64) -> f64 {
        if (time_s * 4.0).fract() < 0.5 {
            2.0
        } else {
            0.5
        }
    }

    #[test]
    fn what_is_lost_of_syllables_comes_back_by_the_share_that_is_asked_for() {
        let heard = buzz(CONTENT_RATE_HZ, 4.0, syllables);
        let flat = buzz(RATE_HZ, 4.0, |_| 0.3);
        assert!(swing(&flat) < 0.5);
        // Four times the amplitude, 12 dB.
        for (amount, expected_db) in [(0.25, 3.0), (0.5, 6.0), (1.0, 12.0)] {
            let made = articulated(&heard, &flat, |_| amount, (1, 96));
            let found = swing(&made);
            assert!(
                (found - expected_db).abs() < 1.0,
                "{amount}: {found} dB, not {expected_db}"
            );
        }
    }

    #[test]
    fn what_is_there_already_and_what_never_changes_is_left_alone() {
        let heard = buzz(CONTENT_RATE_HZ, 4.0, syllables);
        // Another microphone's, 12 dB duller, and twice as loud: the means take it off.
        let made: Vec<f32> = (buzz(RATE_HZ, 4.0, |time_s| 0.25 * syllables(time_s)).iter())
            .map(|sample| 2.0 * sample)
            .collect();
        let out = articulated(&heard, &made, |_| 1.0, (0, 0));
        let (before, after) = (brightness_db(&made), brightness_db(&out));
        for hop in 250..390 {
            let apart = (before[hop] - after[hop]).abs();
            // Not all: bright syllables are less of the loudness of a dull sound, and weigh less in its means.
            assert!(apart < 1.5, "hop {hop}: {apart} dB of 12");
        }
        let louder: Vec<f32> = (buzz(RATE_HZ, 4.0, syllables).iter())
            .map(|sample| 4.0 * sample)
            .collect();
        let out = articulated(&heard, &louder, |_| 1.0, (0, 0));
        let gain = gain_db(&out[250 * HOP..], &louder[250 * HOP..]);
        assert!(gain.abs() < 1.0, "{gain} dB, because it is 12 dB louder");
        let silent = articulated(&heard, &made, |_| 0.0, (0, 0));
        assert_eq!(silent, made, "at 0 it is left as it is");
    }

    #[test]
    fn a_syllable_is_heard_where_it_is_sung_whatever_the_delay() {
        let sung_s = 2.0;
        let heard = buzz(CONTENT_RATE_HZ, 3.0, |time_s| {
            if time_s < sung_s { 0.5 } else { 2.0 }
        });
        let flat = buzz(RATE_HZ, 3.2, |_| 0.5);
        for (lookahead, delay_samples) in [(0, 0), (1, 96), (4, 240), (2, 5_000)] {
            let made = articulated(&heard, &flat, |_| 1.0, (lookahead, delay_samples));
            let db = brightness_db(&made);
            let from = (sung_s * 100.0) as usize - 20;
            let middle = 0.5 * (db[from - 20] + db[from + 32 + delay_samples / HOP]);
            let crossed = (from..).find(|&hop| db[hop] > middle);
            let crossed_s = crossed.map_or(0.0, |hop| {
                let share = (middle - db[hop - 1]) / (db[hop] - db[hop - 1]);
                // The window of a hop lies around its beginning.
                (hop as f32 - 1.0 + share) / 100.0
            });
            let late_s = crossed_s - sung_s as f32 - delay_samples as f32 / RATE_HZ as f32;
            // By half of the window over what was made, 10 ms; but the logarithm of a level is half-way when a fifth of a window
            // is in, 4 ms before its middle.
            assert!(
                (late_s - 0.006).abs() < 0.003,
                "{lookahead}, {delay_samples}: {late_s}"
            );
        }
    }

    #[test]
    fn an_amount_is_heard_where_it_is_set() {
        let heard = buzz(CONTENT_RATE_HZ, 3.0, |_| 1.0);
        // Soft for 2 s, so that a mean is known, then by 20 dB louder than what is heard.
        let made = buzz(RATE_HZ, 3.0, |time_s| if time_s < 2.0 { 0.2 } else { 2.0 });
        for delay_samples in [0, 96, 2_400] {
            let at = 210;
            let amount = |k: usize| if k >= at { 1.0 } else { 0.0 };
            let out = articulated(&heard, &made, amount, (0, delay_samples));
            let first = (out.iter().zip(&made)).position(|(out, made)| out != made);
            // Frame 210 ends hop 210 - 1; the line to it begins a hop before.
            let expected = HOP * at - HOP / 2 + delay_samples;
            let apart = first.map(|first| first.abs_diff(expected));
            assert!(
                apart.is_some_and(|apart| apart <= HOP),
                "{delay_samples}: {first:?}"
            );
        }
    }

    #[test]
    fn a_band_is_made_no_more_than_twelve_decibels_louder_or_softer() {
        let far = |time_s: f64| if syllables(time_s) > 1.0 { 30.0 } else { 0.003 };
        let heard = buzz(CONTENT_RATE_HZ, 4.0, far);
        let flat = buzz(RATE_HZ, 4.0, |_| 0.3);
        let found = swing(&articulated(&heard, &flat, |_| 1.0, (1, 96)));
        // Lower bands may go the other way.
        assert!((20.0..48.5).contains(&found), "{found} dB");
    }

    #[test]
    fn where_the_input_is_silent_nothing_is_changed() {
        let mut heard = buzz(CONTENT_RATE_HZ, 3.0, |_| 0.5);
        heard[24_000..]
            .iter_mut()
            .for_each(|sample| *sample *= 1e-6);
        let mut bright = buzz(CONTENT_RATE_HZ, 3.0, |_| 30.0);
        bright.iter_mut().for_each(|sample| *sample *= 1e-5);
        // What is left of it is 65 dB softer, and all of that above 2 kHz.
        heard[24_000..].copy_from_slice(&bright[24_000..]);
        let flat = buzz(RATE_HZ, 3.0, |_| 0.5);
        let out = articulated(&heard, &flat, |_| 1.0, (0, 0));
        assert_ne!(
            out[..150 * HOP],
            flat[..150 * HOP],
            "it was not silent there"
        );
        let quiet = 156 * HOP..160 * HOP;
        assert!(
            out[quiet.clone()] == flat[quiet],
            "nothing is heard, and it is changed"
        );
    }

    #[test]
    fn an_amount_is_heard_where_it_is_set_after_hops_that_were_missing() {
        let mut ear = HeardLevels::default();
        let (delay_hops, at) = (5, 100);
        let mut articulation = Articulation::new(RATE_HZ, HOP, 0, delay_hops * HOP);
        let heard = buzz(CONTENT_RATE_HZ, 2.0, syllables);
        let made = buzz(RATE_HZ, 2.0, |_| 0.5);
        let hops = heard.chunks_exact(CONTENT_HOP_SAMPLES);
        for (k, (heard, made)) in hops.zip(made.chunks_exact(HOP)).enumerate() {
            let levels = ear.hear(heard.try_into().expect("a hop"));
            if (at + 2..at + 5).contains(&k) {
                articulation.pass(&levels);
                continue;
            }
            let mut out = made.to_vec();
            articulation.apply(&levels, if k < at { 1.0 } else { 0.0 }, &mut out);
            let over = k > at + delay_hops;
            // Before the first amounts are heard nothing is changed either.
            if k > 2 * delay_hops {
                assert_eq!(out == made, over, "hop {k}");
            }
            if over {
                return;
            }
        }
    }
}
