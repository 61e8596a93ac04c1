//! What an instance costs that has nothing to do. Alone in its binary: the time of the whole process is measured.

use std::time::{Duration, Instant};

use timbra_tests::host::{FORMATS, Host, Job, Mode, Pace, Setup};
use timbra_tests::{bundles, singer};

const RATE_HZ: u32 = 48_000;
const INSTANCES: usize = 4;
/// Share of a core for all instances together, with the host that asks them for blocks.
const MOST: f64 = 0.03;

/// Processor time of this process so far.
#[cfg(unix)]
fn spent() -> Duration {
    // SAFETY: a plain C structure of numbers, filled by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn play(host: &mut dyn Host, input: &[f32]) {
    let input = vec![input.to_vec(); 2];
    let job = Job {
        pace: Pace::RealTime,
        ..Job::new(&input, &[480])
    };
    host.render(&job).expect("render");
}

#[cfg(unix)]
#[test]
fn silence_costs_next_to_nothing() {
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
