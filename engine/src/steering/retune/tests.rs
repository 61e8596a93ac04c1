//! Claims about [`Retuner`].

use super::*;
use crate::controls::Scale;

/// C4 at 440 Hz.
const C4: f32 = 60.0;

fn hz(note: f32) -> f32 {
    440.0 * ((note - 69.0) / 12.0).exp2()
}

fn note(f0_hz: f32) -> f32 {
    69.0 + 12.0 * (f0_hz / 440.0).log2()
}

fn in_scale(scale: Scale, key: u8, speed_ms: f32, humanise: f32) -> RetuneControls {
    RetuneControls {
        mode: RetuneMode::Scale,
        key,
        scale,
        speed_ms,
        humanise,
        ..RetuneControls::default()
    }
}

fn by_midi(speed_ms: f32) -> RetuneControls {
    RetuneControls {
        mode: RetuneMode::Midi,
        speed_ms,
        ..RetuneControls::default()
    }
}

/// What becomes of a contour of MIDI numbers, NaN being unvoiced.
fn retuned(notes: &[f32], controls: &RetuneControls) -> Vec<f32> {
    let mut retuner = Retuner::default();
    notes
        .iter()
        .enumerate()
        .map(|(n, &sung)| {
            let f0_hz = if sung.is_nan() { 0.0 } else { hz(sung) };
            let out_hz = retuner.push(n as u64, f0_hz, controls, HeldNote::NONE);
            assert_eq!(out_hz == 0.0, sung.is_nan(), "voicing stays");
            note(out_hz)
        })
        .collect()
}

fn changes(notes: &[f32]) -> usize {
    notes
        .windows(2)
        .filter(|pair| (pair[0] - pair[1]).abs() > 0.01)
        .count()
}

/// `middle` with a vibrato of `depth` either way, 5.5 Hz.
fn vibrato(middle: f32, depth: f32, frames: usize) -> Vec<f32> {
    let turn = |n: usize| (std::f32::consts::TAU * 5.5 * 0.01 * n as f32).sin();
    (0..frames).map(|n| middle + depth * turn(n)).collect()
}

/// Mean, and half of what lies between the highest and the lowest.
fn mean_and_depth(notes: &[f32]) -> (f32, f32) {
    let mean = notes.iter().sum::<f32>() / notes.len() as f32;
    let (low, high) = notes.iter().fold((f32::MAX, f32::MIN), |(low, high), &n| {
        (low.min(n), high.max(n))
    });
    (mean, (high - low) / 2.0)
}

#[test]
fn at_once_a_glide_is_stairs_of_the_scales_notes() {
    let glide: Vec<f32> = (0..400).map(|n| 55.3 + n as f32 * 0.05).collect();
    for scale in Scale::ALL {
        for key in 0..12 {
            let found = retuned(&glide, &in_scale(scale, key, 0.0, 0.0));
            for (sung, found) in glide.iter().zip(&found) {
                let cents = 100.0 * (found - found.round()).abs();
                assert!(cents < 0.2, "{scale:?} in {key}: {sung} became {found}");
                assert!(scale.has(key, found.round() as i32), "{scale:?}: {found}");
                let nearest = scale.nearest(key, *sung) as f32;
                assert!(
                    (sung - found).abs()
                        <= (sung - nearest).abs() + 2.0 * HYSTERESIS_SEMITONES.1 + 1e-3
                );
            }
            // Up all the way, each note once.
            let notes = (found[0].round() as i32..=found[399].round() as i32)
                .filter(|&n| scale.has(key, n))
                .count();
            assert_eq!(changes(&found), notes - 1, "{scale:?} in {key}");
        }
    }
}

