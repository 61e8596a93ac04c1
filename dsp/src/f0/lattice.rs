//! The best path through the candidates of successive frames.

use super::candidates::{Candidate, Column};

/// What a path pays for its steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
    /// Of a change between voiced and unvoiced.
    pub(super) voicing_change: f32,
    /// Of a jump, per octave.
    pub(super) jump: f32,
}

/// With the long look-ahead.
pub(super) const LONG: Costs = Costs {
    voicing_change: 0.186,
    jump: 0.42,
};

/// Continues the best paths of `before` into `column`, whose own evidence counts with `weight`.
pub(super) fn extend(before: &Column, column: &mut Column, weight: f32, costs: &Costs) {
    for candidate in column.candidates_mut() {
        let mut best = (0, f32::NEG_INFINITY);
        for (index, earlier) in before.candidates().iter().enumerate() {
            let score = earlier.score - costs.step(earlier, candidate);
            if score > best.1 {
                best = (index, score);
            }
        }
        // Before the first frame there is no path and no cost.
        let inherited = if best.1.is_finite() { best.1 } else { 0.0 };
        candidate.from = best.0;
        candidate.score = inherited + weight * candidate.strength;
    }
}

/// The candidate of the frame before `ahead` on the best path through it.
pub(super) fn trace(ahead: &[Column]) -> usize {
    let mut columns = ahead.iter().rev();
    let Some(last) = columns.next() else {
        return 0;
    };
    let mut from = last.candidates()[last.best()].from;
    for column in columns {
        from = column.candidates()[from].from;
    }
    from
}

impl Costs {
    fn step(&self, earlier: &Candidate, later: &Candidate) -> f32 {
        match (earlier.f0_hz > 0.0, later.f0_hz > 0.0) {
            (false, false) => 0.0,
            (true, true) => self.jump * (earlier.f0_hz / later.f0_hz).log2().abs(),
            _ => self.voicing_change,
        }
    }
}
