//! Recordings whose files do not say how long they are.
//!
//! `joined.ogg` is half a second of a tone at 16 kHz by oggenc, twice, joined end to end. The MP3s are .4 s of noise and 2 s of a
//! soft tone at 16 kHz by lame at a variable bit rate, with and without its tag. `fixtures/audio/make.py` computes
//! all three; none is a recording of anything.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use timbra_trainer::data::audio::read_audio;

fn read(name: &str) -> Vec<f32> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/audio");
    let audio = read_audio(&folder.join(name)).unwrap();
    assert_eq!(audio.rate_hz, 16_000, "{name}");
    audio.to_mono()
}

fn level(samples: &[f32]) -> f32 {
    (samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32).sqrt()
}

#[test]
fn files_joined_end_to_end_are_read_to_the_end() {
    let samples = read("joined.ogg");
    assert_eq!(samples.len(), 16_000);
    let middle = |first: usize| level(&samples[first + 3_000..first + 5_000]);
    assert!(middle(0) > 0.15, "{}", middle(0));
    assert!(
        (middle(0) - middle(8_000)).abs() < 0.01,
        "{}",
        middle(8_000)
    );
}

#[test]
fn an_mp3_whose_length_is_not_told_is_read_to_the_end() {
    let (tagged, untagged) = (read("tagged.mp3"), read("untagged.mp3"));
    assert_eq!(tagged.len(), 38_400);
    // Without a tag what the encoder put before and after the recording cannot be told from it.
    assert!(
        (38_400..41_600).contains(&untagged.len()),
        "{}",
        untagged.len()
    );
    assert!(level(&untagged[36_000..38_000]) > 0.005);
}
