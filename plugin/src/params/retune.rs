//! Parameters that move F0 to notes.

use std::sync::Arc;

use nice_plug::prelude::*;
use timbra_engine::controls::{
    CONCERT_PITCH_HZ, MAX_RETUNE_MS, REFERENCE_HZ, RetuneControls, RetuneMode as Mode,
    Scale as EngineScale,
};

use super::{milliseconds, ratio, text};

/// Where the notes come from that F0 is moved to.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetuneMode {
    /// F0 stays as it is.
    #[id = "off"]
    #[name = "Off"]
    Off,
    /// The nearest note of the scale.
    #[id = "scale"]
    #[name = "Scale"]
    Scale,
    /// The MIDI note that is held.
    #[id = "midi"]
    #[name = "MIDI"]
    Midi,
}

/// Root of the scale. In the order of the keyboard.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "twelve keys of a keyboard")]
pub enum Key {
    #[id = "c"]
    #[name = "C"]
    C,
    #[id = "c_sharp"]
    #[name = "C#"]
    CSharp,
    #[id = "d"]
    #[name = "D"]
    D,
    #[id = "d_sharp"]
    #[name = "D#"]
    DSharp,
    #[id = "e"]
    #[name = "E"]
    E,
    #[id = "f"]
    #[name = "F"]
    F,
    #[id = "f_sharp"]
    #[name = "F#"]
    FSharp,
    #[id = "g"]
    #[name = "G"]
    G,
    #[id = "g_sharp"]
    #[name = "G#"]
    GSharp,
    #[id = "a"]
    #[name = "A"]
    A,
    #[id = "a_sharp"]
    #[name = "A#"]
    ASharp,
    #[id = "b"]
    #[name = "B"]
    B,
}

/// The notes there are. In the order of the engine's.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names are what musicians call them")]
pub enum Scale {
    #[id = "chromatic"]
    #[name = "Chromatic"]
    Chromatic,
    #[id = "major"]
    #[name = "Major"]
    Major,
    #[id = "natural_minor"]
    #[name = "Natural minor"]
    NaturalMinor,
    #[id = "harmonic_minor"]
    #[name = "Harmonic minor"]
    HarmonicMinor,
    #[id = "melodic_minor"]
    #[name = "Melodic minor"]
    MelodicMinor,
    #[id = "dorian"]
    #[name = "Dorian"]
    Dorian,
    #[id = "phrygian"]
    #[name = "Phrygian"]
    Phrygian,
    #[id = "lydian"]
    #[name = "Lydian"]
    Lydian,
    #[id = "mixolydian"]
    #[name = "Mixolydian"]
    Mixolydian,
    #[id = "locrian"]
    #[name = "Locrian"]
    Locrian,
    #[id = "major_pentatonic"]
    #[name = "Major pentatonic"]
    MajorPentatonic,
    #[id = "minor_pentatonic"]
    #[name = "Minor pentatonic"]
    MinorPentatonic,
    #[id = "blues"]
    #[name = "Blues"]
    Blues,
    #[id = "whole_tone"]
    #[name = "Whole tone"]
    WholeTone,
}

impl From<RetuneMode> for Mode {
    fn from(mode: RetuneMode) -> Self {
        match mode {
            RetuneMode::Off => Self::Off,
            RetuneMode::Scale => Self::Scale,
            RetuneMode::Midi => Self::Midi,
        }
    }
}

impl From<Scale> for EngineScale {
    fn from(scale: Scale) -> Self {
        match scale {
            Scale::Chromatic => Self::Chromatic,
            Scale::Major => Self::Major,
            Scale::NaturalMinor => Self::NaturalMinor,
            Scale::HarmonicMinor => Self::HarmonicMinor,
            Scale::MelodicMinor => Self::MelodicMinor,
            Scale::Dorian => Self::Dorian,
            Scale::Phrygian => Self::Phrygian,
            Scale::Lydian => Self::Lydian,
            Scale::Mixolydian => Self::Mixolydian,
            Scale::Locrian => Self::Locrian,
            Scale::MajorPentatonic => Self::MajorPentatonic,
            Scale::MinorPentatonic => Self::MinorPentatonic,
            Scale::Blues => Self::Blues,
            Scale::WholeTone => Self::WholeTone,
        }
    }
}

/// Moves F0 to the notes of a scale or to MIDI notes.
#[derive(Params)]
pub struct RetuneParams {
    /// Where the notes come from.
    #[id = "retune_mode"]
    pub mode: EnumParam<RetuneMode>,
    /// Root of the scale.
    #[id = "retune_key"]
    pub key: EnumParam<Key>,
    /// The notes there are above the root.
    #[id = "retune_scale"]
    pub scale: EnumParam<Scale>,
    /// Time constant with which F0 goes to its note, in milliseconds.
    #[id = "retune_speed"]
    pub speed: FloatParam,
    /// How much of the singer's own movement a long note keeps, 0..1.
    #[id = "retune_humanise"]
    pub humanise: FloatParam,
    /// How much of the correction is made, 0..1.
    #[id = "retune_amount"]
    pub amount: FloatParam,
    /// A4 in Hz.
    #[id = "retune_reference"]
    pub reference: FloatParam,
}

impl RetuneParams {
    /// The values the host has set, as the engine takes them.
    ///
    /// Real-time: yes.
    pub fn controls(&self) -> RetuneControls {
        RetuneControls {
            mode: self.mode.value().into(),
            key: self.key.value() as u8,
            scale: self.scale.value().into(),
            speed_ms: self.speed.value(),
            humanise: self.humanise.value(),
            amount: self.amount.value(),
            reference_hz: self.reference.value(),
        }
    }
}

impl Default for RetuneParams {
    fn default() -> Self {
        let usual = RetuneControls::default();
        let (lowest_hz, highest_hz) = REFERENCE_HZ;
        Self {
            mode: EnumParam::new("Retune", RetuneMode::Off),
            key: EnumParam::new("Key", Key::C),
            scale: EnumParam::new("Scale", Scale::Chromatic),
            speed: milliseconds("Retune speed", usual.speed_ms, MAX_RETUNE_MS),
            humanise: ratio("Humanise", usual.humanise),
            amount: ratio("Retune amount", usual.amount),
            reference: FloatParam::new(
                "Reference pitch",
                CONCERT_PITCH_HZ,
                FloatRange::Linear {
                    min: lowest_hz,
                    max: highest_hz,
                },
            )
            .with_unit(" Hz")
            .with_value_to_string(Arc::new(text::hertz_to_text))
            .with_string_to_value(Arc::new(text::text_to_hertz)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_scales_are_those_of_the_engine() {
        let keys = Key::variants();
        for (index, name) in keys.iter().enumerate() {
            assert_eq!(Key::from_index(index) as usize, index, "{name}");
        }
        assert_eq!(
            (keys.len(), keys[0], keys[9], keys[11]),
            (12, "C", "A", "B")
        );
        let scales: Vec<EngineScale> = (0..Scale::variants().len())
            .map(|index| Scale::from_index(index).into())
            .collect();
        assert_eq!(scales, EngineScale::ALL);
    }
}
