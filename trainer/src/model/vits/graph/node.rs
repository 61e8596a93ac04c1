//! A value of a graph that is written.

/// A value in the graph: `[1, channels, samples]`, or `[1, samples, channels]` while it lies in rows.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: String,
    pub(super) channels: usize,
    /// Samples per frame.
    pub(super) unit: usize,
    /// Samples it is late when it is settled; none while it is provisional.
    pub(super) delay: Option<usize>,
    /// Whether the channels of a sample lie side by side.
    pub(super) in_rows: bool,
}

impl Node {
    /// A provisional value of one sample a frame.
    #[must_use]
    pub fn frames(name: &str, channels: usize) -> Self {
        Self {
            name: name.to_owned(),
            channels,
            unit: 1,
            delay: None,
            in_rows: false,
        }
    }

    /// A provisional value of `unit` samples a frame.
    #[must_use]
    pub fn samples(name: &str, channels: usize, unit: usize) -> Self {
        Self {
            unit,
            ..Self::frames(name, channels)
        }
    }

    /// The axis its channels lie along.
    pub(super) fn channel_axis(&self) -> i64 {
        if self.in_rows { 2 } else { 1 }
    }

    /// The axis its samples lie along.
    pub(super) fn time_axis(&self) -> i64 {
        if self.in_rows { 1 } else { 2 }
    }

    /// Extents of `samples` samples of it: `[1, channels, samples]`, or `[1, samples, channels]` in rows.
    pub(super) fn shape(&self, samples: usize) -> [usize; 3] {
        if self.in_rows {
            [1, samples, self.channels]
        } else {
            [1, self.channels, samples]
        }
    }

    /// Samples by which it is late.
    #[must_use]
    pub fn delay(&self) -> usize {
        self.delay.unwrap_or(0)
    }
}
