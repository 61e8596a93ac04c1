//! Real time is only paced differently. Alone in its binary: other tests beside it would take its cores.

use timbra_tests::bundles;
use timbra_tests::host::{Format, Job, Mode, Pace, Setup};
use timbra_tests::singer;

const RATE_HZ: u32 = 48_000;

fn play(mode: Mode) -> Vec<f32> {
    let mut host = bundles::open(Format::Clap);
    host.activate(Setup::offline(RATE_HZ, 1024).mode(mode))
        .expect("activate");
    host.idle(std::time::Duration::from_millis(100))
        .expect("idle");
    let vocal: Vec<f32> = singer::sing(RATE_HZ)
        .into_iter()
        .take(3 * RATE_HZ as usize)
        .collect();
    let input = vec![vocal; 2];
    let job = Job {
        pace: Pace::RealTime,
        ..Job::new(&input, &[512])
    };
    host.render(&job).expect("render").swap_remove(0)
}

#[test]
fn real_time_sounds_like_the_bounce() {
    // On a machine that is busy with other things a deadline may be missed; then
    // there is a gap, and what is not gap must still be exactly the bounce.
    let live = play(Mode::Realtime);
    let bounced = play(Mode::Offline);
    let same = live.iter().zip(&bounced).filter(|(a, b)| a == b).count();
    let share = same as f64 / live.len() as f64;
    assert!(
        share > 0.8,
        "only {:.0} % of the samples are those of the bounce",
        share * 100.0
    );
}
