//! Arguments that move F0 to the notes of a scale.

use clap::ValueEnum;
use timbra_engine::Controls;
use timbra_engine::controls::{
    CONCERT_PITCH_HZ, MAX_RETUNE_MS, REFERENCE_HZ, RetuneControls, RetuneMode, Scale,
};

/// The arguments about notes.
#[derive(Debug, Clone, clap::Args)]
pub struct Retune {
    /// Move what is sung, after --pitch and --auto-pitch, to the nearest note of a scale
    #[arg(long, value_enum, value_name = "NAME")]
    pub scale: Option<ScaleName>,

    /// Root of the scale: C, F#, Bb …
    #[arg(long, value_name = "NOTE", default_value = "C", value_parser = key_of)]
    pub key: u8,

    /// Time constant with which it goes to its note, 0 (at once) to 400
    #[arg(long, value_name = "MS", default_value_t = RetuneControls::default().speed_ms)]
    pub retune_ms: f32,

    /// How much of the singer's own movement (vibrato) a long note keeps, 0 to 1
    #[arg(long, value_name = "R", default_value_t = 0.0)]
    pub humanise: f32,

    /// How much of the correction is made, 0 to 1
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    pub retune_amount: f32,

    /// A4, 415 to 466
    #[arg(long, value_name = "HZ", default_value_t = CONCERT_PITCH_HZ)]
    pub reference: f32,
}

/// Names of [`Scale`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleName(pub Scale);

impl ValueEnum for ScaleName {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [ScaleName; Scale::ALL.len()] = {
            let mut all = [ScaleName(Scale::Chromatic); Scale::ALL.len()];
            let mut index = 0;
            while index < all.len() {
                all[index] = ScaleName(Scale::ALL[index]);
                index += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self.0 {
            Scale::Chromatic => "chromatic",
            Scale::Major => "major",
            Scale::NaturalMinor => "natural-minor",
            Scale::HarmonicMinor => "harmonic-minor",
            Scale::MelodicMinor => "melodic-minor",
            Scale::Dorian => "dorian",
            Scale::Phrygian => "phrygian",
            Scale::Lydian => "lydian",
            Scale::Mixolydian => "mixolydian",
            Scale::Locrian => "locrian",
            Scale::MajorPentatonic => "major-pentatonic",
            Scale::MinorPentatonic => "minor-pentatonic",
            Scale::Blues => "blues",
            Scale::WholeTone => "whole-tone",
        }))
    }
}

/// The number of a key, 0 = C: a letter and signs, `#` or `b`.
fn key_of(text: &str) -> Result<u8, String> {
    let wrong = || format!("\"{text}\" is no key; expected C, C#, Db, D … to B");
    let mut letters = text.trim().chars();
    let natural = match letters.next().map(|letter| letter.to_ascii_uppercase()) {
        Some('C') => 0,
        Some('D') => 2,
        Some('E') => 4,
        Some('F') => 5,
        Some('G') => 7,
        Some('A') => 9,
        Some('B') => 11,
        _ => return Err(wrong()),
    };
    let sign = match letters.as_str() {
        "" => 0,
        "#" | "\u{266f}" => 1,
        "b" | "\u{266d}" => 11,
        _ => return Err(wrong()),
    };
    Ok((natural + sign) % 12)
}

impl Retune {
    /// What the engine is told.
    #[must_use]
    pub fn controls(&self) -> RetuneControls {
        RetuneControls {
            mode: match self.scale {
                Some(_) => RetuneMode::Scale,
                None => RetuneMode::Off,
            },
            key: self.key,
            scale: self.scale.map_or(Scale::Chromatic, |name| name.0),
            speed_ms: self.retune_ms,
            humanise: self.humanise,
            amount: self.retune_amount,
            reference_hz: self.reference,
        }
    }

    /// The numbers with their names and what they may be.
    #[must_use]
    pub fn ranges(&self) -> [(&'static str, f32, f32, f32); 4] {
        let (lowest_hz, highest_hz) = REFERENCE_HZ;
        [
            ("--retune-ms", self.retune_ms, 0.0, MAX_RETUNE_MS),
            ("--humanise", self.humanise, 0.0, 1.0),
            ("--retune-amount", self.retune_amount, 0.0, 1.0),
            ("--reference", self.reference, lowest_hz, highest_hz),
        ]
    }

    /// Whether something is asked for that is nothing without a scale.
    #[must_use]
    pub fn lacks_a_scale(&self) -> bool {
        let otherwise = RetuneControls {
            mode: RetuneMode::Off,
            ..Controls::default().retune
        };
        self.scale.is_none() && self.controls() != otherwise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_musicians_write_them() {
        for (text, key) in [
            ("C", 0),
            ("c", 0),
            ("C#", 1),
            ("Db", 1),
            ("Cb", 11),
            ("B#", 0),
            ("F#", 6),
            ("bb", 10),
            ("B", 11),
        ] {
            assert_eq!(key_of(text), Ok(key), "{text}");
        }
        for text in ["", "H", "C##", "C minor", "7"] {
            assert!(key_of(text).is_err(), "{text}");
        }
    }
}
