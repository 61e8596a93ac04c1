//! How far the host's audio runs ahead of the clock on the wall, and so how long the audio thread may wait.
//!
//! Hosts render faster than real time without saying so. What gives them away is that they call again at once: audio
//! time runs ahead of wall time. A true real-time host gets ahead by no more than it buffers, and as long as the wait
//! stays below what it is ahead, it is never made late. Both clocks are put in from outside, so this is plain
//! arithmetic.

use std::time::Duration;

/// What is less than this ahead is the jitter of a device, for which nothing waits.
const JITTER_S: f64 = 0.020;
/// Being so far ahead shows a host that renders, unless its first sound is due before: [`Pace::new`].
const AHEAD_S: f64 = 0.040;
/// What is less than this ahead never shows it: the block a device asks for at a time, 1024 samples at 44.1 kHz.
const LEAST_AHEAD_S: f64 = 0.024;
/// Being so far ahead settles it.
const CLEARLY_AHEAD_S: f64 = 0.250;
/// No device asks for so much at once: a host that did so goes on rendering after a pause, as one does that renders many
/// tracks in turn.
const BURST_S: f64 = 0.150;
/// What is ahead of that is not counted: a host that returns to real time is believed soon.
const MOST_AHEAD_S: f64 = 3.0;
/// Share of audio time that is taken off, so that two clocks that differ by a little never add up.
const LEAK: f64 = 0.005;
/// Gap between two calls, over the audio of the first, that only a host in real time leaves.
const REAL_TIME_GAP: f64 = 0.7;
/// A host that comes late catches up at once with what its device buffers, and is not ahead for it: so much is let pass.
const MOST_OWED_S: f64 = 0.060;
/// After so long a gap the device has lost what it wanted, and there is nothing to catch up with.
const PAUSE_S: f64 = 0.070;
/// Longest wait in one call while a host is not clearly rendering.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait in one call when it is.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Measures the pace of a host.
#[derive(Debug)]
pub(crate) struct Pace {
    offline: bool,
    /// Being so far ahead shows a host that renders.
    shown_s: f64,
    /// When the last call came and went, in seconds of the wall.
    last: Option<(f64, f64)>,
    /// Audio seconds handed over in the last call.
    last_audio_s: f64,
    /// Seconds of audio that are late and may come in a burst without saying anything.
    owed_s: f64,
    /// Seconds the audio is ahead of the wall.
    ahead_s: f64,
    /// The host rendered when it called last, and has not come with the gaps of real time twice since.
    rendered: bool,
    /// The last call came with the gap of real time.
    real_time_gap: bool,
    /// The same as if our own waiting had taken no time. Only this shows what the host does while it waits for us.
    ahead_unhindered_s: f64,
}

impl Pace {
    /// A host that has not called yet and is given sound for the first time when its audio is `first_due_s` ahead: if it
    /// renders, that has to be known by then.
    pub fn new(first_due_s: f64) -> Self {
        Self {
            offline: false,
            shown_s: (first_due_s * (1.0 - LEAK)).clamp(LEAST_AHEAD_S, AHEAD_S),
            last: None,
            last_audio_s: 0.0,
            owed_s: 0.0,
            ahead_s: 0.0,
            rendered: false,
            real_time_gap: false,
            ahead_unhindered_s: 0.0,
        }
    }

    /// What the host says about itself.
    pub fn set_offline(&mut self, offline: bool) {
        self.offline = offline;
    }

