//! A fixed integer delay.

/// Delays a mono signal by a fixed number of samples.
///
/// Real-time: nothing allocates after [`DelayLine::new`].
#[derive(Debug, Clone)]
pub struct DelayLine {
    ring: Vec<f32>,
    position: usize,
}

impl DelayLine {
    /// A delay of `delay_samples`, filled with silence. Zero passes the signal through.
    pub fn new(delay_samples: usize) -> Self {
        Self {
            ring: vec![0.0; delay_samples],
            position: 0,
        }
    }

    /// The delay in samples.
    pub fn delay_samples(&self) -> usize {
        self.ring.len()
    }

    /// Takes one sample in and returns the one that went in `delay_samples` earlier.
    pub fn push(&mut self, sample: f32) -> f32 {
        let Some(slot) = self.ring.get_mut(self.position) else {
            return sample;
        };
        let delayed = std::mem::replace(slot, sample);
        self.position += 1;
        if self.position == self.ring.len() {
            self.position = 0;
        }
        delayed
    }

    /// Delays a block in place.
    pub fn process(&mut self, block: &mut [f32]) {
        for sample in block {
            *sample = self.push(*sample);
        }
    }

    /// Forgets everything that is under way.
    pub fn reset(&mut self) {
        self.ring.fill(0.0);
        self.position = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impulse_lands_exactly_on_the_delay_at_any_block_size() {
        for delay_samples in [0, 1, 7, 64, 1000] {
            for block_samples in [1, 3, 64, 999] {
                let mut signal = vec![0.0; 3000];
                signal[5] = 1.0;
                let mut line = DelayLine::new(delay_samples);
                for block in signal.chunks_mut(block_samples) {
                    line.process(block);
                }
                let landed: Vec<usize> = (0..signal.len()).filter(|&i| signal[i] != 0.0).collect();
                assert_eq!(landed, [5 + delay_samples]);
            }
        }
    }

    #[test]
    fn reset_leaves_no_old_samples() {
        let mut line = DelayLine::new(10);
        let mut block = [1.0; 25];
        line.process(&mut block);
        line.reset();
        let mut block = [0.0; 25];
        line.process(&mut block);
        assert!(block.iter().all(|&s| s == 0.0));
    }
}