#[test]
fn scales_are_what_musicians_call_so() {
    // A minor is C major from another note, and so are the church modes.
    for note in 0..24 {
        let major = Scale::Major.has(0, note);
        for (scale, key) in [
            (Scale::Dorian, 2),
            (Scale::Phrygian, 4),
            (Scale::Lydian, 5),
            (Scale::Mixolydian, 7),
            (Scale::NaturalMinor, 9),
            (Scale::Locrian, 11),
        ] {
            assert_eq!(scale.has(key, note), major, "{scale:?}: {note}");
        }
        let pentatonic = Scale::MajorPentatonic.has(0, note);
        assert_eq!(Scale::MinorPentatonic.has(9, note), pentatonic, "{note}");
    }
    assert!(Scale::HarmonicMinor.has(9, 68) && !Scale::HarmonicMinor.has(9, 67));
    assert!(Scale::MelodicMinor.has(9, 66) && Scale::MelodicMinor.has(9, 68));
    assert!(Scale::Blues.has(0, 66) && !Scale::MinorPentatonic.has(0, 66));
    assert!((60..72).all(|note| Scale::WholeTone.has(3, note) == (note % 2 == 1)));
}

#[test]
fn vibrato_is_flattened_without_humanise_and_kept_with_it() {
    // 20 cents flat, in C major.
    let sung = vibrato(C4 - 0.2, 0.4, 300);
    for (humanise, low, high) in [(0.0, 0.0, 0.01), (0.5, 0.18, 0.22), (1.0, 0.37, 0.43)] {
        let found = retuned(&sung, &in_scale(Scale::Major, 0, 0.0, humanise));
        // Whole turns, once the note is long.
        let (mean, depth) = mean_and_depth(&found[80..280]);
        println!("humanise {humanise}: {mean} ± {depth}");
        assert!((mean - C4).abs() < 0.03, "{humanise}: around {mean}");
        assert!((low..=high).contains(&depth), "{humanise}: ± {depth}");
        // A short note is retuned whole.
        let (_, depth) = mean_and_depth(&found[..10]);
        assert!(depth < 0.01, "{humanise}: ± {depth} at the beginning");
    }
}

#[test]
fn humanise_does_not_keep_a_voice_that_sinks() {
    // Half a semitone in three seconds.
    let sung: Vec<f32> = (0..300).map(|n| C4 + 0.2 - n as f32 / 600.0).collect();
    let found = retuned(&sung, &in_scale(Scale::Chromatic, 0, 0.0, 1.0));
    for (n, found) in found.iter().enumerate() {
        assert!((found - C4).abs() < 0.1, "frame {n}: {found}");
    }
}

#[test]
fn after_the_speed_63_percent_of_the_way_are_gone() {
    for speed_ms in [20.0, 50.0, 200.0, 400.0] {
        let sung = vec![C4 + 0.4; 200];
        let found = retuned(&sung, &in_scale(Scale::Chromatic, 0, speed_ms, 0.0));
        // The first frame has gone one frame's part of it.
        let arrived = found[(speed_ms / 10.0) as usize - 1] - C4;
        let expected = 0.4 * (-1.0f32).exp();
        assert!(
            (arrived - expected).abs() < 0.002,
            "{speed_ms} ms: {arrived}"
        );
        assert!(found.windows(2).all(|pair| pair[1] <= pair[0] + 1e-4));
    }
}

#[test]
fn between_two_notes_nothing_flutters() {
    // Around the middle of C and C#, with the tremble of a real voice and a vibrato.
    let trembling: Vec<f32> = vibrato(C4 + 0.5, 0.1, 500)
        .iter()
        .enumerate()
        .map(|(n, pitch)| pitch + 0.08 * ((n * 7919 % 13) as f32 / 6.0 - 1.0))
        .collect();
    assert!(trembling.iter().any(|&p| p > C4 + 0.6) && trembling.iter().any(|&p| p < C4 + 0.4));
    let found = retuned(&trembling, &in_scale(Scale::Chromatic, 0, 0.0, 0.0));
    assert_eq!(changes(&found), 0);
    // In the middle of a whole tone, more of a vibrato.
    let found = retuned(
        &vibrato(C4 + 1.0, 0.28, 500),
        &in_scale(Scale::Major, 0, 0.0, 0.0),
    );
    assert_eq!(changes(&found), 0);
    // Nor does it hang on to a note that is left.
    let left: Vec<f32> = [vec![C4; 20], vec![C4 + 0.75; 20]].concat();
    let found = retuned(&left, &in_scale(Scale::Chromatic, 0, 0.0, 0.0));
    assert!((found[19] - C4).abs() < 0.01 && (found[20] - C4 - 1.0).abs() < 0.01);
}