    /// What the host said about itself.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// A call begins, `now_s` by the clock on the wall.
    pub fn begin(&mut self, now_s: f64) {
        if let Some((came_s, went_s)) = self.last {
            let gap_s = (now_s - went_s).max(0.0);
            let stay_s = (went_s - came_s).max(0.0);
            let audio_s = self.last_audio_s * (1.0 - LEAK);
            // A host with a clock of its own leaves gaps about as long as its blocks: then what it gained before, or
            // while we waited, means nothing, and it is taken back quickly.
            let real_time_gap = gap_s > REAL_TIME_GAP * self.last_audio_s;
            self.rendered |= self.ahead_unhindered_s > BURST_S;
            self.rendered &= !(real_time_gap && self.real_time_gap);
            self.real_time_gap = real_time_gap;
            let taken_back_s = if real_time_gap { 4.0 * gap_s } else { gap_s };
            let caught_up_s = (self.last_audio_s - gap_s).clamp(0.0, self.owed_s);
            self.owed_s = if gap_s < PAUSE_S {
                // What was not caught up with within a second was lost.
                let kept_s = self.owed_s * (1.0 - gap_s);
                (kept_s + gap_s - self.last_audio_s).clamp(0.0, MOST_OWED_S)
            } else {
                0.0
            };
            self.ahead_s = (self.ahead_s + audio_s - caught_up_s - stay_s - taken_back_s)
                .clamp(0.0, MOST_AHEAD_S);
            self.ahead_unhindered_s =
                (self.ahead_unhindered_s + audio_s - caught_up_s - taken_back_s)
                    .clamp(self.ahead_s, MOST_AHEAD_S);
        }
    }

    /// A call ends.
    pub fn end(&mut self, came_s: f64, now_s: f64, audio_s: f64) {
        self.last = Some((came_s, now_s));
        self.last_audio_s = audio_s;
    }

    /// Whether the host renders faster than real time, or says so.
    pub fn free_wheels(&self) -> bool {
        self.offline || self.rendered || self.ahead_unhindered_s > self.shown_s
    }

    /// How long this call may wait in all.
    pub fn longest_wait(&self) -> Duration {
        if self.offline || self.ahead_unhindered_s > CLEARLY_AHEAD_S {
            LONGEST_WAIT
        } else if self.rendered || self.ahead_unhindered_s > self.shown_s {
            FIRST_WAIT
        } else if self.ahead_s > JITTER_S {
            Duration::from_secs_f64(self.ahead_s)
        } else {
            Duration::ZERO
        }
    }
}

/// The block of the host that is being processed: at automation points it comes in pieces, and only the first says
/// anything about the host's pace.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// Where the next piece would lie in memory.
    end: usize,
    /// Samples so far.
    pub samples: usize,
    /// When its first piece came, in seconds of the wall.
    pub came_s: f64,
}

