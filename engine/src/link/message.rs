//! What host and worker say to each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use timbra_voice::library::VoiceRef;

use crate::port::StreamConfig;
use crate::status::Words;

/// From a host to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToWorker {
    /// A stream begins in the memory that comes with this message.
    Open {
        stream: u64,
        config: StreamConfig,
        latency_samples: u32,
    },
    /// A stream wants a voice, with request number `asked`.
    Load {
        stream: u64,
        asked: u64,
        wanted: VoiceRef,
        folders: Vec<PathBuf>,
    },
    /// A stream is over.
    Close { stream: u64 },
}

/// From the worker to a host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToHost {
    /// The first message: the worker is there and takes streams.
    Hello { process: u32 },
    /// The words of a stream have changed.
    Words { stream: u64, words: Box<Words> },
}
