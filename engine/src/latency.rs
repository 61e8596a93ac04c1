//! The only place where delays are computed.
//!
//! Two numbers follow from a voice, a tier and a host configuration. The *latency* is what the host is told: the wait
//! that lets every sample be ready when the host asks for it. The *chain delay* is how much later an event lies in the
//! worker's output than in its input by the arithmetic of the chain alone (filters, frame layout, graph). Their
//! difference is the padding the port adds, so that an event at input sample n is heard at n + latency exactly.

use timbra_dsp::f0::F0Tracker;
use timbra_dsp::loudness::LoudnessMeter;
use timbra_dsp::resample::StreamResampler;
use timbra_dsp::{CONTENT_HOP_SAMPLES, CONTENT_RATE_HZ, Lookahead};
use timbra_voice::manifest::{EncoderSpec, Manifest};

use crate::controls::Tier;
use crate::error::EngineError;

/// The numbers of a voice that decide its delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoiceTiming {
    /// Look-ahead of its content encoder, in samples at 16 kHz: what a frame waits for before it is handed on.
    pub encoder_lookahead_samples: usize,
    /// Samples at 16 kHz that its encoder listens to at a time, when that is more than a frame of 10 ms and frames wait
    /// for it.
    pub encoder_step_samples: usize,
    /// Output rate of its synthesis graph.
    pub model_rate_hz: u32,
    /// Delay of its synthesis in samples at the model rate, [`Self::step_wait_samples`] among it.
    pub synthesis_delay_samples: usize,
    /// Frames of the past that can still be heard.
    pub receptive_field_frames: usize,
    /// Samples at the model rate by which a graph that makes several frames at a time is late before it begins with any:
    /// until a step is full, the future it sees is there, and the step is made, on a thread of its own. 0 where every
    /// frame is made at once.
    pub step_wait_samples: usize,
    /// Frames of 10 ms of the encoder's steps, where the graph makes a step with each of them.
    pub round_frames: Option<usize>,
}

impl VoiceTiming {
    /// The timing a manifest states.
    pub fn of(manifest: &Manifest) -> Self {
        let (encoder, hop_samples) = (&manifest.encoder, manifest.hop_samples);
        let mut timing = Self {
            encoder_lookahead_samples: encoder.lookahead_samples,
            encoder_step_samples: (encoder.step.as_ref())
                .map_or(0, |step| step.frames * step.frame_samples),
            model_rate_hz: manifest.model_rate_hz,
            synthesis_delay_samples: manifest.delay_samples,
            receptive_field_frames: manifest.receptive_field_frames,
            step_wait_samples: 0,
            round_frames: None,
        };
        let Some(step) = &manifest.step else {
            return timing;
        };
        let handover_samples;
        match manifest.followed() {
            Some(round) => {
                // Frames are handed on when F0 and the future of the last one of a step of the encoder are there. What they
                // make then has to last until the next step.
                let samples = round.hops() * hop_samples;
                let rate_hz = f64::from(manifest.model_rate_hz);
                handover_samples =
                    (round_budget_s(samples as f64 / rate_hz) * rate_hz).ceil() as usize;
                timing.encoder_lookahead_samples = heard_ahead_samples(encoder);
                timing.encoder_step_samples = 0;
                timing.step_wait_samples = samples.saturating_sub(hop_samples)
                    + step.lookahead_frames * step.frame_samples
                    + handover_samples;
                timing.round_frames = Some(round.hops());
                timing.receptive_field_frames += round.hops();
            }
            None => {
                let samples = (step.frames * step.frame_samples) as f64;
                handover_samples =
                    ((STEP_SHARE * samples).ceil() as usize).next_multiple_of(hop_samples.max(1));
                timing.step_wait_samples =
                    step.lag_samples() - step.delay_samples + handover_samples;
            }
        }
        timing.synthesis_delay_samples = timing.step_wait_samples + step.delay_samples;
        timing.receptive_field_frames += handover_samples.div_ceil(hop_samples.max(1));
        timing
    }
}

impl Default for VoiceTiming {
    /// What is assumed while no voice is known: the timing that our own encoder and family `harmonic` aim at
    /// (10 ms of look-ahead, a lead of 2 ms in the graph, 48 kHz), so that such a voice can be loaded later without a restart.
    fn default() -> Self {
        Self {
            encoder_lookahead_samples: 160,
            encoder_step_samples: 0,
            model_rate_hz: 48_000,
            synthesis_delay_samples: 96,
            receptive_field_frames: 100,
            step_wait_samples: 0,
            round_frames: None,
        }
    }
}