impl Block {
    /// Takes note of `samples` at the address `place`; says whether they go on with the block, of at most `most`.
    pub fn goes_on(&mut self, place: usize, samples: usize, most: usize) -> bool {
        let goes_on = place == self.end && self.samples + samples <= most;
        self.samples = if goes_on {
            self.samples + samples
        } else {
            samples
        };
        self.end = place + samples * size_of::<f32>();
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `count` times with blocks of `block_s`; `gap` and `wait` give the seconds between and inside calls.
    fn run(
        pace: &mut Pace,
        now_s: &mut f64,
        count: usize,
        block_s: f64,
        gap: impl Fn(usize) -> f64,
        wait: impl Fn(&Pace) -> f64,
    ) {
        for call in 0..count {
            *now_s += gap(call);
            pace.begin(*now_s);
            let came_s = *now_s;
            *now_s += wait(pace);
            pace.end(came_s, *now_s, block_s);
        }
    }

    #[test]
    fn a_real_time_host_is_never_waited_for_even_when_its_clock_is_fast() {
        let (mut pace, mut now_s) = (Pace::new(LEAST_AHEAD_S), 0.0);
        let block_s = 0.0053;
        // A device 0.1 % faster than the wall, with jitter, for an hour.
        run(
            &mut pace,
            &mut now_s,
            700_000,
            block_s,
            |call| block_s * 0.999 + if call % 2 == 0 { 0.001 } else { -0.001 },
            |_| 0.0,
        );
        assert!(!pace.free_wheels());
        assert_eq!(pace.longest_wait(), Duration::ZERO);
    }

    #[test]
    fn pieces_of_a_block_are_one_block_and_blocks_beside_each_other_are_not() {
        let mut block = Block::default();
        assert!(!block.goes_on(4000, 100, 256));
        assert!(block.goes_on(4400, 156, 256));
        assert_eq!(block.samples, 256);
        // A host that renders straight through a file in memory.
        assert!(!block.goes_on(5024, 256, 256));
        // One that uses the same memory again.
        assert!(!block.goes_on(5024, 10, 256));
        assert_eq!(block.samples, 10);
    }

    #[test]
    fn a_host_that_calls_in_bursts_is_waited_for_within_the_burst_only() {
        let (mut pace, mut now_s) = (Pace::new(LEAST_AHEAD_S), 0.0);
        let block_s = 0.00133;
        // 16 blocks at once every 21 ms.
        let gap = |call: usize| {
            if call.is_multiple_of(16) {
                0.021
            } else {
                0.000_01
            }
        };
        run(&mut pace, &mut now_s, 10_000, block_s, gap, |pace| {
            pace.longest_wait().as_secs_f64().min(0.001)
        });
        assert!(!pace.free_wheels());
    }

    #[test]
    fn a_host_that_catches_up_after_an_interruption_is_not_waited_for() {
        let (mut pace, mut now_s) = (Pace::new(LEAST_AHEAD_S), 0.0);
        let block_s = 0.0053;
        // Every second it is held up for 30 ms, and plays what it missed at once.
        for call in 0..20_000 {
            let gap_s = match call % 188 {
                100 => 0.030 + block_s,
                101..=105 => 0.000_02,
                _ => block_s * 0.99,
            };
            run(&mut pace, &mut now_s, 1, block_s, |_| gap_s, |_| 0.0);
            let wait = pace.longest_wait();
            assert!(wait < Duration::from_millis(1), "call {call}: {wait:?}");
        }
    }

    #[test]
    fn a_rendering_host_is_recognised_before_the_first_sound_is_due() {
        for (block_s, without_block_s) in [(0.021, 0.060), (0.001_33, 0.027_5), (0.032, 0.0245)] {
            let (mut pace, mut now_s) = (Pace::new(without_block_s), 0.0);
            let mut asked_s = block_s;
            while asked_s < without_block_s + block_s {
                run(&mut pace, &mut now_s, 1, block_s, |_| 0.000_001, |_| 0.0);
                asked_s += block_s;
            }
            pace.begin(now_s);
            assert!(pace.free_wheels(), "blocks of {block_s} s");
        }
    }

    #[test]
    fn a_rendering_host_stays_recognised_while_a_slow_voice_holds_it_up() {
        let (mut pace, mut now_s) = (Pace::new(LEAST_AHEAD_S), 0.0);
        // Load 3, with a hiccup of 50 ms now and then, for three minutes.
        run(
            &mut pace,
            &mut now_s,
            8_000,
            0.021,
            |call| if call % 500 == 499 { 0.05 } else { 0.000_2 },
            |_| 0.063,
        );
        assert!(pace.free_wheels());
        assert_eq!(pace.longest_wait(), LONGEST_WAIT);
    }

    #[test]
    fn a_host_that_renders_many_tracks_in_turn_stays_recognised() {
        let (mut pace, mut now_s) = (Pace::new(LEAST_AHEAD_S), 0.0);
        // 256 ms of audio at once, then as long away as the other tracks take.
        for turn in 0..20 {
            for block in 0..8 {
                let gap_s = if block == 0 { 0.1 } else { 0.000_1 };
                run(&mut pace, &mut now_s, 1, 0.032, |_| gap_s, |_| 0.0);
                assert!(
                    turn == 0 || pace.free_wheels(),
                    "turn {turn}, block {block}"
                );
            }
        }
        run(&mut pace, &mut now_s, 2, 0.032, |_| 0.033, |_| 0.0);
        assert!(!pace.free_wheels(), "it plays in real time");
    }

    #[test]
    fn a_host_back_in_real_time_is_believed_within_seconds() {
        let (mut pace, mut now_s) = (Pace::new(LEAST_AHEAD_S), 0.0);
        run(&mut pace, &mut now_s, 5_000, 0.021, |_| 0.001, |_| 0.0);
        assert!(pace.free_wheels());
        run(&mut pace, &mut now_s, 100, 0.021, |_| 0.0215, |_| 0.0);
        assert!(!pace.free_wheels());
    }
}
