//! Conversion of whole clips through the very same port and worker, without threads and without a clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::board::PortCounters;
use crate::controls::{Controls, GRID_SAMPLES, Tier};
use crate::error::EngineError;
use crate::latency::LatencyPlan;
use crate::model::LoadedVoice;
use crate::pipeline::Pipeline;
use crate::port::{AudioPort, StreamConfig};
use crate::ring::{self, Change};
use crate::status::StatusSnapshot;
use crate::worker::{Step, Worker};

/// How far a conversion has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Input samples converted so far.
    pub done_samples: u64,
    /// Input samples in all.
    pub total_samples: u64,
    /// Compute seconds per audio second so far.
    pub load: f64,
}

/// Samples between two reports of progress: about a second.
const REPORT_SAMPLES: usize = 1 << 16;

/// A port and a worker joined without threads: what is processed is worked on before the next call.
pub struct Joined {
    /// The host's side.
    pub port: AudioPort,
    /// The worker's side.
    pub worker: Worker,
    counters: Arc<PortCounters>,
}

impl Joined {
    /// Joins them for one voice.
    ///
    /// # Errors
    /// The rate is not supported, or there is no memory for the voice's states.
    pub fn new(voice: &Arc<LoadedVoice>, config: StreamConfig) -> Result<Self, EngineError> {
        let plan = LatencyPlan::new(
            &voice.timing(),
            config.tier,
            config.host_rate_hz,
            config.max_block_samples,
        )?;
        let (shared, port_ends, worker_ends) = ring::stream(config, plan.latency_samples);
        let pipeline = Pipeline::new(voice, &config, plan.latency_samples)?;
        shared.install(Change::Voice(Box::new(pipeline)));
        let counters = Arc::new(PortCounters::default());
        let mut port = AudioPort::new(config, plan, port_ends, Arc::clone(&counters));
        port.set_offline(true);
        port.never_wait();
        let mut worker = Worker::new(shared, worker_ends);
        worker.set_waits(true);
        Ok(Self {
            port,
            worker,
            counters,
        })
    }

    /// Processes a block and lets the worker do all there is to do.
    ///
    /// # Errors
    /// The voice failed while running.
    pub fn process(
        &mut self,
        channels: &mut [&mut [f32]],
        controls: &Controls,
    ) -> Result<(), EngineError> {
        self.port.process(channels, controls);
        while self.worker.step()? == Step::Worked {}
        Ok(())
    }

    /// Counters and levels, as of a stream that plays.
    pub fn status(&self) -> StatusSnapshot {
        self.worker.shared().snapshot(&self.counters)
    }
}

/// Loads the voice at `path` with the folders of [`crate::locate::voice_folders`].
///
/// # Errors
/// What is wrong with the voice, in words.
pub fn load_voice(path: &Path) -> Result<Arc<LoadedVoice>, EngineError> {
    LoadedVoice::load(path, &crate::locate::voice_folders())
}

/// Converts a mono clip in memory: latency removed, output as long as the input.
///
/// `controls` gives the values at an input position in samples (a timeline; ask for a constant with `|_| controls`);
/// it is asked at multiples of [`GRID_SAMPLES`].
///
/// # Errors
/// The rate is not supported, or the voice failed while running.
pub fn convert(
    voice: &Arc<LoadedVoice>,
    samples: &[f32],
    rate_hz: u32,
    controls: &dyn Fn(u64) -> Controls,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<f32>, EngineError> {
    let started = Instant::now();
    let mut converter = Converter::new(voice, rate_hz)?;
    let mut output = Vec::with_capacity(samples.len());
    let mut done_samples = 0;
    for piece in samples.chunks(REPORT_SAMPLES) {
        converter.push(piece, controls, &mut output)?;
        done_samples += piece.len();
        progress(Progress {
            done_samples: done_samples as u64,
            total_samples: samples.len() as u64,
            load: started.elapsed().as_secs_f64() * f64::from(rate_hz) / done_samples as f64,
        });
    }
    converter.finish(controls, &mut output)?;
    Ok(output)
}

/// Converts a mono clip of any length piece by piece in bounded memory.
///
/// Feed it with [`Self::push`], end with [`Self::finish`]; all output together is as long as all input. The result
/// does not depend on the pieces.
pub struct Converter {
    joined: Joined,
    /// Input that does not fill a block yet.
    block: Vec<f32>,
    taken_samples: u64,
    given_samples: u64,
    processed_samples: u64,
}

/// Block size of a conversion: controls are sampled once per block.
const BLOCK_SAMPLES: usize = GRID_SAMPLES as usize;

impl Converter {
    /// A conversion at the start of a clip.
    ///
    /// # Errors
    /// The rate is not supported.
    pub fn new(voice: &Arc<LoadedVoice>, rate_hz: u32) -> Result<Self, EngineError> {
        let config = StreamConfig {
            host_rate_hz: rate_hz,
            max_block_samples: BLOCK_SAMPLES,
            channels: 1,
            tier: Tier::Live,
        };
        Ok(Self {
            joined: Joined::new(voice, config)?,
            block: Vec::with_capacity(BLOCK_SAMPLES),
            taken_samples: 0,
            given_samples: 0,
            processed_samples: 0,
        })
    }

    /// Converts the next piece, of any length, and appends what is ready to `output`.
    ///
    /// # Errors
    /// The voice failed while running.
    pub fn push(
        &mut self,
        input: &[f32],
        controls: &dyn Fn(u64) -> Controls,
        output: &mut Vec<f32>,
    ) -> Result<(), EngineError> {
        self.taken_samples += input.len() as u64;
        let mut rest = input;
        while self.block.len() + rest.len() >= BLOCK_SAMPLES {
            let (head, tail) = rest.split_at(BLOCK_SAMPLES - self.block.len());
            self.block.extend_from_slice(head);
            rest = tail;
            self.convert_block(controls, output)?;
        }
        self.block.extend_from_slice(rest);
        Ok(())
    }

    /// Appends the rest; gives the counters of the whole conversion.
    ///
    /// # Errors
    /// The voice failed while running.
    pub fn finish(
        mut self,
        controls: &dyn Fn(u64) -> Controls,
        output: &mut Vec<f32>,
    ) -> Result<StatusSnapshot, EngineError> {
        while self.given_samples < self.taken_samples {
            self.block.resize(BLOCK_SAMPLES, 0.0);
            self.convert_block(controls, output)?;
        }
        Ok(self.status())
    }

    /// Counters of the conversion, e.g. how many frames a broken graph made the engine replace.
    pub fn status(&self) -> StatusSnapshot {
        self.joined.status()
    }

    fn convert_block(
        &mut self,
        controls: &dyn Fn(u64) -> Controls,
        output: &mut Vec<f32>,
    ) -> Result<(), EngineError> {
        let controls = controls(self.processed_samples);
        self.joined.process(&mut [&mut self.block], &controls)?;
        let latency = u64::from(self.joined.port.latency_samples());
        // Output position p is heard of input position p − latency.
        let skipped = latency
            .saturating_sub(self.processed_samples)
            .min(BLOCK_SAMPLES as u64) as usize;
        self.processed_samples += BLOCK_SAMPLES as u64;
        let wanted = (self.taken_samples - self.given_samples).min((BLOCK_SAMPLES - skipped) as u64)
            as usize;
        output.extend_from_slice(&self.block[skipped..skipped + wanted]);
        self.given_samples += wanted as u64;
        self.block.clear();
        Ok(())
    }
}
