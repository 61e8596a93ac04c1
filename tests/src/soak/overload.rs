//! A worker that is stopped, killed or too slow while the host plays in real time.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Alignment, EXACT_RATE_HZ, LONGEST_FADE_SAMPLES, Row, align, ready, song, test_voices};
use crate::host::{Format, Job, Mode, Pace};
use crate::{voices, worker};

const BLOCK: usize = 160;
const RATE: f64 = EXACT_RATE_HZ as f64;

/// Plays `seconds` in real time; `before` is called with the position before each block. Says by how many seconds the
/// host was held up, too.
fn play(
    voice: &std::path::Path,
    seconds: f64,
    before: &(dyn Fn(usize) + Sync),
) -> (Alignment, f64) {
    let mut host = ready(Format::Clap, voice, BLOCK, Mode::Realtime, "Render");
    let latency = host.latency_samples();
    let input = vec![song((seconds * RATE) as usize)];
    let job = Job {
        pace: Pace::RealTime,
        before: Some(before),
        ..Job::new(&input, &[BLOCK])
    };
    let began = Instant::now();
    let output = host.render(&job).expect("render");
    let late_s = began.elapsed().as_secs_f64() - seconds;
    (align(&output[0], &input[0], latency), late_s)
}

fn aligned(what: &str, found: &Alignment) -> Row {
    Row::new(
        format!("{what}: longest stretch of sound at a wrong time"),
        format!("{} samples, {} right", found.longest_other, found.right),
        format!("no more than a fade ({LONGEST_FADE_SAMPLES}), and some right"),
        found.longest_other <= LONGEST_FADE_SAMPLES && found.right > BLOCK,
    )
}

/// Stops the worker's process for `stall`, `times` times, and lets it go on.
///
/// # Panics
/// When the plugin cannot be loaded or refuses to play.
#[must_use]
pub fn stalls(times: usize, stall: Duration) -> Vec<Row> {
    let program = worker::keep_private();
    let voice = voices::identity(&test_voices(), "soak-identity");
    let every = 2.0 + stall.as_secs_f64();
    // Where each stall began and ended.
    let log = Mutex::new((Vec::<usize>::new(), Vec::<usize>::new()));
    let before = |position: usize| {
        let mut log = log.lock().expect("no panic while it was held");
        let time_s = position as f64 / RATE;
        let due = 1.0 + every * log.0.len() as f64;
        if log.0.len() == log.1.len() {
            if log.0.len() < times && time_s >= due {
                worker::signal(worker::the_process(program), libc::SIGSTOP);
                log.0.push(position);
            }
        } else if time_s >= due - every + stall.as_secs_f64() {
            worker::signal(worker::the_process(program), libc::SIGCONT);
            log.1.push(position);
        }
    };
    let (found, _) = play(&voice, 2.0 + every * times as f64, &before);
    let (began, ended) = log.into_inner().expect("no panic while it was held");
    let latest = ended
        .iter()
        .map(|&end| {
            let back = found.returns.iter().find(|&&at| at >= end);
            back.map_or(f64::INFINITY, |at| (at - end) as f64 / RATE * 1e3)
        })
        .fold(0.0, f64::max);
    vec![
        Row::new(
            format!(
                "worker stopped {} times for {:.1} s: filled",
                began.len(),
                stall.as_secs_f64()
            ),
            format!("{:.2} s", found.filled as f64 / RATE),
            "less than the stalls and 0.3 s each",
            found.filled as f64 / RATE <= times as f64 * (stall.as_secs_f64() + 0.3),
        ),
        aligned("stalls", &found),
        Row::new(
            "on time again after a stall, latest",
            format!("{latest:.0} ms"),
            "100 ms",
            latest <= 100.0,
        ),
    ]
}

/// Kills the worker's process `times` times.
///
/// # Panics
/// When the plugin cannot be loaded or refuses to play.
#[must_use]
pub fn crashes(times: usize) -> Vec<Row> {
    let program = worker::keep_private();
    let voice = voices::identity(&test_voices(), "soak-identity");
    // Seldom enough not to be taken for a worker that can not live.
    let every = if times > 3 { 9.0 } else { 3.0 };
    let log = Mutex::new(Vec::<usize>::new());
    let before = |position: usize| {
        let mut log = log.lock().expect("no panic while it was held");
        if log.len() < times && position as f64 / RATE >= 1.0 + every * log.len() as f64 {
            worker::signal(worker::the_process(program), libc::SIGKILL);
            log.push(position);
        }
    };
    let (found, _) = play(&voice, 1.0 + every * times as f64, &before);
    let killed = log.into_inner().expect("no panic while it was held");
    let latest_s = killed
        .iter()
        .map(|&end| {
            // What was made before the end is still heard; then comes the gap, then the new worker.
            let back = found.returns.iter().find(|&&at| at > end);
            back.map_or(f64::INFINITY, |at| (at - end) as f64 / RATE)
        })
        .fold(0.0, f64::max);
    vec![
        aligned("crashes", &found),
        Row::new(
            format!(
                "aligned again after each of {} kills of the worker, latest",
                killed.len()
            ),
            format!("{:.0} ms", latest_s * 1e3),
            "2000 ms",
            latest_s <= 2.0 && killed.len() == times,
        ),
        Row::new(
            "workers of all instances",
            worker::processes(program).len().to_string(),
            "1",
            worker::processes(program).len() == 1,
        ),
    ]
}

/// Plays a voice with a load of 1.5 in real time: gaps there must be, but nothing at a wrong time.
///
/// # Panics
/// When the plugin cannot be loaded or refuses to play.
#[must_use]
pub fn slow_voice_in_real_time(seconds: f64) -> Vec<Row> {
    let voice = voices::slow(&test_voices(), "soak-load-1.5", 15.0);
    let (found, late_s) = play(&voice, seconds, &|_| {});
    vec![
        aligned("voice of load 1.5", &found),
        Row::new(
            "voice of load 1.5: filled",
            format!(
                "{:.1} of {seconds:.1} s; the host was {late_s:.2} s late",
                found.filled as f64 / RATE
            ),
            "some, and at most 0.2 s",
            found.filled > 0 && late_s < 0.2,
        ),
    ]
}