/// Frames that are still synthesised, after everything that can be heard of the past is over, before a stream sleeps.
pub const SLEEP_MARGIN_FRAMES: usize = 2;

/// Look-ahead of F0 and loudness beside an encoder that sees `heard_ahead_samples` at 16 kHz of every frame's future: the
/// long one, unless they would be what is waited for.
pub fn lookahead(heard_ahead_samples: usize) -> Lookahead {
    let hops = |samples: usize| samples.div_ceil(CONTENT_HOP_SAMPLES);
    let long = F0Tracker::lookahead_samples(Lookahead::Long)
        .max(LoudnessMeter::lookahead_samples(Lookahead::Long));
    if hops(heard_ahead_samples) >= hops(long) {
        Lookahead::Long
    } else {
        Lookahead::Short
    }
}

/// How much of the future of every frame an encoder sees, in samples at 16 kHz, however long its steps are.
pub fn heard_ahead_samples(encoder: &EncoderSpec) -> usize {
    (encoder.step.as_ref()).map_or(encoder.lookahead_samples, |step| {
        step.lookahead_frames * step.frame_samples
    })
}

/// Hops that must follow a frame's time before every feature of the frame is there.
pub fn lookahead_hops(encoder_lookahead_samples: usize) -> usize {
    let lookahead = lookahead(encoder_lookahead_samples);
    encoder_lookahead_samples
        .max(F0Tracker::lookahead_samples(lookahead))
        .max(LoudnessMeter::lookahead_samples(lookahead))
        .div_ceil(CONTENT_HOP_SAMPLES)
}

/// Time allowed for the worker to wake and compute, on top of the host's block.
pub fn slack_s(tier: Tier) -> f64 {
    match tier {
        Tier::Live => 0.003,
        // A full-width voice takes most of a frame to compute, and other instances may be served first.
        Tier::Studio => 0.015,
        Tier::Render => 0.060,
    }
}

/// Share of the time of a step in which it may be made: its work comes all at once.
const STEP_SHARE: f64 = 0.55;
/// The same of a step of the encoder, for which the slack is spent: it has to be done before the voice can go on.
const ENCODER_STEP_SHARE: f64 = 0.5;
/// The same where encoder and voice make their steps one after the other, as long as these are no longer than
/// [`USUAL_ROUND_S`].
const ROUND_SHARE: f64 = 0.65;
/// The step that an import has unless told otherwise.
const USUAL_ROUND_S: f64 = 0.040;
/// Longer steps cost little more, because most of what a step costs is reading weights: this, and a share of the step.
const LONG_ROUND_S: f64 = 0.0126;
/// That share.
const LONG_ROUND_SHARE: f64 = 0.25;

/// Time in which encoder and voice may make a step of `step_s`, beside the slack of the tier.
fn round_budget_s(step_s: f64) -> f64 {
    let longer = LONG_ROUND_S + LONG_ROUND_SHARE * step_s;
    (ROUND_SHARE * step_s).min(longer.max(ROUND_SHARE * USUAL_ROUND_S))
}

/// The delays of one voice in one stream, in host samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyPlan {
    /// What the host is told.
    pub latency_samples: u32,
    /// What the chain does by itself.
    pub chain_delay_samples: u32,
    /// How long the past can still be heard after the input has become silent, without the latency.
    pub tail_samples: u32,
}

