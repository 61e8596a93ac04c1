//! The best path through the candidates of successive frames.

use super::candidates::{Candidate, Column};

/// What a change between voiced and unvoiced costs.
const VOICING_CHANGE_COST: f32 = 0.186;
/// What a jump costs per octave.
const JUMP_COST: f32 = 0.42;

/// Continues the best paths of `before` into `column`, whose own evidence counts with `weight`.
pub(super) fn extend(before: &Column, column: &mut Column, weight: f32) {
    for candidate in column.candidates_mut() {
        let mut best = (0, f32::NEG_INFINITY);
        for (index, earlier) in before.candidates().iter().enumerate() {
            let score = earlier.score - step_cost(earlier, candidate);
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

fn step_cost(earlier: &Candidate, later: &Candidate) -> f32 {
    match (earlier.f0_hz > 0.0, later.f0_hz > 0.0) {
        (false, false) => 0.0,
        (true, true) => JUMP_COST * (earlier.f0_hz / later.f0_hz).log2().abs(),
        _ => VOICING_CHANGE_COST,
    }
}
