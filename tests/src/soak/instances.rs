//! Many instances, and instances that come and go.

use std::time::Duration;

use super::{EXACT_RATE_HZ, Row, align, ready, song, test_voices};
use crate::bundles;
use crate::host::{FORMATS, Format, Host, Job, Mode, Pace, Setup};
use crate::resources::Resources;
use crate::{singer, voices, worker};

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// Memory of this process and the worker's together.
fn memory_bytes() -> u64 {
    let program = worker::keep_private();
    let own = Resources::now().memory_bytes;
    let workers = worker::processes(program);
    own + workers
        .into_iter()
        .map(worker::proportional_bytes)
        .sum::<u64>()
}

/// Opens `count` instances of the shipped voice, measures what each costs, and plays in all of them.
///
/// # Panics
/// When the plugin cannot be loaded or refuses to play.
#[must_use]
pub fn many_instances(count: usize) -> Vec<Row> {
    let program = worker::keep_private();
    let open = || {
        let mut host = bundles::open(Format::Clap);
        host.activate(Setup::offline(48_000, 512))
            .expect("activate");
        // Played, so that every buffer has been used once.
        let input = vec![song(48_000); 2];
        host.render(&Job::new(&input, &[512])).expect("render");
        host
    };
    let mut hosts = vec![open(), open()];
    let before = memory_bytes();
    while hosts.len() < count {
        hosts.push(open());
    }
    let each = mebibytes(memory_bytes().saturating_sub(before) as f64) / (count - 2) as f64;
    let workers = worker::processes(program).len();
    drop(hosts);

    let identity = voices::identity(&test_voices(), "soak-identity");
    let mut hosts: Vec<_> = (0..count)
        .map(|index| ready(FORMATS[index % 2], &identity, 512, Mode::Offline, "Live"))
        .collect();
    let wrong = play_together(&mut hosts);
    vec![
        Row::new(
            format!("memory of a further instance, of {count} (host and worker)"),
            format!("{each:.1} MiB"),
            "6 MiB",
            each <= 6.0,
        ),
        Row::new(
            "workers of all instances",
            workers.to_string(),
            "1",
            workers == 1,
        ),
        Row::new(
            format!("{count} instances in turn: samples that are wrong"),
            wrong.to_string(),
            "0",
            wrong == 0,
        ),
    ]
}

/// A second through each, in pieces, in turn; gives the samples that are wrong.
fn play_together(hosts: &mut [Box<dyn Host>]) -> usize {
    let song = song(EXACT_RATE_HZ as usize);
    let mut outputs = vec![Vec::new(); hosts.len()];
    for piece in song.chunks(4096) {
        for (host, output) in hosts.iter_mut().zip(&mut outputs) {
            let input = vec![piece.to_vec()];
            output.extend(
                host.render(&Job::new(&input, &[512]))
                    .expect("render")
                    .swap_remove(0),
            );
        }
    }
    hosts
        .iter_mut()
        .zip(&outputs)
        .map(|(host, output)| {
            let latency = host.latency_samples();
            output.len() - latency - align(output, &song, latency).right
        })
        .sum()
}

/// As many instances of the shipped voice in true real time as the worker's threads carry by what one costs, with some
/// room left; each must sound as the bounce does. With the live tier's 3 ms to spare a machine's hiccups are heard, with
/// the studio tier's 20 ms they must not be.
///
/// # Panics
/// When the plugin cannot be loaded or refuses to play.
#[must_use]
pub fn crowd_in_real_time(seconds: f64) -> Vec<Row> {
    // The frames of all come due together every 10 ms, and have the block and what the tier spares.
    [("Live", 0.003, 0.99), ("Studio", 0.020, 1.0)]
        .into_iter()
        .map(|(tier, spare_s, least)| {
            let share = ((spare_s + 256.0 / 48_000.0) / 0.010_f64).min(1.0);
            crowd(seconds / 2.0, tier, share, least)
        })
        .collect()
}