#[test]
fn a_note_goes_on_after_a_consonant_and_a_phrase_begins_anew() {
    let controls = in_scale(Scale::Chromatic, 0, 100.0, 0.0);
    let sung = |gap: usize| -> Vec<f32> {
        [vec![C4 + 0.4; 100], vec![f32::NAN; gap], vec![C4 + 0.4; 50]].concat()
    };
    for gap in [1, 5, 14] {
        let found = retuned(&sung(gap), &controls);
        let (before, after) = (found[99], found[100 + gap]);
        assert!(
            (before - C4).abs() < 0.01 && (after - C4).abs() < 0.01,
            "{gap}"
        );
    }
    let found = retuned(&sung(15), &controls);
    assert!((found[115] - C4 - 0.36).abs() < 0.01, "{}", found[115]);
}

#[test]
fn a_phrase_never_starts_with_a_slide_over_an_octave() {
    let mut retuner = Retuner::default();
    let found = note(retuner.push(0, hz(48.3), &by_midi(100.0), HeldNote::of(64)));
    assert!((found - 64.0).abs() < 0.5, "{found}");
}

#[test]
fn a_held_note_is_sung_and_without_one_f0_stays_as_it_is() {
    let mut retuner = Retuner::default();
    let mut push = |index, held| retuner.push(index, hz(57.3), &by_midi(0.0), held);
    assert_eq!(push(0, HeldNote::NONE), hz(57.3), "to the bit");
    for (index, key) in [(1, 60), (2, 48), (3, 67)] {
        assert!((note(push(index, HeldNote::of(key))) - f32::from(key)).abs() < 0.01);
    }
    assert_eq!(push(4, HeldNote::NONE), hz(57.3), "to the bit");
}

#[test]
fn a_note_counts_by_its_share_of_the_time() {
    let sung = 57.0;
    for share in [0.25, 0.5, 0.75] {
        let held = HeldNote::from_share_and_note(share, 61.0);
        let found = note(Retuner::default().push(0, hz(sung), &by_midi(0.0), held));
        assert!(
            (found - sung - share * 4.0).abs() < 0.01,
            "{share}: {found}"
        );
    }
}

#[test]
fn the_amount_is_how_much_of_the_way_is_gone() {
    for amount in [0.0, 0.25, 1.0] {
        let controls = RetuneControls {
            amount,
            ..in_scale(Scale::Major, 0, 0.0, 0.0)
        };
        let found = Retuner::default().push(0, hz(60.4), &controls, HeldNote::NONE);
        assert!(
            (note(found) - 60.4 + 0.4 * amount).abs() < 0.001,
            "{amount}"
        );
        assert!(amount > 0.0 || found == hz(60.4), "to the bit");
    }
}

#[test]
fn off_it_leaves_every_bit_and_goes_back_without_a_step() {
    let off = RetuneControls::default();
    let mut retuner = Retuner::default();
    for (n, f0_hz) in (0..200u16).map(|n| (u64::from(n), 80.0 + f32::from(n * n % 977))) {
        assert_eq!(retuner.push(n, f0_hz, &off, HeldNote::of(60)), f0_hz);
    }
    let on = in_scale(Scale::Chromatic, 0, 50.0, 0.0);
    let mut last = 0.0;
    for n in 200..300 {
        last = retuner.push(n, hz(60.4), &on, HeldNote::NONE);
    }
    let slow = RetuneControls {
        speed_ms: 50.0,
        ..off
    };
    for n in 300..500 {
        let found = retuner.push(n, hz(60.4), &slow, HeldNote::NONE);
        assert!((note(found) - note(last)).abs() < 0.08, "frame {n}");
        last = found;
    }
    assert_eq!(last, hz(60.4), "to the bit once it is back");
}

#[test]
fn the_reference_moves_all_notes() {
    for reference_hz in [415.0, 432.0, 466.0] {
        let controls = RetuneControls {
            reference_hz,
            ..in_scale(Scale::MajorPentatonic, 9, 0.0, 0.0)
        };
        let found = Retuner::default().push(0, reference_hz * 1.01, &controls, HeldNote::NONE);
        assert!(
            (found - reference_hz).abs() < 0.01,
            "{reference_hz}: {found}"
        );
    }
}
