//! Noise as a function of position: the same sample whatever the order or the block size it is asked in.
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), Philox-4×32 with ten
//! rounds. The counter is the position in the stream, the key is the seed: there is no state to carry.

/// Round multipliers and key increments of Philox-4×32 (the paper's table 2 and section 3.3).
const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEP: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;
/// Values one counter yields.
const LANES: u64 = 4;

/// One Philox-4×32-10 block.
fn philox(counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut block = counter;
    for _ in 0..ROUNDS {
        let first = u64::from(MULTIPLIER[0]) * u64::from(block[0]);
        let second = u64::from(MULTIPLIER[1]) * u64::from(block[2]);
        block = [
            (second >> 32) as u32 ^ block[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ block[3] ^ key[1],
            first as u32,
        ];
        key[0] = key[0].wrapping_add(KEY_STEP[0]);
        key[1] = key[1].wrapping_add(KEY_STEP[1]);
    }
    block
}

/// The four values at positions `4·index .. 4·index + 4`.
fn quad(seed: u64, index: u64) -> [f32; 4] {
    let counter = [index as u32, (index >> 32) as u32, 0, 0];
    philox(counter, [seed as u32, (seed >> 32) as u32]).map(to_uniform)
}

/// The upper 23 bits as an odd multiple of 2⁻²³: exact in f32, symmetric about zero, never ±1 and never 0.
fn to_uniform(bits: u32) -> f32 {
    const STEP: f32 = 1.0 / (1 << 22) as f32;
    ((bits >> 9) as f32 + 0.5) * STEP - 1.0
}

/// The noise sample at `position` of the stream `seed`, uniform in −1..1.
pub fn uniform(seed: u64, position: u64) -> f32 {
    quad(seed, position / LANES)[(position % LANES) as usize]
}

/// Fills `block` with the noise of stream `seed` from `start_position` on, normal with unit power.
///
/// Allocates nothing, has no state, and is the same however a stretch is cut into blocks.
///
/// Source: Box and Muller, "A note on the generation of random normal deviates" (1958).
pub fn fill_normal(seed: u64, start_position: u64, block: &mut [f32]) {
    for (position, value) in (start_position..).zip(block) {
        let pair = position.wrapping_mul(2);
        let lanes = quad(seed, pair / LANES);
        let lane = (pair % LANES) as usize;
        let share = f64::from(lanes[lane]) * 0.5 + 0.5;
        let angle = f64::from(lanes[lane + 1]) * std::f64::consts::PI;
        *value = ((-2.0 * share.ln()).sqrt() * angle.cos()) as f32;
    }
}

/// Fills `block` with the noise of stream `seed` from `start_position` on, uniform in −1..1 (power −4.77 dB).
///
/// Real-time: no allocation, no state. Bit-identical however a stretch is cut into blocks, on every machine.
pub fn fill(seed: u64, start_position: u64, block: &mut [f32]) {
    let mut position = start_position;
    let mut rest = block;
    while !rest.is_empty() {
        let lane = (position % LANES) as usize;
        let count = rest.len().min(LANES as usize - lane);
        let (head, tail) = rest.split_at_mut(count);
        head.copy_from_slice(&quad(seed, position / LANES)[lane..lane + count]);
        position = position.wrapping_add(count as u64);
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the authors' reference implementation (Random123, kat_vectors, philox4x32 10).
    #[test]
    fn normal_noise_has_unit_power_and_does_not_depend_on_blocks() {
        let mut whole = vec![0.0; 20_000];
        fill_normal(7, 3, &mut whole);
        let mut cut = vec![0.0; 20_000];
        for (n, piece) in cut.chunks_mut(37).enumerate() {
            fill_normal(7, 3 + 37 * n as u64, piece);
        }
        assert_eq!(whole, cut);
        let mean = |power: i32| {
            whole.iter().map(|v| f64::from(*v).powi(power)).sum::<f64>() / whole.len() as f64
        };
        assert!(mean(1).abs() < 0.03, "mean {}", mean(1));
        assert!((mean(2) - 1.0).abs() < 0.05, "power {}", mean(2));
        assert!((mean(4) - 3.0).abs() < 0.3, "fourth moment {}", mean(4));
    }

    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn noise_is_bit_identical_whatever_the_chunking() {
        let start = u64::from(u32::MAX) * 4 - 1000; // crosses the carry into the counter's second word
        let mut whole = vec![0.0; 5000];
        fill(7, start, &mut whole);
        for chunk_samples in [1, 2, 3, 5, 160, 441, 4096] {
            let mut cut = vec![0.0; 5000];
            for (index, chunk) in cut.chunks_mut(chunk_samples).enumerate() {
                fill(7, start + (index * chunk_samples) as u64, chunk);
            }
            assert_eq!(whole, cut);
        }
        for (offset, &sample) in whole.iter().enumerate() {
            assert_eq!(uniform(7, start + offset as u64), sample);
        }
    }

    #[test]
    fn noise_is_uniform_white_and_differs_between_seeds() {
        const COUNT: usize = 1 << 20;
        let (mut noise, mut other) = (vec![0.0; COUNT], vec![0.0; COUNT]);
        fill(1, 0, &mut noise);
        fill(2, 0, &mut other);
        let mean_of = |terms: &mut dyn Iterator<Item = f64>| terms.sum::<f64>() / COUNT as f64;
        assert!(noise.iter().all(|s| s.abs() < 1.0));
        // Bounds: five standard errors of the mean of COUNT independent terms.
        assert!(mean_of(&mut noise.iter().map(|&s| f64::from(s))).abs() < 5.0 * 0.577 / 1024.0);
        let power = mean_of(&mut noise.iter().map(|&s| f64::from(s).powi(2)));
        assert!((power - 1.0 / 3.0).abs() < 5.0 * 0.298 / 1024.0);
        for lag in 1..=8 {
            let pairs = noise.iter().zip(&noise[lag..]);
            let correlation = mean_of(&mut pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)));
            assert!(
                correlation.abs() < 5.0 / 3.0 / 1024.0,
                "lag {lag}: {correlation}"
            );
        }
        let pairs = noise.iter().zip(&other);
        assert!(
            mean_of(&mut pairs.map(|(&a, &b)| f64::from(a) * f64::from(b))).abs()
                < 5.0 / 3.0 / 1024.0
        );
        let mut histogram = [0u32; 64];
        for sample in &noise {
            histogram[((sample + 1.0) * 32.0) as usize] += 1;
        }
        let expected = COUNT as f64 / 64.0;
        let chi_squared: f64 = histogram
            .iter()
            .map(|&n| (f64::from(n) - expected).powi(2) / expected)
            .sum();
        // 63 degrees of freedom: mean 63, standard deviation 11.2.
        assert!((20.0..120.0).contains(&chi_squared), "{chi_squared}");
    }
}
