//! What the user can turn about notes: which ones there are, how fast F0 goes there, and how much of it.

/// Slowest retuning: the time constant with which F0 goes to its note.
pub const MAX_RETUNE_MS: f32 = 400.0;

/// A4 of the highest and the lowest tuning, in Hz: from a baroque pitch to the highest of the nineteenth century.
pub const REFERENCE_HZ: (f32, f32) = (415.0, 466.0);

/// A4 of the usual tuning (ISO 16).
pub const CONCERT_PITCH_HZ: f32 = 440.0;

/// Where the notes come from that F0 is moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetuneMode {
    /// From nowhere: F0 stays as it is.
    #[default]
    Off,
    /// From a scale: the nearest of its notes.
    Scale,
    /// From the MIDI notes that are held: the one pressed last, in its own octave. Without one F0 stays as it is.
    Midi,
}

/// The notes of an octave that a scale has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "their names are what musicians call them")]
pub enum Scale {
    #[default]
    Chromatic,
    Major,
    NaturalMinor,
    HarmonicMinor,
    /// As it is played upwards.
    MelodicMinor,
    Dorian,
    Phrygian,
    Lydian,
    Mixolydian,
    Locrian,
    MajorPentatonic,
    MinorPentatonic,
    /// The minor one, of six notes.
    Blues,
    WholeTone,
}

impl Scale {
    /// All of them, in the order in which they are numbered.
    pub const ALL: [Self; 14] = [
        Self::Chromatic,
        Self::Major,
        Self::NaturalMinor,
        Self::HarmonicMinor,
        Self::MelodicMinor,
        Self::Dorian,
        Self::Phrygian,
        Self::Lydian,
        Self::Mixolydian,
        Self::Locrian,
        Self::MajorPentatonic,
        Self::MinorPentatonic,
        Self::Blues,
        Self::WholeTone,
    ];

    /// Its notes in semitones above the key, rising from 0.
    ///
    /// Real-time: yes.
    pub const fn semitones(self) -> &'static [u8] {
        match self {
            Self::Chromatic => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
            Self::Major => &[0, 2, 4, 5, 7, 9, 11],
            Self::NaturalMinor => &[0, 2, 3, 5, 7, 8, 10],
            Self::HarmonicMinor => &[0, 2, 3, 5, 7, 8, 11],
            Self::MelodicMinor => &[0, 2, 3, 5, 7, 9, 11],
            Self::Dorian => &[0, 2, 3, 5, 7, 9, 10],
            Self::Phrygian => &[0, 1, 3, 5, 7, 8, 10],
            Self::Lydian => &[0, 2, 4, 6, 7, 9, 11],
            Self::Mixolydian => &[0, 2, 4, 5, 7, 9, 10],
            Self::Locrian => &[0, 1, 3, 5, 6, 8, 10],
            Self::MajorPentatonic => &[0, 2, 4, 7, 9],
            Self::MinorPentatonic => &[0, 3, 5, 7, 10],
            Self::Blues => &[0, 3, 5, 6, 7, 10],
            Self::WholeTone => &[0, 2, 4, 6, 8, 10],
        }
    }

    /// Whether a note belongs to it.
    ///
    /// Real-time: yes.
    pub fn has(self, key: u8, note: i32) -> bool {
        let above = (note - i32::from(key)).rem_euclid(12);
        self.semitones()
            .iter()
            .any(|&semitones| i32::from(semitones) == above)
    }

    /// Its note nearest to a pitch, the lower one half way between two. Pitch and note are MIDI numbers.
    ///
    /// Real-time: yes.
    pub fn nearest(self, key: u8, pitch: f32) -> i32 {
        let pitch = pitch.clamp(-256.0, 256.0);
        let middle = pitch.floor() as i32;
        // No scale has a wider gap than an octave.
        (middle - 12..=middle + 12)
            .filter(|&note| self.has(key, note))
            .min_by(|&a, &b| {
                let distance = |note: i32| (note as f32 - pitch).abs();
                distance(a).total_cmp(&distance(b))
            })
            .unwrap_or(middle)
    }
}

/// How F0 is moved to notes. See [`Retuner`](crate::steering::Retuner) for what the numbers do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetuneControls {
    /// Where the notes come from.
    pub mode: RetuneMode,
    /// Root of the scale, 0 = C to 11 = B.
    pub key: u8,
    /// The notes there are above the root.
    pub scale: Scale,
    /// Time constant with which F0 goes to its note, 0 (at once)..[`MAX_RETUNE_MS`].
    pub speed_ms: f32,
    /// How much of the singer's own movement a long note keeps, 0..1.
    pub humanise: f32,
    /// How much of the correction is made, 0..1.
    pub amount: f32,
    /// A4, in Hz, within [`REFERENCE_HZ`].
    pub reference_hz: f32,
}

impl Default for RetuneControls {
    /// Off. Once it is on: every note of the keyboard, in 30 ms.
    fn default() -> Self {
        Self {
            mode: RetuneMode::Off,
            key: 0,
            scale: Scale::Chromatic,
            speed_ms: 30.0,
            humanise: 0.0,
            amount: 1.0,
            reference_hz: CONCERT_PITCH_HZ,
        }
    }
}

impl RetuneControls {
    pub(super) fn sane(&self) -> Self {
        let within = super::within;
        let (lowest_hz, highest_hz) = REFERENCE_HZ;
        let usual = Self::default();
        Self {
            key: self.key % 12,
            speed_ms: within(self.speed_ms, 0.0, MAX_RETUNE_MS, usual.speed_ms),
            humanise: within(self.humanise, 0.0, 1.0, usual.humanise),
            amount: within(self.amount, 0.0, 1.0, usual.amount),
            reference_hz: within(self.reference_hz, lowest_hz, highest_hz, CONCERT_PITCH_HZ),
            ..*self
        }
    }

    pub(super) fn towards(&self, next: &Self, fraction: f32) -> Self {
        let line = |from, to| super::line(from, to, fraction);
        Self {
            speed_ms: line(self.speed_ms, next.speed_ms),
            humanise: line(self.humanise, next.humanise),
            amount: line(self.amount, next.amount),
            reference_hz: line(self.reference_hz, next.reference_hz),
            ..*self
        }
    }

    pub(super) fn with_switches_of(&self, other: &Self) -> Self {
        Self {
            mode: other.mode,
            key: other.key,
            scale: other.scale,
            ..*self
        }
    }
}
