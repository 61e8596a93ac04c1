//! Moves F0 to the notes of a scale, or to the MIDI note that is held.

use crate::controls::{CONCERT_PITCH_HZ, HeldNote, RetuneControls, RetuneMode};

/// A4 as a MIDI number.
const A4: f32 = 69.0;
/// Time between two frames.
const FRAME_MS: f32 = 10.0;
/// F0 leaves a note of a scale when it is so far beyond the middle between it and the next: this share of the way between
/// the two, within these semitones. So a whole tone bears more of a vibrato in its middle than a semitone can.
const HYSTERESIS: f32 = 0.15;
const HYSTERESIS_SEMITONES: (f32, f32) = (0.2, 0.4);
/// Note and correction last through a consonant of up to 150 ms; after a longer one F0 begins anew.
const HOLD_FRAMES: u64 = 15;
/// A note is brought to its pitch whole for 100 ms; what is sung from there on is its middle.
const ONSET_FRAMES: u32 = 10;
/// From there on humanise takes 200 ms to come in fully: by then the middle is known from a whole turn of a vibrato.
const ENTRY_FRAMES: u32 = 20;
/// The middle of a note is a mean over all of it, up to this time constant of 400 ms, so that it follows a voice that sinks.
const MIDDLE_FRAMES: u32 = 40;
/// Where less than this is missing, a correction has arrived: .01 cents.
const ARRIVED_SEMITONES: f32 = 1e-4;

/// Moves F0 to notes, as fast and as far as it is asked to.
///
/// In semitones, per voiced frame of 10 ms: with p what would be sung and n the note, the correction that is wanted is
///
/// > w = n − (p + h · (m − p))
///
/// and the correction c follows it, c ← c + (1 − e^(−10 ms / speed)) · (w − c): after `speed_ms`, 63 % of the way to a note
/// is gone, at 0 all of it at once. What leaves is p + amount · c.
///
/// *Humanise.* m is the middle of the note so far, a running mean of p since 100 ms after the note began, and h is 0 up
/// to there and then rises to `humanise` within 200 ms. So a short note, and every beginning, is retuned whole; of a long
/// one at 0 the singer's p is brought to the note (everything is flat once c has arrived), at 1 its middle is, and what
/// moves around the middle faster than its time constant of 400 ms stays: a vibrato of 5 Hz with all of its depth. In
/// between, that share of it stays. A slow speed keeps vibrato as well, for c cannot follow it; humanise is what keeps
/// it where speed is fast.
///
/// *Which note.* In a scale the nearest to p, except that the note before is kept until p is 0.2 semitones beyond the middle
/// between the two: what is sung between two notes does not flutter. By MIDI the note that is held, where it is; its
/// share of the time around the frame counts, so that a key is heard when it is pressed whatever the frames. Without
/// one the wanted correction is 0, and F0 goes back to where it is sung as fast as it went away.
///
/// *Unvoiced.* c, m and the note wait while nothing is voiced, for up to 150 ms. What comes later begins anew: with the
/// whole semitones of w, so that a phrase does not start with a slide over an octave, and the rest of it is the singer's
/// own approach to the note, which speed decides on.
///
/// Off, or at an amount of 0, F0 leaves as it came, to the bit.
#[derive(Debug, Clone, Default)]
pub struct Retuner {
    last_voiced: Option<u64>,
    /// Between whole numbers only while one MIDI note follows another.
    note: Option<f32>,
    /// Voiced frames of this note, and their middle.
    note_frames: u32,
    middle: f32,
    correction_semitones: f32,
}

impl Retuner {
    /// Takes F0 of frame `index` as it would be sung (0 = unvoiced) and gives it as it is to be sung.
    ///
    /// Real-time: no allocation.
    pub fn push(
        &mut self,
        index: u64,
        f0_hz: f32,
        controls: &RetuneControls,
        held: HeldNote,
    ) -> f32 {
        if f0_hz <= 0.0 {
            return 0.0;
        }
        let before = self.last_voiced.replace(index);
        let goes_on = before.is_some_and(|last| index.saturating_sub(last) <= HOLD_FRAMES);
        if !goes_on {
            self.note = None;
            self.correction_semitones = 0.0;
        }
        let reference_hz = if controls.reference_hz > 0.0 {
            controls.reference_hz
        } else {
            CONCERT_PITCH_HZ
        };
        let pitch = A4 + 12.0 * (f0_hz / reference_hz).log2();
        let (share, note) = self.target(pitch, controls, held);
        self.follow(pitch, note);
        let wanted = note.map_or(0.0, |note| {
            share * (note - self.humanised(pitch, controls.humanise))
        });
        if !goes_on {
            self.correction_semitones = wanted.round();
        }
        let way = wanted - self.correction_semitones;
        self.correction_semitones = if controls.speed_ms <= 0.0 || way.abs() < ARRIVED_SEMITONES {
            wanted
        } else {
            self.correction_semitones - way * (-FRAME_MS / controls.speed_ms).exp_m1()
        };
        let made = controls.amount * self.correction_semitones;
        if made == 0.0 {
            f0_hz
        } else {
            f0_hz * (made / 12.0).exp2()
        }
    }

    /// The note to go to, and how much it counts.
    fn target(&self, pitch: f32, controls: &RetuneControls, held: HeldNote) -> (f32, Option<f32>) {
        match controls.mode {
            RetuneMode::Off => (0.0, None),
            RetuneMode::Midi => {
                let (share, note) = held.share_and_note();
                (share, (share > 0.0).then_some(note))
            }
            RetuneMode::Scale => {
                let nearest = controls.scale.nearest(controls.key, pitch) as f32;
                let farther_by = |note: f32| (pitch - note).abs() - (pitch - nearest).abs();
                let (least, most) = HYSTERESIS_SEMITONES;
                let bears = |note: f32| (HYSTERESIS * (note - nearest).abs()).clamp(least, most);
                let kept = self.note.filter(|&note| {
                    note.fract() == 0.0
                        && controls.scale.has(controls.key, note as i32)
                        // Moving the border by x makes one note x nearer and the other x farther.
                        && farther_by(note) <= 2.0 * bears(note)
                });
                (1.0, Some(kept.unwrap_or(nearest)))
            }
        }
    }

    /// Finds the middle of the note that is sung.
    fn follow(&mut self, pitch: f32, note: Option<f32>) {
        // A mean of MIDI notes is one of them but for a rounding.
        let same = self
            .note
            .zip(note)
            .is_some_and(|(before, note)| (before - note).abs() < 0.01);
        self.note = note;
        self.note_frames = if same {
            self.note_frames.saturating_add(1)
        } else {
            0
        };
        match self.note_frames.checked_sub(ONSET_FRAMES) {
            None | Some(0) => self.middle = pitch,
            Some(frames) => {
                let share = 1.0 / (frames + 1).min(MIDDLE_FRAMES) as f32;
                self.middle += share * (pitch - self.middle);
            }
        }
    }

    /// The pitch without what humanise leaves to the singer.
    fn humanised(&self, pitch: f32, humanise: f32) -> f32 {
        let entered = self.note_frames.saturating_sub(ONSET_FRAMES);
        let entry = (entered as f32 / ENTRY_FRAMES as f32).min(1.0);
        pitch + humanise * entry * (self.middle - pitch)
    }
}

#[cfg(test)]
#[path = "retune/tests.rs"]
mod tests;
