//! Where the speakers of a large crowd begin.
//!
//! A speaker among hundreds is in few batches: an embedding that all of them begin with would hardly move, and the network
//! would have to take who sings from the content. So each begins where the sound of its recordings puts it, and speakers that
//! sound alike begin near each other.

use crate::evaluation::measures::Timbre;
use crate::random::Random;

/// Standard deviation of what a component of an embedding is moved by.
const SPREAD: f32 = 0.5;
/// Seed of the directions.
const DIRECTIONS_SEED: u64 = 0x6372_6f77_6421;

/// Moves the embeddings (`[S, width]` row by row) of the speakers that are not `known` along fixed random directions, one per
/// coefficient of the mean cepstrum of the speaker's recordings, by how far the coefficient lies from the crowd's mean in
/// standard deviations. A speaker without a timbre stays.
pub fn describe_new(embeddings: &mut [f32], known: &[bool], timbres: &[Option<Timbre>]) {
    let cepstra: Vec<Option<Vec<f64>>> = timbres
        .iter()
        .map(|timbre| timbre.as_ref().map(|t| t.mean_cepstrum().to_vec()))
        .collect();
    let crowd: Vec<&Vec<f64>> = cepstra.iter().flatten().collect();
    let (Some(coefficients), count) = (crowd.first().map(|c| c.len()), crowd.len() as f64) else {
        return;
    };
    let width = embeddings.len() / known.len().max(1);
    let mut random = Random::new(DIRECTIONS_SEED, 0);
    for index in 0..coefficients {
        let mean = crowd.iter().map(|c| c[index]).sum::<f64>() / count;
        let variance = crowd.iter().map(|c| (c[index] - mean).powi(2)).sum::<f64>() / count;
        let per_deviation = f64::from(SPREAD) / (variance * coefficients as f64).sqrt().max(1e-9);
        let direction: Vec<f32> = (0..width).map(|_| random.normal()).collect();
        let rows = embeddings.chunks_exact_mut(width).zip(known).zip(&cepstra);
        for ((row, &known), cepstrum) in rows {
            let Some(cepstrum) = cepstrum.as_ref().filter(|_| !known) else {
                continue;
            };
            let far = ((cepstrum[index] - mean) * per_deviation) as f32;
            for (value, along) in row.iter_mut().zip(&direction) {
                *value += far * along;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three seconds of two partials, the second `tilt` times as strong.
    fn timbre(tilt: f32) -> Option<Timbre> {
        let samples: Vec<f32> = (0..3 * 16_000)
            .map(|i| {
                let turn = std::f32::consts::TAU * i as f32 / 16_000.0;
                0.1 * (200.0 * turn).sin() + 0.1 * tilt * (2_400.0 * turn).sin()
            })
            .collect();
        Some(Timbre::of(&samples, 16_000).unwrap())
    }

    #[test]
    fn new_speakers_begin_apart_by_their_sound_and_known_ones_stay() {
        let timbres = [timbre(0.1), timbre(1.0), timbre(0.95), timbre(0.01), None];
        let mut embeddings = vec![0.25f32; 5 * 64];
        describe_new(
            &mut embeddings,
            &[true, false, false, false, false],
            &timbres,
        );
        let row = |s: usize| &embeddings[s * 64..(s + 1) * 64];
        assert!(row(0).iter().all(|&v| v == 0.25), "a known speaker moved");
        assert!(row(4).iter().all(|&v| v == 0.25), "nothing is known of it");
        let distance = |a: usize, b: usize| {
            let squares = row(a).iter().zip(row(b)).map(|(a, b)| (a - b).powi(2));
            (squares.sum::<f32>() / 64.0).sqrt()
        };
        assert!(distance(1, 3) > 0.3, "{}", distance(1, 3));
        assert!(
            4.0 * distance(1, 2) < distance(1, 3),
            "{} and {}",
            distance(1, 2),
            distance(1, 3)
        );
    }
}
