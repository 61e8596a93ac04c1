//! The plugin in other people's hosts. Each script prints a line per claim.
//!
//! `tests/hosts/install.sh` installs them; `cargo xtask test` calls it. A host
//! that is not there is a printed skip, and in CI a failure.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use timbra_tests::wav::{self, Sound};
use timbra_tests::{bundles, singer, voices};

/// Python of the hosts' environment, as install.sh made it.
fn python() -> Option<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let folder = set("TIMBRA_HOSTS").or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
        Some(cache.join("timbra").join("hosts"))
    })?;
    Some(folder.join("bin").join("python")).filter(|p| p.is_file())
}

fn has_module(python: &Path, module: &str) -> bool {
    let mut command = Command::new(python);
    let output = command.args(["-c", &format!("import {module}")]).output();
    output.is_ok_and(|o| o.status.success())
}

/// Runs one script against the VST3 bundle and a voice that plays its input back.
fn run(host: &str, script: &str, python: &Path) {
    let song = singer::sing(48_000);
    run_with(host, script, python, &song, |folder| {
        voices::identity(folder, "trio");
    });
}

/// Runs one script with a vocal and the voice that `write` puts into the folder under the name a fresh instance asks for.
fn run_with(host: &str, script: &str, python: &Path, song: &[f32], write: impl Fn(&Path)) {
    // One at a time: these hosts render in real blocks on machines with few cores.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hosts");
    std::fs::create_dir_all(&work).expect("work folder");
    let vocal = work.join("vocal.wav");
    wav::write(
        &vocal,
        &Sound {
            rate_hz: 48_000,
            channels: vec![song.to_vec()],
        },
    )
    .expect("write");
    let voices_folder = work.join("voices");
    let _ = std::fs::remove_dir_all(&voices_folder);
    write(&voices_folder);
    let scripts = bundles::root().join("tests").join("hosts");
    let output = Command::new(python)
        .arg("-B")
        .arg(scripts.join(script))
        .arg("--bundle")
        .arg(bundles::folder().join("timbra.vst3"))
        .arg("--vocal")
        .arg(&vocal)
        .arg("--work")
        .arg(&work)
        .env("TIMBRA_VOICES", &voices_folder)
        .output()
        .expect("python starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    print!("{text}");
    assert!(
        output.status.success() && text.contains("PASS"),
        "{host}: {}\n{text}\n{errors}",
        output.status
    );
}

#[test]
fn pedalboard_converts_automates_saves_and_restores() {
    match python().filter(|p| has_module(p, "pedalboard")) {
        Some(python) => run("pedalboard", "pedalboard_host.py", &python),
        None => bundles::skip("pedalboard"),
    }
}

#[test]
fn dawdreamer_converts_automates_saves_and_restores() {
    match python().filter(|p| has_module(p, "dawdreamer")) {
        Some(python) => run("dawdreamer", "dawdreamer_host.py", &python),
        None => bundles::skip("dawdreamer"),
    }
}

#[test]
fn ardour_exports_a_session_without_gaps() {
    let ardour = Command::new("sh")
        .args(["-c", "command -v ardour7-lua || command -v ardour8-lua"])
        .output()
        .is_ok_and(|o| o.status.success());
    match python().filter(|p| ardour && has_module(p, "pedalboard")) {
        Some(python) => run("Ardour", "ardour_host.py", &python),
        None => bundles::skip("Ardour"),
    }
}

/// A take of `TIMBRA_SLOW_SECONDS` (180 for the whole claim; else short) and a voice with a load of 3.
fn run_slow(host: &str, script: &str, python: &Path, shortest_s: f64) {
    let seconds = std::env::var("TIMBRA_SLOW_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(shortest_s);
    let song = singer::sing(48_000);
    let samples = (seconds * 48_000.0) as usize;
    let song: Vec<f32> = song.iter().copied().cycle().take(samples).collect();
    run_with(host, script, python, &song, |folder| {
        voices::slow(folder, "trio", 30.0);
    });
}

#[test]
fn a_voice_three_times_too_slow_has_no_gaps_in_hosts_that_render() {
    match python().filter(|p| has_module(p, "pedalboard") && has_module(p, "dawdreamer")) {
        Some(python) => run_slow("slow voice", "slow_voice.py", &python, 3.0),
        None => bundles::skip("pedalboard and dawdreamer"),
    }
}

#[test]
#[ignore = "takes a minute and more: Ardour exports seven seconds at least, with TIMBRA_SLOW_SECONDS=180 three minutes"]
fn a_voice_three_times_too_slow_has_no_gaps_in_ardour() {
    match python().filter(|p| has_module(p, "pedalboard")) {
        Some(python) => run_slow("Ardour", "ardour_host.py", &python, 7.0),
        None => bundles::skip("Ardour"),
    }
}
