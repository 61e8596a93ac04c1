//! Notices when a training fails, and when it is done.

use serde::{Deserialize, Serialize};

/// Steps in a row whose gradient is not a number before a run gives up.
const MOST_BAD_STEPS: u64 = 20;
/// Validations without a better score after which stopping is advised.
const PATIENCE: u64 = 8;
/// A divergence of posterior and prior below this, in nats per frame, carries nothing of the recording.
const COLLAPSED_NATS: f64 = 0.05;
/// A mean square error of a critic's verdicts below this leaves the voice nothing to learn from.
const CRITIC_WON: f64 = 0.02;
/// A mel distance this many times the best is not noise.
const DIVERGED: f64 = 1.5;
/// Sung parts quieter than this under their recordings, in dB, are silent.
const SILENT_DB: f64 = -40.0;

/// What a validation and the steps before it say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Steps done.
    pub step: u64,
    /// The validation's score; higher is better.
    pub score: f64,
    /// Its mel distance.
    pub mel: f64,
    /// Level of what is sung beside the recordings, in dB.
    pub level_db: f64,
    /// Mean divergence of posterior and prior since the last, in nats per frame, where a step was taken.
    pub nats: Option<f64>,
    /// Mean loss per critic since the last, where critics judge.
    pub critic: Option<f64>,
}

/// What a run has seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// Steps that were not taken because their gradient was not a number.
    pub skipped_steps: u64,
    skipped_in_a_row: u64,
    /// Best score and its step.
    pub best: Option<(f64, u64)>,
    best_mel: Option<f64>,
    since_best: u64,
}

impl Watch {
    /// Whether a step may be taken, by the lengths of its gradients: the voice's and, where they judge, the critics'.
    ///
    /// # Errors
    /// Too many in a row may not; what to do.
    pub fn may_step(&mut self, gradients: &[f32], step: u64) -> Result<bool, String> {
        if gradients.iter().all(|gradient| gradient.is_finite()) {
            self.skipped_in_a_row = 0;
            return Ok(true);
        }
        self.skipped_steps += 1;
        self.skipped_in_a_row += 1;
        if self.skipped_in_a_row >= MOST_BAD_STEPS {
            return Err(format!(
                "the gradients of {MOST_BAD_STEPS} steps in a row up to step {step} are not numbers; the last checkpoint is kept: lower \
                 --learning-rate and run the same command, or look for broken recordings"
            ));
        }
        Ok(false)
    }

    /// Takes a validation: whether it is the best so far, and what a person should know.
    pub fn validated(&mut self, reading: Reading) -> (bool, Vec<String>) {
        let mut notices = Vec::new();
        let better = self.best.is_none_or(|(score, _)| reading.score > score);
        if better {
            self.best = Some((reading.score, reading.step));
            self.since_best = 0;
        } else {
            self.since_best += 1;
        }
        if let Some(nats) = reading.nats.filter(|&nats| nats < COLLAPSED_NATS) {
            notices.push(format!(
                "the posterior carries {nats:.3} nats a frame: it has collapsed onto the prior; lower --learning-rate"
            ));
        }
        if reading.critic.is_some_and(|loss| loss < CRITIC_WON) {
            notices.push(
                "the critics tell every rendering from a recording and teach nothing more; lower --learning-rate, or give \
                 more recordings"
                    .to_owned(),
            );
        }
        if reading.level_db < SILENT_DB {
            notices.push(format!(
                "the voice is silent: {:.0} dB under the recordings",
                reading.level_db
            ));
        }
        if self
            .best_mel
            .is_some_and(|best| reading.mel > DIVERGED * best)
        {
            notices.push(format!(
                "the mel distance has risen to {:.2} from {:.2}: the training diverges; the best checkpoint is kept",
                reading.mel,
                self.best_mel.unwrap_or_default()
            ));
        }
        self.best_mel = Some(self.best_mel.unwrap_or(f64::INFINITY).min(reading.mel));
        if let Some((score, step)) = self.best
            && self.since_best >= PATIENCE
        {
            notices.push(format!(
                "no better score than {score:.3} of step {step} in {} validations: stopping is advised; export takes the best",
                self.since_best
            ));
        }
        (better, notices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Reading = Reading {
        step: 1,
        score: 0.5,
        mel: 1.0,
        level_db: -1.0,
        nats: Some(1.0),
        critic: Some(0.4),
    };

    #[test]
    fn a_bad_gradient_is_skipped_and_many_end_the_run() {
        let mut watch = Watch::default();
        assert_eq!(watch.may_step(&[3.0], 1), Ok(true));
        for step in 0..MOST_BAD_STEPS - 1 {
            assert_eq!(watch.may_step(&[f32::NAN, 1.0], step), Ok(false));
        }
        assert_eq!(watch.may_step(&[1.0, 1.0], 40), Ok(true));
        for step in 0..MOST_BAD_STEPS - 1 {
            assert_eq!(watch.may_step(&[1.0, f32::INFINITY], step), Ok(false));
        }
        assert!(
            watch
                .may_step(&[f32::NAN], 60)
                .unwrap_err()
                .contains("step 60")
        );
    }

    #[test]
    fn only_what_is_wrong_is_told() {
        let mut watch = Watch::default();
        assert_eq!(watch.validated(GOOD), (true, vec![]));
        let worse = Reading {
            step: 2,
            score: 0.4,
            ..GOOD
        };
        assert_eq!(watch.validated(worse), (false, vec![]));
        for (bad, word) in [
            (
                Reading {
                    nats: Some(0.01),
                    ..worse
                },
                "collapsed",
            ),
            (
                Reading {
                    critic: Some(0.001),
                    ..worse
                },
                "critics",
            ),
            (
                Reading {
                    level_db: -60.0,
                    ..worse
                },
                "silent",
            ),
            (Reading { mel: 1.6, ..worse }, "diverges"),
        ] {
            let (_, notices) = watch.validated(bad);
            assert_eq!(notices.len(), 1, "{notices:?}");
            assert!(notices[0].contains(word), "{notices:?}");
        }
        // Steps that were not taken say nothing of a collapse.
        let untaken = Reading {
            nats: None,
            critic: None,
            ..worse
        };
        for reading in [worse, untaken] {
            assert_eq!(watch.validated(reading).1, Vec::<String>::new());
        }
        assert!(watch.validated(worse).1[0].contains("stopping is advised"));
        assert_eq!(
            watch.validated(Reading { score: 0.6, ..GOOD }),
            (true, vec![])
        );
    }
}
