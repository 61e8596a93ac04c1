//! A job as a studio host gives it to a plugin: block after block, each in its time.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{Call, Change, Job, Note, Pace, Setup};

/// What a sound card buffers at most.
const LONGEST_CATCH_UP: Duration = Duration::from_millis(30);

/// How often this thread has let go of its core by itself.
fn voluntary_waits() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the place is writable and of the type the call fills; all zeros are one too.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
            usage.assume_init()
        };
        usage.ru_nvcsw.max(0) as u64
    }
    #[cfg(not(target_os = "linux"))]
    0
}

/// What an implementation gets for one block.
pub(super) struct Block<'a> {
    pub(super) position_samples: usize,
    pub(super) input: &'a mut [Vec<f32>],
    pub(super) output: &'a mut [Vec<f32>],
    /// Positions relative to the block.
    pub(super) changes: &'a [Change],
    /// Positions relative to the block.
    pub(super) notes: &'a [Note],
    /// The plugin reads its input from the output's memory.
    pub(super) in_place: bool,
}

/// Cuts a job into blocks and checks what comes back.
pub(super) fn drive(
    job: &Job,
    setup: Setup,
    mut process: impl FnMut(Block) -> Result<()>,
) -> Result<Vec<Vec<f32>>> {
    let total = job.input.first().map_or(0, Vec::len);
    ensure!(
        job.input.len() == setup.channels,
        "job has {} channels",
        job.input.len()
    );
    ensure!(
        job.input.iter().all(|c| c.len() == total),
        "channels differ in length"
    );
    ensure!(
        !job.blocks.contains(&0) && !job.blocks.is_empty(),
        "a block of 0 samples"
    );
    let mut output = vec![Vec::with_capacity(total); setup.channels];
    let mut block_in = vec![Vec::new(); setup.channels];
    let mut block_out = vec![Vec::new(); setup.channels];
    let mut changes = Vec::new();
    let mut next_change = 0;
    let mut notes = Vec::new();
    let mut next_note = 0;
    let mut position = 0;
    if let Some(watch) = job.watch {
        watch.this_thread()?;
    }
    let mut start = Instant::now();
    let mut strictly_due = start;
    for &wanted in job.blocks.iter().cycle() {
        if position == total {
            break;
        }
        let length = wanted.min(total - position);
        ensure!(
            length <= setup.max_block_samples,
            "block of {length} samples is too long"
        );
        if job.pace == Pace::RealTime {
            let due = start + Duration::from_secs_f64(position as f64 / setup.rate_hz);
            // Waking for less than a millisecond would only measure the timer.
            let ahead = due.saturating_duration_since(Instant::now());
            if ahead >= Duration::from_millis(1) {
                std::thread::sleep(ahead);
            }
            let late = Instant::now().saturating_duration_since(due);
            if late > LONGEST_CATCH_UP {
                start += late;
            }
        }
        if job.pace == Pace::Strict {
            while Instant::now() < strictly_due {
                std::hint::spin_loop();
            }
            strictly_due = Instant::now() + Duration::from_secs_f64(length as f64 / setup.rate_hz);
        }
        for (channel, source) in block_in.iter_mut().zip(job.input) {
            channel.clear();
            channel.extend_from_slice(&source[position..position + length]);
        }
        for channel in &mut block_out {
            channel.clear();
            channel.resize(length, f32::NAN);
        }
        if job.in_place {
            for (output, input) in block_out.iter_mut().zip(&block_in) {
                output.copy_from_slice(input);
            }
        }
        changes.clear();
        while let Some(change) = job.changes.get(next_change) {
            if change.at_samples >= position + length {
                break;
            }
            ensure!(change.at_samples >= position, "changes are not sorted");
            changes.push(Change {
                at_samples: change.at_samples - position,
                ..*change
            });
            next_change += 1;
        }
        notes.clear();
        while let Some(note) = job.notes.get(next_note) {
            if note.at_samples >= position + length {
                break;
            }
            ensure!(note.at_samples >= position, "notes are not sorted");
            notes.push(Note {
                at_samples: note.at_samples - position,
                ..*note
            });
            next_note += 1;
        }
        if let Some(before) = job.before {
            before(position);
        }
        let (began, waited) = (Instant::now(), voluntary_waits());
        process(Block {
            position_samples: position,
            input: &mut block_in,
            output: &mut block_out,
            changes: &changes,
            notes: &notes,
            in_place: job.in_place,
        })?;
        if let Some(calls) = job.calls {
            let call = Call {
                took: began.elapsed(),
                samples: length,
                waits: voluntary_waits() - waited,
            };
            calls
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(call);
        }
        for (all, channel) in output.iter_mut().zip(&block_out) {
            if let Some(at) = channel.iter().position(|s| !s.is_finite()) {
                bail!(
                    "sample {} is {} (or was not written)",
                    position + at,
                    channel[at]
                );
            }
            all.extend_from_slice(channel);
        }
        position += length;
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_input_once_and_carry_changes_at_their_sample() {
        let input = vec![(0..1000).map(|n| n as f32).collect::<Vec<_>>()];
        let changes = [0, 63, 64, 999]
            .map(|at_samples| Change {
                at_samples,
                id: 7,
                value: 0.5,
            })
            .to_vec();
        let mut seen = Vec::new();
        let job = Job {
            changes: &changes,
            ..Job::new(&input, &[64, 1, 37])
        };
        let output = drive(&job, Setup::offline(48_000, 64).mono(), |block| {
            seen.extend(
                block
                    .changes
                    .iter()
                    .map(|c| c.at_samples + block.position_samples),
            );
            block.output[0].copy_from_slice(&block.input[0]);
            Ok(())
        });
        assert_eq!(output.expect("drive"), input);
        assert_eq!(seen, [0, 63, 64, 999]);
    }

    #[test]
    fn an_unwritten_sample_is_an_error() {
        let input = vec![vec![0.0; 8]];
        let job = Job::new(&input, &[8]);
        let result = drive(&job, Setup::offline(48_000, 8).mono(), |_| Ok(()));
        assert!(result.is_err());
    }
}
