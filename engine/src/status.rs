//! What a stream tells the threads that watch it: counters, levels, words, and the F0 that was heard and sung.

use serde::{Deserialize, Serialize};
use timbra_voice::library::VoiceRef;

/// Where a stream stands with its voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum VoiceState {
    /// No voice was asked for.
    #[default]
    Empty = 0,
    /// The first voice is on its way; the fallback is heard.
    Loading = 1,
    /// A voice is playing.
    Ready = 2,
    /// A voice is playing while another one is being loaded.
    Replacing = 3,
    /// The voice asked for needs a longer latency than the host was told: the plugin must be restarted. What played
    /// before goes on.
    NeedsRestart = 4,
    /// The voice could not be loaded or has stopped; the fallback is heard. (When another voice was playing, that one
    /// goes on, the state is [`VoiceState::Ready`], and the message says why the new one was refused.)
    Failed = 5,
}

impl VoiceState {
    pub(crate) fn from_u8(code: u8) -> Self {
        match code {
            1 => Self::Loading,
            2 => Self::Ready,
            3 => Self::Replacing,
            4 => Self::NeedsRestart,
            5 => Self::Failed,
            _ => Self::Empty,
        }
    }
}

/// F0 of one frame, before and after steering.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct F0Point {
    /// Input position of the frame in seconds since the stream began.
    pub time_s: f64,
    /// F0 that was sung, 0 = unvoiced.
    pub in_hz: f32,
    /// F0 the voice was asked for, 0 = unvoiced.
    pub out_hz: f32,
}

/// What has become of a request for a voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    /// It is still on its way, or nothing was asked for.
    #[default]
    Awaited,
    /// It plays, or takes over with the next input.
    Granted,
    /// It can not be had; what played before goes on.
    Refused,
}

/// Everything the editor shows about a stream, at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatusSnapshot {
    /// Where the stream stands with its voice.
    pub voice_state: VoiceState,
    /// The voice asked for last.
    pub wanted: VoiceRef,
    /// The voice that is playing, with the path and hash it was found by.
    pub playing: Option<VoiceRef>,
    /// What has become of the voice asked for last; `playing` is as of then.
    pub answer: Answer,
    /// Names of the playing voice's speakers, in the order of `speaker_mix`.
    pub speakers: Vec<String>,
    /// Whether the playing voice has a formant input.
    pub has_formant: bool,
    /// Whether the playing voice has an F0 decoder of its own.
    pub has_auto_f0: bool,
    /// Whether the playing voice sings with noise of its prior, which can be scaled.
    pub has_prior_noise: bool,
    /// Whether the playing voice has a cluster table, and whether it has a retrieval table.
    pub has_tables: (bool, bool),
    /// How far, 0 to 1, the playing voice is pulled to frames of its retrieval table by itself.
    pub own_retrieval: f32,
    /// How much of the input's articulation, 0 to 1, each speaker of the playing voice keeps by itself.
    pub own_articulation: Vec<f32>,
    /// What went wrong or deserves notice, in words; empty when all is well.
    pub message: String,
    /// Where the graphs run, e.g. `CPU`.
    pub provider: String,
    /// Process id of the worker, when it has a process of its own.
    pub worker_process: Option<u32>,
    /// Rate of the stream in Hz.
    pub host_rate_hz: u32,
    /// The latency the host was told, in host samples.
    pub latency_samples: u32,
    /// The same in milliseconds.
    pub latency_ms: f32,
    /// Compute time over audio time of the busiest of this stream's threads, smoothed over about a second; below 1 is good.
    pub load: f32,
    /// Times the worker was late and a gap was filled.
    pub gaps: u64,
    /// Samples filled in these gaps.
    pub gap_samples: u64,
    /// Frames left out to be on time again.
    pub skipped_frames: u64,
    /// Frames replaced because a graph gave NaN.
    pub replaced_frames: u64,
    /// Samples of the input that were NaN or infinite and were read as silence.
    pub bad_input_samples: u64,
    /// Largest input sample since the last snapshot (linear).
    pub in_peak: f32,
    /// Largest output sample since the last snapshot (linear).
    pub out_peak: f32,
    /// The input has been silent for longer than the tail and the worker sleeps.
    pub asleep: bool,
    /// The host is rendering faster than real time.
    pub free_wheeling: bool,
}

/// Words about a stream. Locked by the loader, the worker (rarely) and readers; never by the audio thread.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Words {
    pub wanted: VoiceRef,
    pub playing: Option<VoiceRef>,
    /// Number of the request that was answered last, and whether it was refused. They go with `playing`: a flag beside
    /// the words could be ahead of them.
    pub answered: u64,
    pub refused: bool,
    pub speakers: Vec<String>,
    pub has_formant: bool,
    pub has_auto_f0: bool,
    pub has_prior_noise: bool,
    pub has_tables: (bool, bool),
    pub own_retrieval: f32,
    pub own_articulation: Vec<f32>,
    pub message: String,
    /// What is worth saying when there is no message.
    pub notice: String,
    pub provider: String,
}
