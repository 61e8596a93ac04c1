//! What an instance costs that has nothing to do. Alone in its binary: the time of the whole process, and of the worker's,
//! is measured.

#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use timbra_tests::host::{FORMATS, Host, Job, Mode, Pace, Setup};
use timbra_tests::worker::Spent;
use timbra_tests::{bundles, singer, worker};

const RATE_HZ: u32 = 48_000;
const INSTANCES: usize = 4;
/// Turns a second of all threads of all instances together, with the host that asks them for blocks. That, and not
/// what there is to do in them, is what silence costs.
const MOST_TURNS: f64 = 450.0;
/// What a turn may cost, in turns of a thread that does nothing but nap.
const MOST_TURN: f64 = 2.5;
/// Seconds that are measured at the most.
const MOST_SECONDS: usize = 10;

/// What this process and the worker's have had of processors so far.
fn spent() -> Spent {
    let workers = worker::processes(worker::keep_private());
    std::iter::once(std::process::id())
        .chain(workers)
        .map(worker::spent)
        .sum()
}

/// Naps until it is told that it is over; what that cost.
fn nap(over: &AtomicBool) -> Spent {
    let before = worker::spent_here();
    while !over.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(3));
    }
    worker::spent_here() - before
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
        // The best of them, since other programs on the machine make everything cost more; no more than are needed.
        let seconds = (0..MOST_SECONDS).map(|_| {
            let (began, before, over) = (Instant::now(), spent(), AtomicBool::new(false));
            let napping = std::thread::scope(|scope| {
                let napping = scope.spawn(|| nap(&over));
                // One of them is asked for blocks, as all would be by a host on one audio thread.
                play(hosts[0].as_mut(), &silence[..RATE_HZ as usize]);
                over.store(true, Ordering::Release);
                napping.join().expect("naps")
            });
            let passed_s = began.elapsed().as_secs_f64();
            // The thread that napped is gone, and with it what it had.
            let silent = spent() - before;
            let turn = |spent: Spent| spent.time.as_secs_f64() / spent.turns as f64;
            [
                silent.turns as f64 / passed_s,
                turn(silent) / turn(napping),
                silent.time.as_secs_f64() / passed_s,
            ]
        });
        let mut best = [f64::INFINITY; 3];
        for second in seconds {
            best = std::array::from_fn(|n| best[n].min(second[n]));
            if best[0] <= MOST_TURNS && best[1] <= MOST_TURN {
                break;
            }
        }
        let [turns, turn, share] = best;
        let case = format!(
            "{INSTANCES} silent instances in {}: {turns:.0} turns a second of {turn:.2} naps each, {:.2} % of a core",
            format.name(),
            100.0 * share
        );
        println!("{case}");
        assert!(turns <= MOST_TURNS && turn <= MOST_TURN, "{case}");
    }
}
