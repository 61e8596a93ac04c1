//! Controls between the sample they are set for and the sample they are heard at.

use std::collections::VecDeque;

use crate::controls::GRID_SAMPLES;

/// Two changes so close belong to a ramp: hosts hand over a point of their automation lines once per block.
///
/// Longer than 1024 samples at 44.1 kHz and shorter than any latency, so that the end of a ramp is always known before
/// its beginning is heard.
const RAMP_S: f64 = 0.025;

/// Decides where a value is taken that holds piece by piece: exactly where it changes, but not twice within
/// [`GRID_SAMPLES`]. What is taken depends on the values at the samples, not on the pieces.
#[derive(Debug)]
pub(crate) struct Sampler<T> {
    last: Option<(u64, T)>,
}

impl<T> Default for Sampler<T> {
    fn default() -> Self {
        Self { last: None }
    }
}

impl<T: Copy + PartialEq> Sampler<T> {
    /// Takes note that `value` holds from `start` to before `end`; gives the position at which it is to be taken.
    pub fn take(&mut self, start: u64, end: u64, value: T) -> Option<u64> {
        let at = match self.last {
            None => start,
            Some((_, held)) if held == value => return None,
            // Too close to the last one: what holds later decides.
            Some((last, _)) => start.max(last + GRID_SAMPLES),
        };
        if at >= end {
            return None;
        }
        self.last = Some((at, value));
        Some(at)
    }

    /// The next value is taken in any case.
    pub fn clear(&mut self) {
        self.last = None;
    }
}

/// One number, kept until it is heard. Bounded, and nothing allocates after construction.
///
/// Changes that follow each other closely are points of a ramp and joined by straight lines. A change by itself is a
/// step, which takes [`GRID_SAMPLES`] and has its middle where it is.
#[derive(Debug)]
pub(crate) struct Lane {
    sampler: Sampler<f32>,
    /// Corners of the line: positions and values.
    nodes: VecDeque<(u64, f32)>,
    capacity: usize,
    ramp_samples: u64,
}

impl Lane {
    /// For a number that waits `latency_samples` and comes in pieces of at most `max_block_samples`.
    pub fn new(host_rate_hz: u32, latency_samples: u32, max_block_samples: usize) -> Self {
        let known = latency_samples as usize + max_block_samples;
        let capacity = 2 * (known / GRID_SAMPLES as usize) + 8;
        let ramp_samples = (RAMP_S * f64::from(host_rate_hz)) as u64;
        Self {
            sampler: Sampler::default(),
            nodes: VecDeque::with_capacity(capacity),
            capacity,
            ramp_samples: ramp_samples.min(u64::from(latency_samples)),
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.sampler.clear();
        self.nodes.clear();
    }

    /// Takes note that `value` holds from `start` to before `end`; it is heard as `heard_as(value)`.
    pub fn push(&mut self, start: u64, end: u64, value: f32, heard_as: impl Fn(f32) -> f32) {
        let Some(at) = self.sampler.take(start, end, value) else {
            return;
        };
        let value = heard_as(value);
        match self.nodes.back() {
            Some(&(before, held)) if at - before > self.ramp_samples.max(GRID_SAMPLES) => {
                self.add((at - GRID_SAMPLES / 2, held));
                self.add((at + GRID_SAMPLES / 2, value));
            }
            _ => self.add((at, value)),
        }
    }

    fn add(&mut self, node: (u64, f32)) {
        if self.nodes.len() == self.capacity {
            self.nodes.pop_front();
        }
        self.nodes.push_back(node);
    }

    /// The number at a position that is heard now, if one was ever set. Positions are asked for in order.
    pub fn at(&mut self, position: u64) -> Option<f32> {
        while self.nodes.get(1).is_some_and(|next| next.0 <= position) {
            self.nodes.pop_front();
        }
        let &(from, start) = self.nodes.front()?;
        Some(match self.nodes.get(1) {
            Some(&(to, end)) if position > from && start != end => {
                start + (end - start) * ((position - from) as f32 / (to - from) as f32)
            }
            _ => start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of values that change at the given samples, heard 2000 samples later, in pieces of `block`.
    fn line(changes: &[(u64, f32)], block: usize) -> Vec<f32> {
        let (latency, total) = (2000, 8000);
        let value = |n: u64| changes.iter().rev().find(|c| c.0 <= n).map_or(0.0, |c| c.1);
        let mut lane = Lane::new(48_000, latency as u32, block);
        let mut heard = Vec::new();
        let mut start = 0;
        while start < total {
            // As hosts do, pieces end where values change.
            let end = (start + block as u64).min(total);
            let end = (start + 1..end)
                .find(|&n| value(n) != value(start))
                .unwrap_or(end);
            lane.push(start, end, value(start), |v| v);
            for position in start..end {
                heard.extend(position.checked_sub(latency).and_then(|n| lane.at(n)));
            }
            start = end;
        }
        heard
    }

    #[test]
    fn a_step_takes_64_samples_and_is_half_done_where_it_is() {
        let heard = line(&[(3001, 1.0)], 512);
        assert_eq!([2969, 3001, 3033].map(|n| heard[n]), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn points_of_a_ramp_are_joined_by_straight_lines() {
        let points: Vec<(u64, f32)> = (1..9).map(|i| (1000 + 333 * i, i as f32)).collect();
        let heard = line(&points, 333);
        for (n, heard) in heard.iter().enumerate().take(1000 + 333 * 8).skip(1666) {
            assert!((heard - (n as f32 - 1000.0) / 333.0).abs() < 1e-5, "at {n}");
        }
    }

    #[test]
    fn the_line_does_not_depend_on_the_pieces() {
        let changes: Vec<(u64, f32)> = (0..400u64)
            .map(|i| (1000 + i * i % 4000 + i, (i * 7 % 13) as f32))
            .collect();
        let mut changes = changes;
        changes.sort_by_key(|c| c.0);
        let reference = line(&changes, 1);
        for block in [7, 64, 100, 1999] {
            assert_eq!(line(&changes, block), reference, "pieces of {block}");
        }
    }
}
