//! Loading, scanning and unloading, with and without what the plugin needs.
//!
//! Each claim runs in a process of its own: a crash is a failed claim, and the
//! environment can be chosen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use timbra_tests::host::{Change, FORMATS, Format, Job, Setup};
use timbra_tests::measure::rms;
use timbra_tests::{bundles, singer, wav};

fn host() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    for name in ["ORT_DYLIB_PATH", "TIMBRA_VOICES", "TIMBRA_PRESETS"] {
        command.env_remove(name);
    }
    command
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the host starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{errors}",
        output.status
    );
    output
}

/// A folder for one claim, empty.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("scratch folder");
    folder
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).expect("folder");
        for entry in fs::read_dir(from).expect("read").flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).expect("copy");
    }
}

/// Writes the vocal and converts it; returns the output.
fn convert(folder: &Path, format: Format, bundle: &Path) -> wav::Sound {
    let (input, output) = (folder.join("in.wav"), folder.join("out.wav"));
    let vocal = wav::Sound {
        rate_hz: 48_000,
        channels: vec![singer::sing(48_000)],
    };
    wav::write(&input, &vocal).expect("write");
    succeed(
        host()
            .arg(format.name())
            .arg(bundle)
            .arg("--in")
            .arg(&input)
            .arg("--out")
            .arg(&output)
            .arg("--compensate"),
    );
    let sound = wav::read(&output).expect("read");
    assert_eq!(sound.samples(), vocal.samples());
    sound
}

#[test]
fn a_bundle_sounds_by_itself() {
    for format in FORMATS {
        let folder = scratch(&format!("alone-{}", format.name()));
        // Moved away from where it was built, as a user copies it.
        let moved = folder.join("plugins");
        copy(bundles::folder(), &moved);
        let bundle = moved.join(format!("timbra.{}", format.name()));
        let sound = convert(&folder, format, &bundle);
        assert!(rms(&sound.channels[0]) > 1e-3, "{}: silent", format.name());
    }
}

#[test]
fn without_onnx_runtime_the_plugin_loads_and_is_silent() {
    for format in FORMATS {
        let folder = scratch(&format!("no-runtime-{}", format.name()));
        let moved = folder.join("plugins");
        copy(bundles::folder(), &moved);
        remove_runtime(&moved);
        let bundle = moved.join(format!("timbra.{}", format.name()));
        let sound = convert(&folder, format, &bundle);
        assert_eq!(
            rms(&sound.channels[0]),
            0.0,
            "{}: not silent",
            format.name()
        );
    }
}

fn remove_runtime(folder: &Path) {
    for entry in fs::read_dir(folder).expect("read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            remove_runtime(&path);
        } else if entry.file_name().to_string_lossy().contains("onnxruntime.") {
            fs::remove_file(path).expect("remove");
        }
    }
}

#[test]
fn a_runtime_that_is_no_library_does_no_harm() {
    let folder = scratch("bad-runtime");
    let moved = folder.join("plugins");
    copy(bundles::folder(), &moved);
    remove_runtime(&moved);
    fs::write(
        moved.join("lib").join("libonnxruntime.so"),
        b"not a library",
    )
    .expect("write");
    let sound = convert(&folder, Format::Clap, &moved.join("timbra.clap"));
    assert_eq!(rms(&sound.channels[0]), 0.0, "not silent");
}

#[test]
fn a_scan_takes_at_most_100_ms() {
    for format in FORMATS {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let output = succeed(
                host()
                    .arg("scan")
                    .arg(format.name())
                    .arg(bundles::bundle(format)),
            );
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let ms = text
                .split_whitespace()
                .rev()
                .nth(1)
                .and_then(|w| w.parse::<f64>().ok());
            best = best.min(ms.unwrap_or_else(|| panic!("no time in {text:?}")));
        }
        // The best of five, since other tests keep the machine busy.
        assert!(best <= 100.0, "{}: {best:.1} ms", format.name());
    }
}

#[test]
fn instances_come_and_go_without_a_trace() {
    for format in FORMATS {
        let bundle = bundles::bundle(format);
        succeed(host().arg("stress").arg(format.name()).arg(bundle));
    }
}

#[test]
fn a_thread_that_played_the_plugin_may_outlive_its_library() {
    // Thread-local destructors of an unloaded library would be a jump into nothing.
    succeed(host().arg("unload").arg(bundles::bundle(Format::Clap)));
}

#[test]
fn parameters_are_listed_before_anything_is_activated() {
    for format in FORMATS {
        let output = succeed(
            host()
                .arg("params")
                .arg(format.name())
                .arg(bundles::bundle(format)),
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("Pitch") && text.contains("Bypass"), "{text}");
    }
}

#[test]
fn an_instance_may_go_with_its_automation_still_on_the_way() {
    // Values reach the framework's thread later than the audio thread; it must not find the instance gone.
    for format in FORMATS {
        for _ in 0..20 {
            let mut host = bundles::open(format);
            host.activate(Setup::offline(48_000, 64)).expect("activate");
            let id = host.find("pitch").expect("pitch").id;
            let changes: Vec<Change> = (0..6_000)
                .map(|at_samples| Change {
                    at_samples,
                    id,
                    value: (at_samples % 7) as f64 / 7.0,
                })
                .collect();
            let input = vec![vec![0.0; 6_000]; 2];
            let job = Job {
                changes: &changes,
                ..Job::new(&input, &[64])
            };
            host.render(&job).expect("render");
        }
    }
}
