//! One service per process: worker threads, the loader thread and every loaded voice.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use timbra_voice::library::VoiceRef;

use crate::error::EngineError;
use crate::port::{AudioPort, StreamConfig};
use crate::status::{F0Point, StatusSnapshot};

/// The process-wide service.
pub struct Service {
    _private: (),
}

impl Service {
    /// The service of this process; nothing is started before the first stream is opened.
    pub fn global() -> &'static Self {
        static SERVICE: Service = Service { _private: () };
        &SERVICE
    }

    /// Folders that are searched for voices by name and hash, in order, beside the path a [`VoiceRef`] gives.
    /// Each folder's `encoders` folder is searched for encoders. The default is [`crate::locate::voice_folders`].
    pub fn set_voice_folders(&self, _folders: Vec<PathBuf>) {}

    /// The folders in use.
    pub fn voice_folders(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Opens a stream and starts to load `wanted` (an empty reference loads nothing).
    ///
    /// Reads at most the voice's manifest: the latency is final when this returns.
    ///
    /// # Errors
    /// The rate is not supported or a thread could not be started.
    pub fn open(&self, _config: StreamConfig, _wanted: VoiceRef) -> Result<(AudioPort, StreamHandle), EngineError> {
        Err(EngineError::Unsupported("not yet".into()))
    }
}

/// The other threads' end of a stream. Clones refer to the same stream.
#[derive(Clone)]
pub struct StreamHandle {
    _shared: Arc<()>,
}

impl StreamHandle {
    /// Starts to load another voice; the one that plays goes on until the new one is ready.
    pub fn load_voice(&self, _wanted: VoiceRef) {}

    /// Waits until the voice asked for last plays (true) or can not (false), at most `timeout`.
    pub fn wait_ready(&self, _timeout: Duration) -> bool {
        false
    }

    /// What the stream tells about itself; takes the peaks (they start over at 0).
    pub fn status(&self) -> StatusSnapshot {
        StatusSnapshot::default()
    }

    /// The last 5 s of F0, oldest first.
    pub fn f0_history(&self) -> Vec<F0Point> {
        Vec::new()
    }
}
