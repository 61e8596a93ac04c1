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
            channels: vec![singer::sing(48_000)],
        },
    )
    .expect("write");
    // Under the name a fresh instance asks for, so that no editor is needed.
    let voices_folder = work.join("voices");
    voices::identity(&voices_folder, "trio");
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
