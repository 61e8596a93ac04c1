//! `process` asks nothing of the kernel, and `process` leaves the floating-point unit as it was.

#![cfg(target_os = "linux")]

use std::sync::Mutex;
use std::time::Duration;

use timbra_tests::host::{Change, FORMATS, Format, Host, Job, Mode, Note, Pace, Setup};
use timbra_tests::syscalls::{Calls, Watch, inside};
use timbra_tests::{bundles, singer};

const RATE_HZ: usize = 48_000;

fn live(format: Format, block: usize) -> Box<dyn Host> {
    let mut host = bundles::open(format);
    let setup = Setup::offline(RATE_HZ as u32, block).mode(Mode::Realtime);
    host.activate(setup).expect("activate");
    host
}

/// Plays the song in true real time, where the port never waits, and says what the audio thread asked of the kernel inside `process`.
fn watched(host: &mut dyn Host, block: usize, changes: &[Change], notes: &[Note]) -> Calls {
    let song = singer::sing(RATE_HZ as u32);
    let input = vec![song[RATE_HZ..2 * RATE_HZ].to_vec(); 2];
    let watch = Watch::default();
    let blocks = [block];
    let job = Job {
        changes,
        notes,
        pace: Pace::Strict,
        watch: Some(&watch),
        ..Job::new(&input, &blocks)
    };
    host.render(&job).expect("render");
    watch.finish()
}

/// Everything a host can automate, at odd samples.
fn automation(host: &dyn Host) -> Vec<Change> {
    let parameters = host.parameters().iter().filter(|p| p.automatable);
    let ids: Vec<u32> = parameters.map(|p| p.id).collect();
    (0..400)
        .map(|index| Change {
            at_samples: 1_000 + 101 * index,
            id: ids[index % ids.len()],
            value: (index % 5) as f64 / 4.0,
        })
        .collect()
}

#[test]
fn process_makes_no_system_call() {
    for format in FORMATS {
        for block in [1, 64, 1024] {
            let calls = watched(live(format, block).as_mut(), block, &[], &[]);
            assert_eq!(
                calls,
                Calls::new(),
                "{} with blocks of {block}",
                format.name()
            );
        }
    }
}

#[test]
fn process_with_automation_never_waits_for_the_kernel() {
    for format in FORMATS {
        let mut host = live(format, 64);
        let changes = automation(host.as_ref());
        let mut calls = watched(host.as_mut(), 64, &changes, &[]);
        println!("{}: {calls:?}", format.name());
        if format == Format::Vst3 {
            // The framework tells its own thread of every value, for the editor's sake. A wake does not wait.
            calls.remove("futex wake");
        }
        assert_eq!(calls, Calls::new(), "{}", format.name());
    }
}

#[test]
fn process_with_notes_makes_no_system_call() {
    let notes: Vec<Note> = (0..400)
        .map(|index| Note {
            at_samples: 1_000 + 101 * index,
            key: 48 + (index * 7 % 30) as u8,
            on: index % 3 != 2,
        })
        .collect();
    for format in FORMATS {
        let mut host = bundles::open(format);
        host.set_text("retune_mode", "MIDI").expect("set");
        let setup = Setup::offline(RATE_HZ as u32, 64).mode(Mode::Realtime);
        host.activate(setup).expect("activate");
        let calls = watched(host.as_mut(), 64, &[], &notes);
        assert_eq!(calls, Calls::new(), "{}", format.name());
    }
}

#[test]
fn a_system_call_or_a_lock_that_is_held_would_be_seen() {
    let lock = Mutex::new(());
    let watch = Watch::default();
    std::thread::scope(|scope| {
        let held = lock.lock();
        let thread = scope.spawn(|| {
            watch.this_thread().expect("watch");
            // Not inside: the host's own affair.
            std::thread::sleep(Duration::from_micros(10));
            inside(|| std::thread::sleep(Duration::from_micros(10)));
            inside(|| drop(lock.lock()));
            inside(|| drop(std::hint::black_box(vec![1u8; 64 << 20])));
        });
        std::thread::sleep(Duration::from_millis(100));
        drop(held);
        thread.join().expect("watched");
    });
    let calls = watch.finish();
    assert_eq!(calls.get("clock_nanosleep"), Some(&1), "{calls:?}");
    assert!(calls.contains_key("futex wait"), "{calls:?}");
    assert!(calls.contains_key("mmap"), "{calls:?}");
}
