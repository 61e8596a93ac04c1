//! The MIDI note that is to be sung, and which one that is when several keys are down.

/// The note that is to be sung at a moment, or none; or, over a stretch of time, its mean.
///
/// A switch would be taken once per frame, up to half a frame late or early. So it is kept as two numbers that can be
/// averaged like any other control: for which share of the time a note is held, and which note it is then. Between a
/// note and none the note does not move (0 is no note, and no mean goes there), and the share says how much it counts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HeldNote {
    /// 0..1.
    share: f32,
    /// MIDI number; 0 where the share is 0.
    note: f32,
}

impl HeldNote {
    /// No key is down.
    pub const NONE: Self = Self {
        share: 0.0,
        note: 0.0,
    };

    /// A key is down, 60 = C4, at most 127.
    ///
    /// Real-time: yes.
    pub fn of(note: u8) -> Self {
        Self {
            share: 1.0,
            note: f32::from(note.min(127)),
        }
    }

    /// For which share of the time a note is held, 0..1, and the mean of its MIDI number while it is.
    ///
    /// Real-time: yes.
    pub fn share_and_note(&self) -> (f32, f32) {
        (self.share, self.note)
    }

    /// What has crossed a ring; any two numbers are one.
    pub(crate) fn from_share_and_note(share: f32, note: f32) -> Self {
        Self { share, note }.sane()
    }

    pub(super) fn sane(&self) -> Self {
        let share = super::within(self.share, 0.0, 1.0, 0.0);
        if share > 0.0 {
            Self {
                share,
                note: super::within(self.note, 0.0, 127.0, 0.0),
            }
        } else {
            Self::NONE
        }
    }

    pub(super) fn towards(&self, next: &Self, fraction: f32) -> Self {
        if self == next {
            return *self;
        }
        let share = super::line(self.share, next.share, fraction);
        if share <= 0.0 {
            return Self::NONE;
        }
        let weighted = super::line(self.share * self.note, next.share * next.note, fraction);
        Self {
            share,
            note: weighted / share,
        }
    }
}

/// The keys that are down, and the one that was pressed last among them.
///
/// A key that is let go gives way to the one pressed last before it. Keys are told apart by channel and number, and a
/// key pressed again counts as pressed last. Of more than [`Self::CAPACITY`] keys the ones pressed first are forgotten.
///
/// Real-time: nothing allocates.
#[derive(Debug, Clone)]
pub struct HeldKeys {
    /// Channel and number, in the order of pressing.
    keys: [(u8, u8); Self::CAPACITY],
    count: usize,
}

impl Default for HeldKeys {
    fn default() -> Self {
        Self {
            keys: [(0, 0); Self::CAPACITY],
            count: 0,
        }
    }
}

impl HeldKeys {
    /// Most keys that are kept in mind.
    pub const CAPACITY: usize = 32;

    /// A key goes down.
    pub fn press(&mut self, channel: u8, note: u8) {
        self.release(Some(channel), Some(note));
        if self.count == Self::CAPACITY {
            self.keys.rotate_left(1);
            self.count -= 1;
        }
        self.keys[self.count] = (channel, note);
        self.count += 1;
    }

    /// A key goes up; `None` stands for every channel or every key.
    pub fn release(&mut self, channel: Option<u8>, note: Option<u8>) {
        let mut kept = 0;
        for index in 0..self.count {
            let key = self.keys[index];
            let goes_up = channel.is_none_or(|channel| channel == key.0)
                && note.is_none_or(|note| note == key.1);
            if !goes_up {
                self.keys[kept] = key;
                kept += 1;
            }
        }
        self.count = kept;
    }

    /// All keys are up.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// The note that is to be sung.
    pub fn note(&self) -> HeldNote {
        self.keys[..self.count]
            .last()
            .map_or(HeldNote::NONE, |&(_, note)| HeldNote::of(note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_pressed_last_counts_until_it_is_let_go() {
        let mut keys = HeldKeys::default();
        assert_eq!(keys.note(), HeldNote::NONE);
        keys.press(0, 60);
        keys.press(0, 64);
        keys.press(1, 64);
        assert_eq!(keys.note(), HeldNote::of(64));
        keys.release(Some(1), Some(64));
        assert_eq!(keys.note(), HeldNote::of(64), "the other channel's");
        keys.release(Some(0), Some(64));
        assert_eq!(keys.note(), HeldNote::of(60));
        keys.release(Some(0), Some(61));
        assert_eq!(keys.note(), HeldNote::of(60), "was never down");
        keys.press(0, 67);
        keys.press(0, 60);
        assert_eq!(keys.note(), HeldNote::of(60), "again");
        keys.release(None, Some(60));
        assert_eq!(keys.note(), HeldNote::of(67));
        keys.release(None, None);
        assert_eq!(keys.note(), HeldNote::NONE);
    }

    #[test]
    fn more_keys_than_there_are_fingers_forget_the_first() {
        let mut keys = HeldKeys::default();
        for note in 0..=127 {
            keys.press(0, note);
        }
        for note in (127 - HeldKeys::CAPACITY as u8 + 1..=127).rev() {
            assert_eq!(keys.note(), HeldNote::of(note));
            keys.release(Some(0), Some(note));
        }
        assert_eq!(keys.note(), HeldNote::NONE);
    }

    #[test]
    fn a_mean_over_a_note_and_none_is_that_note_for_a_share_of_the_time() {
        let c4 = HeldNote::of(60);
        for (from, to, share) in [(HeldNote::NONE, c4, 0.25), (c4, HeldNote::NONE, 0.75)] {
            let (held, note) = from.towards(&to, 0.25).share_and_note();
            assert!((held - share).abs() < 1e-6 && (note - 60.0).abs() < 1e-4);
        }
        let (held, note) = c4.towards(&HeldNote::of(64), 0.5).share_and_note();
        assert_eq!((held, note), (1.0, 62.0));
        assert_eq!(c4.towards(&HeldNote::NONE, 1.0), HeldNote::NONE);
    }

    #[test]
    fn nonsense_is_a_note_or_none() {
        for (share, note) in [(f32::NAN, 60.0), (0.0, 60.0), (-1.0, f32::NAN)] {
            assert_eq!(HeldNote::from_share_and_note(share, note), HeldNote::NONE);
        }
        let wild = HeldNote::from_share_and_note(7.0, 1e9);
        assert_eq!(wild, HeldNote::of(127));
        assert_eq!(HeldNote::of(255), HeldNote::of(127));
    }
}
