//! What an instance costs that has nothing to do. Alone in its binary: the time of the whole process, and of the worker's,
//! is measured.

#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use timbra_tests::host::{FORMATS, Host, Job, Mode, Pace, Setup};
use timbra_tests::{bundles, singer, worker};

const RATE_HZ: u32 = 48_000;
const INSTANCES: usize = 4;
/// Share of a core for all instances together, with the host that asks them for blocks.
const MOST: f64 = 0.03;

/// Processor time of this process and of the worker's so far.
fn spent() -> Duration {
    let workers = worker::processes(worker::keep_private());
    std::iter::once(std::process::id())
        .chain(workers)
        .map(worker::processor_time)
        .sum()
}

fn play(host: &mut dyn Host, input: &[f32]) {
    let input = vec![input.to_vec(); 2];
    let job = Job {
        pace: Pace::RealTime,
        ..Job::new(&input, &[480])
    };
    host.render(&job).expect("render");
}

#[test]
fn silence_costs_next_to_nothing() {
    let program = worker::keep_private();
    let song = singer::sing(RATE_HZ);
    let silence = vec![0.0; 2 * RATE_HZ as usize];
    for format in FORMATS {
        let mut hosts: Vec<_> = (0..INSTANCES).map(|_| bundles::open(format)).collect();
        let setup = Setup::offline(RATE_HZ, 480).mode(Mode::Realtime);
        for host in &mut hosts {
            host.activate(setup).expect("activate");
            // It has sung, and its tail is over.
            play(host.as_mut(), &song[30_000..45_000]);
            let tail = host.tail_samples();
            play(host.as_mut(), &silence[..tail.min(silence.len())]);
        }
        assert_eq!(
            worker::processes(program).len(),
            1,
            "voices run in a process"
        );
        // The best of three, since other programs on the machine make everything cost more.
        let share = (0..3)
            .map(|_| {
                let (began, before) = (Instant::now(), spent());
                // One of them is asked for blocks, as all would be by a host on one audio thread.
                play(hosts[0].as_mut(), &silence[..RATE_HZ as usize]);
                (spent() - before).as_secs_f64() / began.elapsed().as_secs_f64()
            })
            .fold(f64::INFINITY, f64::min);
        let case = format!(
            "{INSTANCES} silent instances in {}: {:.2} % of a core",
            format.name(),
            100.0 * share
        );
        println!("{case}");
        assert!(share <= MOST, "{case}");
    }
}
