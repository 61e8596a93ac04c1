//! Where the verbs put things, and what they agree on.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// An argument that is well-formed but cannot be meant: the program ends with code 2.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct WrongArgument(pub String);

/// Rate of a voice unless asked otherwise.
pub const DEFAULT_MODEL_RATE_HZ: u32 = 48_000;

/// Share of each speaker's recordings that is never trained on.
pub const DEFAULT_HELD_OUT_SHARE: f64 = 0.05;

/// A folder in which one voice is built.
///
/// | path | written by |
/// |---|---|
/// | `log.txt` | every verb |
/// | `clips/SPEAKER/*.wav` | `slice` |
/// | `features/` | `prepare` |
/// | `training/` | `train` |
/// | `clusters.safetensors` | `cluster` |
/// | `retrieval.safetensors` | `index` |
/// | `evaluation/` | `evaluate` |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkFolder {
    root: PathBuf,
}

impl WorkFolder {
    /// A work folder at `root`; nothing is created.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What happened, line by line.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("log.txt")
    }

    /// Clips cut from long takes.
    #[must_use]
    pub fn clips(&self) -> PathBuf {
        self.root.join("clips")
    }

    /// Features and their index.
    #[must_use]
    pub fn features(&self) -> PathBuf {
        self.root.join("features")
    }

    /// Checkpoints, figures and samples of the training.
    #[must_use]
    pub fn training(&self) -> PathBuf {
        self.root.join("training")
    }

    /// K-means centres per speaker.
    #[must_use]
    pub fn clusters(&self) -> PathBuf {
        self.root.join("clusters.safetensors")
    }

    /// Frames for retrieval per speaker.
    #[must_use]
    pub fn retrieval(&self) -> PathBuf {
        self.root.join("retrieval.safetensors")
    }

    /// Measures and pictures of held-out clips.
    #[must_use]
    pub fn evaluation(&self) -> PathBuf {
        self.root.join("evaluation")
    }
}
