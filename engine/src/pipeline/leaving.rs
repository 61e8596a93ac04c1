//! What a hop goes through once it is sung: articulation, fades, gate, levels, the host's rate.

use timbra_dsp::bands::BandLevels;
use timbra_dsp::fade::{FadeShape, fade_in, fade_out};
use timbra_dsp::resample::StreamResampler;

use crate::error::EngineError;
use crate::model::LoadedVoice;
use crate::status::F0Point;
use crate::steering::{Articulation, Ceiling, EnvelopeMatch, FrameGate, GainLine, HALVES};

/// A hop that was listened to and has not left.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// Nothing is made: the fallback is heard here.
    pub missing: bool,
    /// The stream sleeps.
    pub asleep: bool,
    /// It is faded out, and another voice takes over.
    pub leaving: bool,
    /// It is faded out, and the stream falls asleep.
    pub last: bool,
    /// What limits its peaks, see [`Ceiling`].
    pub held_peak: f32,
    /// Levels of its hop of the input, see [`Articulation`].
    pub heard: [BandLevels; HALVES],
    /// What is sung in it; without that it is silent.
    pub sung: Option<Sung>,
}

impl Pending {
    /// Whether nothing is listened to before it has left.
    pub fn ends(&self) -> bool {
        self.leaving || self.last
    }
}

/// What is known of a hop that is sung.
#[derive(Debug, Clone)]
pub(super) struct Sung {
    /// Hops that the synthesis gives before and nobody hears.
    pub passed_over: usize,
    /// Of the frame, in dBFS.
    pub loudness_db: f32,
    /// Controls of the frame.
    pub gate_db: f32,
    pub loudness_match: f32,
    /// How much of the input's articulation is kept, 0..1.
    pub articulation: f32,
    /// F0 that is shown.
    pub f0: F0Point,
}

/// The last part of a pipeline.
pub(super) struct Leaving {
    out_of: StreamResampler,
    delay_samples: usize,
    articulation: Articulation,
    gate: FrameGate,
    envelope: EnvelopeMatch,
    /// The gate, at the times its frames are heard.
    gains: GainLine,
    /// The envelope's gain, which is found in the hop it is applied to.
    loudness: GainLine,
    /// The next hop is faded in.
    fades_in: bool,
    last_sample: f32,
    audio: Vec<f32>,
    /// Host samples that have left.
    emitted: u64,
    output: Vec<f32>,
    output_samples: usize,
}

impl Leaving {
    /// For a voice whose frames are complete `lookahead_hops` later.
    pub fn new(
        voice: &LoadedVoice,
        host_rate_hz: u32,
        lookahead_hops: usize,
    ) -> Result<Self, EngineError> {
        let manifest = voice.manifest();
        let hop_samples = manifest.hop_samples;
        let delay_samples = voice.timing().synthesis_delay_samples;
        let out_of = StreamResampler::new(manifest.model_rate_hz, host_rate_hz)?;
        Ok(Self {
            delay_samples,
            articulation: Articulation::new(
                manifest.model_rate_hz,
                hop_samples,
                lookahead_hops,
                delay_samples,
            ),
            gate: FrameGate::default(),
            envelope: EnvelopeMatch::new(delay_samples, hop_samples),
            gains: GainLine::new(delay_samples, hop_samples),
            loudness: GainLine::new(0, hop_samples),
            fades_in: false,
            last_sample: 0.0,
            audio: vec![0.0; hop_samples],
            emitted: 0,
            output: vec![0.0; out_of.max_output_samples(hop_samples)],
            output_samples: 0,
            out_of,
        })
    }

    /// Host samples that have left since the beginning.
    pub fn emitted(&self) -> u64 {
        self.emitted
    }

    /// Most samples one hop can give.
    pub fn max_output_samples(&self) -> usize {
        self.output.len()
    }

    /// What the last hop gave.
    pub fn output(&self) -> &[f32] {
        &self.output[..self.output_samples]
    }

    /// At the start of a signal.
    pub fn begin(&mut self) {
        self.out_of.reset();
        self.emitted = 0;
        self.fades_in = false;
        self.forget();
    }

    /// What was heard before does not count any more.
    pub fn forget(&mut self) {
        let hop_samples = self.audio.len();
        self.last_sample = 0.0;
        self.articulation.reset();
        self.gate = FrameGate::default();
        self.envelope = EnvelopeMatch::new(self.delay_samples, hop_samples);
        self.gains = GainLine::new(self.delay_samples, hop_samples);
        self.loudness = GainLine::new(0, hop_samples);
    }

    /// Takes the levels of a hop of the input with which no frame is complete.
    pub fn hear(&mut self, heard: &[BandLevels; HALVES]) {
        self.articulation.pass(heard);
    }

    /// Takes what was made of a hop, `pending`, in which `sung` is. Says whether these were numbers; where they were not, what
    /// was heard last goes to silence in their place.
    pub fn take(
        &mut self,
        pending: &Pending,
        sung: &Sung,
        made: &[f32],
        ceiling: Option<&mut Ceiling>,
    ) -> bool {
        if !made.iter().all(|sample| sample.is_finite()) {
            self.audio.fill(self.last_sample);
            fade_out(&mut self.audio, FadeShape::Linear);
            self.articulation.pass(&pending.heard);
            self.fades_in = true;
            return false;
        }
        self.audio.copy_from_slice(made);
        self.articulation
            .apply(&pending.heard, sung.articulation, &mut self.audio);
        if std::mem::take(&mut self.fades_in) {
            fade_in(&mut self.audio, FadeShape::Linear);
        }
        let gate = self.gate.push(sung.loudness_db, sung.gate_db);
        let envelope = self
            .envelope
            .push(sung.loudness_db, &self.audio, sung.loudness_match);
        self.gains.apply(gate, &mut self.audio);
        self.loudness.apply(envelope, &mut self.audio);
        if let Some(ceiling) = ceiling {
            ceiling.apply(pending.held_peak, &mut self.audio);
        }
        true
    }

    /// Takes silence in place of a hop, `pending`.
    pub fn silence(&mut self, pending: &Pending) {
        self.audio.fill(0.0);
        self.articulation.pass(&pending.heard);
        self.fades_in |= pending.missing;
    }

    /// Sends out what was taken.
    pub fn emit(&mut self, fades_out: bool) {
        if fades_out {
            fade_out(&mut self.audio, FadeShape::Linear);
        }
        self.last_sample = self.audio.last().copied().unwrap_or(0.0);
        self.output_samples = self.out_of.push(&self.audio, &mut self.output);
        self.emitted += self.output_samples as u64;
    }
}