fn crowd(seconds: f64, tier: &str, share: f64, least: f64) -> Row {
    let program = worker::keep_private();
    let song: Vec<f32> = singer::sing(48_000)
        .into_iter()
        .cycle()
        .take((seconds * 48_000.0) as usize)
        .collect();
    let open = |mode: Mode| {
        let mut host = bundles::open(Format::Clap);
        host.set_text("tier", tier).expect("tier");
        host.activate(Setup::offline(48_000, 256).mono().mode(mode))
            .expect("activate");
        host.idle(Duration::from_millis(1500)).expect("idle");
        host
    };
    let play = |mode: Mode, pace: Pace| {
        let mut host = open(mode);
        let input = vec![song.clone()];
        let job = Job {
            pace,
            ..Job::new(&input, &[256])
        };
        host.render(&job).expect("render").swap_remove(0)
    };
    let bounced = play(Mode::Offline, Pace::Free);
    let same = |live: &[f32]| {
        let same = live.iter().zip(&bounced).filter(|(a, b)| a == b).count();
        same as f64 / bounced.len() as f64
    };
    let spent = || {
        let workers = worker::processes(program);
        workers
            .into_iter()
            .map(|process| worker::spent(process).time)
            .sum::<Duration>()
    };
    // One that stays, so that the worker does.
    let mut first = bundles::open(Format::Clap);
    first
        .activate(Setup::offline(48_000, 256))
        .expect("activate");
    let before = spent();
    let alone = same(&play(Mode::Realtime, Pace::RealTime));
    let load = spent().saturating_sub(before).as_secs_f64() / seconds;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.saturating_sub(1).clamp(1, 8);
    let carried = ((0.7 * share * threads as f64 / load) as usize).max(1);
    let shares: Vec<f64> = std::thread::scope(|scope| {
        let players: Vec<_> = (0..carried)
            .map(|_| scope.spawn(|| same(&play(Mode::Realtime, Pace::RealTime))))
            .collect();
        players
            .into_iter()
            .map(|player| player.join().expect("a player"))
            .collect()
    });
    let worst = shares.iter().copied().fold(1.0, f64::min);
    Row::new(
        format!(
            "{tier} tier, {carried} instances in real time on {threads} worker threads (one costs {load:.2} of a core): \
             the worst is the bounce in"
        ),
        format!(
            "{:.2} % of its samples (alone {:.2} %)",
            100.0 * worst,
            100.0 * alone
        ),
        format!("{:.0} %", 100.0 * least),
        worst >= least,
    )
}

/// Stretches in which memory is looked at.
const STRETCHES: usize = 5;

/// Loads, plays and drops instances in random order, `times` times; what stays behind is a leak.
///
/// # Panics
/// When the plugin cannot be loaded or refuses to play.
#[must_use]
pub fn churn(times: usize) -> Vec<Row> {
    let identity = voices::identity(&test_voices(), "soak-identity");
    let dice = |n: usize| (timbra_dsp::noise::uniform(11, n as u64).abs() * 1000.0) as usize;
    // One that stays, so that the worker does.
    let _first = ready(Format::Clap, &identity, 512, Mode::Realtime, "Live");
    let mut hosts: Vec<Box<dyn Host>> = Vec::new();
    let mut round = |from: usize, to: usize| {
        for n in from..to {
            let mut host = match dice(3 * n) % 3 {
                0 => bundles::open(FORMATS[n % 2]),
                _ => bundles::open_with_voice(FORMATS[n % 2], &identity),
            };
            if dice(3 * n + 1) % 8 != 0 {
                let setup = Setup::offline(EXACT_RATE_HZ, 512)
                    .mono()
                    .mode(Mode::Realtime);
                host.activate(setup).expect("activate");
                let input = vec![vec![0.1; 512]];
                host.render(&Job::new(&input, &[512])).expect("render");
            }
            hosts.push(host);
            while hosts.len() > 4 {
                let leaving = dice(3 * n + 2) % hosts.len();
                hosts.swap_remove(leaving);
            }
        }
        hosts.clear();
        // The worker frees and gives back when it has nothing else to do, and before it ends for want of hosts.
        std::thread::sleep(Duration::from_secs(2));
        (memory_bytes(), Resources::now())
    };
    // By then what is loaded once and stays is there, and the allocators have seen the most there is at a time.
    let warm = 60;
    let before = round(0, warm);
    // What allocators keep goes up and down by some MiB, and settles. A leak shows in every stretch; a stream that stayed
    // would be 0.5 MiB, a voice 28.
    let stretch = times.div_ceil(STRETCHES);
    let mut after = before;
    let mut grown = Vec::new();
    for n in 0..STRETCHES {
        let from = warm + n * stretch;
        let next = round(from, from + stretch);
        grown.push(mebibytes(next.0 as f64 - after.0 as f64));
        after = next;
    }
    let least = grown.iter().copied().fold(f64::INFINITY, f64::min) * 1024.0 / stretch as f64;
    let total: f64 = grown.iter().sum();
    vec![
        Row::new(
            format!(
                "{times} instances loaded and unloaded in random order: memory kept of each, least of {STRETCHES} \
                 stretches"
            ),
            format!("{least:.1} KiB"),
            "16 KiB",
            least <= 16.0,
        ),
        Row::new(
            "memory kept in all",
            format!("{total:.1} MiB"),
            "24 MiB",
            total <= 24.0,
        ),
        Row::new(
            "open files, threads: before, after",
            format!(
                "{}, {} then {}, {}",
                before.1.files, before.1.threads, after.1.files, after.1.threads
            ),
            "no more than before",
            after.1.files <= before.1.files && after.1.threads <= before.1.threads,
        ),
    ]
}