impl LatencyPlan {
    /// The delays of a voice with `timing` in a stream at `host_rate_hz` whose blocks have at most `max_block_samples`.
    ///
    /// # Errors
    /// A rate the resamplers do not support.
    pub fn new(
        timing: &VoiceTiming,
        tier: Tier,
        host_rate_hz: u32,
        max_block_samples: usize,
    ) -> Result<Self, EngineError> {
        let into = StreamResampler::new(host_rate_hz, CONTENT_RATE_HZ)?;
        let out_of = StreamResampler::new(timing.model_rate_hz, host_rate_hz)?;
        let host = f64::from(host_rate_hz);
        let hop_s = CONTENT_HOP_SAMPLES as f64 / f64::from(CONTENT_RATE_HZ);
        let model = f64::from(timing.model_rate_hz);
        let graph_s = timing.synthesis_delay_samples as f64 / model;

        let chain_s = into.delay_input_samples() / host
            + hop_s
            + graph_s
            + out_of.delay_input_samples() / model;
        let ready_s = into.latency_input_samples() as f64 / host
            + lookahead_hops(timing.encoder_lookahead_samples) as f64 * hop_s
            + hop_s
            + graph_s
            + out_of.latency_input_samples() as f64 / model;
        let encoder_step_s = timing.encoder_step_samples as f64 / f64::from(CONTENT_RATE_HZ);
        let slack_s = slack_s(tier).max(ENCODER_STEP_SHARE * encoder_step_s);
        // The frame that is faded out is one later than the margin, and the chain's own delay is less than another.
        let tail_s = (timing.receptive_field_frames + SLEEP_MARGIN_FRAMES + 2) as f64 * hop_s;
        Ok(Self {
            latency_samples: ((ready_s + slack_s) * host).ceil() as u32 + max_block_samples as u32,
            chain_delay_samples: (chain_s * host).round() as u32,
            tail_samples: (tail_s * host).ceil() as u32,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use timbra_voice::identity::IdentityVoice;
    use timbra_voice::manifest::{EncoderStep, StepSpec};

    use super::*;

    #[test]
    fn live_tier_of_the_shipped_shape_is_within_30_ms() {
        let plan = LatencyPlan::new(&VoiceTiming::default(), Tier::Live, 48_000, 128).unwrap();
        assert!(
            plan.latency_samples <= 1440,
            "{} samples at 48 kHz",
            plan.latency_samples
        );
    }

    /// A so-vits-svc voice of full width at 44.1 kHz with an encoder of 20 ms, in steps of so many frames; how many frames of
    /// the future the encoder and the voice see.
    fn full_width(encoder_frames: usize, [heard, seen]: [usize; 2]) -> VoiceTiming {
        let (mut manifest, _) = IdentityVoice::default().parts();
        let encoder = EncoderStep {
            frame_samples: 320,
            frames: encoder_frames,
            lookahead_frames: heard,
        };
        let step = StepSpec {
            frame_samples: 512,
            frames: 2,
            lookahead_frames: seen,
            delay_samples: 942,
            noise_channels: 192,
            noise_scale: 0.4,
            source_noise_scale: 1.0,
            continuous_f0: true,
            follows_encoder: true,
        };
        manifest.model_rate_hz = 44_100;
        manifest.hop_samples = 441;
        manifest.delay_samples = step.lag_samples();
        manifest.encoder.lookahead_samples = encoder.lag_samples();
        manifest.encoder.step = Some(encoder);
        manifest.step = Some(step);
        VoiceTiming::of(&manifest)
    }

    #[test]
    fn voices_of_full_width_are_as_late_as_is_said_in_the_studio_tier() {
        let steps = [
            (1, [1, 2], 120),
            (2, [1, 2], 150),
            (3, [0, 1], 150),
            (4, [1, 2], 197),
        ];
        for (encoder_frames, ahead, most_ms) in steps {
            let timing = full_width(encoder_frames, ahead);
            let plan = LatencyPlan::new(&timing, Tier::Studio, 48_000, 64).unwrap();
            assert!(
                plan.latency_samples <= 48 * most_ms,
                "steps of {encoder_frames} that see {ahead:?} ahead: {} samples at 48 kHz",
                plan.latency_samples
            );
        }
    }

    #[test]
    fn a_longer_step_may_take_longer_and_a_smaller_share_of_itself() {
        let budgets_ms: Vec<f64> = (1..=50)
            .map(|ms| 1000.0 * round_budget_s(0.005 * f64::from(ms)))
            .collect();
        for (n, pair) in budgets_ms.windows(2).enumerate() {
            let (step, next) = (5.0 * (n + 1) as f64, 5.0 * (n + 2) as f64);
            assert!(pair[0] <= pair[1], "{step} ms: {pair:?}");
            assert!(
                pair[0] / step >= pair[1] / next - 1e-9,
                "{step} ms: {pair:?}"
            );
        }
    }

    #[test]
    fn f0_and_loudness_never_wait_longer_than_an_early_encoder() {
        assert_eq!(lookahead_hops(0), 1);
        assert_eq!(lookahead_hops(160), 1);
        assert_eq!(lookahead_hops(320), 2);
        assert_eq!(lookahead_hops(321), 3);
        assert_eq!(lookahead_hops(480), 3);
        assert_eq!(lookahead_hops(481), 4);
    }

    #[test]
    fn padding_is_never_negative() {
        for host_rate_hz in [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000] {
            for model_rate_hz in [16_000, 24_000, 44_100, 48_000] {
                let timing = VoiceTiming {
                    encoder_lookahead_samples: 0,
                    model_rate_hz,
                    ..VoiceTiming::default()
                };
                let plan = LatencyPlan::new(&timing, Tier::Live, host_rate_hz, 1).unwrap();
                assert!(plan.latency_samples > plan.chain_delay_samples);
            }
        }
    }
}
