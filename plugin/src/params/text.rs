//! Text of parameter values, both ways.
//!
//! Writers give the bare number: the unit is the parameter's own, so that hosts
//! which read numbers from texts (and show the unit beside them) can. Readers
//! accept the unit or leave it out, a comma for the decimal point, the
//! typographic minus and any letter case. What a writer here produces, its
//! reader turns back into the same text.

use timbra_engine::controls::GATE_OFF_DB;

/// Splits `"−3,5 st"` into −3.5 and `"st"`; `None` when it starts with no number.
fn number_and_unit(text: &str) -> Option<(f32, String)> {
    let text: String = text
        .trim()
        .chars()
        .map(|c| match c {
            ',' => '.',
            '\u{2212}' => '-',
            c => c.to_ascii_lowercase(),
        })
        .collect();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let number: f32 = text[..end].parse().ok()?;
    number
        .is_finite()
        .then(|| (number, text[end..].trim().to_owned()))
}

/// Rounds to `decimals` and turns −0 into 0, so that text does not depend on noise below the last digit.
fn rounded(value: f32, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (f64::from(value) * scale).round() / scale + 0.0
}

/// `+3.25`, `0.00`: semitones with cents as decimals.
pub fn semitones_to_text(semitones: f32) -> String {
    let semitones = rounded(semitones, 2);
    if semitones == 0.0 {
        "0.00".to_owned()
    } else {
        format!("{semitones:+.2}")
    }
}

/// Reads semitones; `cents` and `octaves` are understood too.
pub fn text_to_semitones(text: &str) -> Option<f32> {
    let (number, unit) = number_and_unit(text)?;
    match unit.as_str() {
        "" | "st" | "semi" | "semitone" | "semitones" => Some(number),
        "c" | "ct" | "cent" | "cents" => Some(number / 100.0),
        "oct" | "octave" | "octaves" => Some(number * 12.0),
        _ => None,
    }
}

/// `62.5`: a ratio 0..1 in percent.
pub fn ratio_to_text(ratio: f32) -> String {
    format!("{:.1}", rounded(ratio * 100.0, 1))
}

/// Reads percent, with or without the sign.
pub fn text_to_ratio(text: &str) -> Option<f32> {
    let (number, unit) = number_and_unit(text)?;
    match unit.as_str() {
        "" | "%" | "percent" => Some(number / 100.0),
        _ => None,
    }
}

/// `+1.5`.
pub fn decibels_to_text(decibels: f32) -> String {
    let decibels = rounded(decibels, 1);
    if decibels == 0.0 {
        "0.0".to_owned()
    } else {
        format!("{decibels:+.1}")
    }
}

/// Reads decibels.
pub fn text_to_decibels(text: &str) -> Option<f32> {
    let (number, unit) = number_and_unit(text)?;
    matches!(unit.as_str(), "" | "db" | "dbfs").then_some(number)
}

/// Reads a gate threshold; `off` and `-inf` switch it off.
pub fn text_to_gate(text: &str) -> Option<f32> {
    match text.trim().to_ascii_lowercase().as_str() {
        "off" | "-inf" | "-inf db" => Some(GATE_OFF_DB),
        text => text_to_decibels(text),
    }
}

/// `20.0`.
pub fn milliseconds_to_text(milliseconds: f32) -> String {
    format!("{:.1}", rounded(milliseconds, 1))
}

/// Reads milliseconds; seconds are understood too, and `off` is none.
pub fn text_to_milliseconds(text: &str) -> Option<f32> {
    if text.trim().eq_ignore_ascii_case("off") {
        return Some(0.0);
    }
    let (number, unit) = number_and_unit(text)?;
    match unit.as_str() {
        "" | "ms" => Some(number),
        "s" => Some(number * 1000.0),
        _ => None,
    }
}

/// `440.0`.
pub fn hertz_to_text(hertz: f32) -> String {
    format!("{:.1}", rounded(hertz, 1))
}

/// Reads hertz.
pub fn text_to_hertz(text: &str) -> Option<f32> {
    let (number, unit) = number_and_unit(text)?;
    matches!(unit.as_str(), "" | "hz").then_some(number)
}

/// `On` or `Off`.
pub fn switch_to_text(on: bool) -> String {
    if on { "On" } else { "Off" }.to_owned()
}

/// Reads a switch; anything but the usual words is refused instead of taken for off.
pub fn text_to_switch(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a whole number.
pub fn text_to_integer(text: &str) -> Option<i32> {
    let (number, unit) = number_and_unit(text)?;
    (unit.is_empty() && number.fract() == 0.0 && number.abs() < 1e6).then_some(number as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_optional_and_other_units_are_refused() {
        assert_eq!(text_to_semitones("3.25"), Some(3.25));
        assert_eq!(text_to_semitones("+3.25 ST"), Some(3.25));
        assert_eq!(text_to_semitones("\u{2212}3,25st"), Some(-3.25));
        assert_eq!(text_to_semitones("325 cents"), Some(3.25));
        assert_eq!(text_to_semitones("-1 oct"), Some(-12.0));
        assert_eq!(text_to_semitones("3 dB"), None);
        assert_eq!(text_to_semitones("st"), None);
        assert_eq!(text_to_semitones(""), None);
        assert_eq!(text_to_ratio("50"), Some(0.5));
        assert_eq!(text_to_ratio("50%"), Some(0.5));
        assert_eq!(text_to_decibels("-6.5"), Some(-6.5));
        assert_eq!(text_to_decibels("-6.5 dB"), Some(-6.5));
        assert_eq!(text_to_gate("off"), Some(GATE_OFF_DB));
        assert_eq!(text_to_gate("-40"), Some(-40.0));
        assert_eq!(text_to_milliseconds("20"), Some(20.0));
        assert_eq!(text_to_milliseconds("0.03 s"), Some(30.0));
        assert_eq!(text_to_milliseconds("Off"), Some(0.0));
        assert_eq!(text_to_milliseconds("20 Hz"), None);
        assert_eq!(text_to_hertz("442.5 Hz"), Some(442.5));
        assert_eq!(text_to_hertz("442.5 ms"), None);
        assert_eq!(text_to_switch("Yes"), Some(true));
        assert_eq!(text_to_switch("perhaps"), None);
        assert_eq!(text_to_integer("12"), Some(12));
        assert_eq!(text_to_integer("1.5"), None);
    }

    #[test]
    fn not_a_number_is_never_read() {
        for text in ["nan", "inf", "-inf st", "1e99999", "--3", "3..2"] {
            assert_eq!(text_to_semitones(text), None, "{text}");
        }
    }

    #[test]
    fn texts_are_stable_under_reading_back() {
        for step in -2400..=2400 {
            let text = semitones_to_text(step as f32 / 100.0 + 0.003);
            assert_eq!(
                text_to_semitones(&text).map(semitones_to_text),
                Some(text.clone())
            );
        }
        assert_eq!(semitones_to_text(-0.001), "0.00");
        assert_eq!(decibels_to_text(-0.01), "0.0");
    }
}
