//! How much of the future a feature may use.

/// How far a streaming feature looks ahead of a frame's centre: the choice between certainty and delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lookahead {
    /// As far as serves the feature best: 25 ms for F0, 15 ms for loudness.
    #[default]
    Long,
    /// One hop, 10 ms, at most.
    Short,
}
