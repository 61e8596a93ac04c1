//! The plugin under test: built and bundled once, by the same command a user runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::host::{Format, Host};
use crate::state::State;

/// Set to a folder with `timbra.clap` and `timbra.vst3` to test those.
pub const VARIABLE: &str = "TIMBRA_BUNDLES";

/// The folder of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    // Cargo says where it runs the tests from; a target folder may outlive the clone it was compiled in.
    let tests =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&tests)
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

/// The folder with the bundles: [`VARIABLE`], or what `cargo xtask bundle` makes of the sources as they are.
///
/// # Panics
/// When bundling fails.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(path) = std::env::var_os(VARIABLE).filter(|v| !v.is_empty()) {
            return path.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(root())
            .args(["xtask", "bundle"])
            .output()
            .expect("cargo starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "cargo xtask bundle failed:\n{errors}"
        );
        let printed = String::from_utf8_lossy(&output.stdout);
        let line = printed
            .lines()
            .find_map(|line| line.strip_prefix("bundled: "));
        line.expect("xtask names the folder").into()
    })
}

/// The bundle of one format.
#[must_use]
pub fn bundle(format: Format) -> PathBuf {
    folder().join(format!("timbra.{}", format.name()))
}

/// A fresh instance with its default voice.
///
/// # Panics
/// When it cannot be loaded.
#[must_use]
pub fn open(format: Format) -> Box<dyn Host> {
    format
        .open(&bundle(format))
        .unwrap_or_else(|e| panic!("{}: {e:#}", format.name()))
}

/// A fresh instance with the voice in a file.
///
/// # Panics
/// When it cannot be loaded.
#[must_use]
pub fn open_with_voice(format: Format, voice: &Path) -> Box<dyn Host> {
    let mut host = open(format);
    ask_for_voice(host.as_mut(), voice);
    host
}

/// Makes an instance want the voice in a file, through its state.
///
/// # Panics
/// When the plugin refuses its own state.
pub fn ask_for_voice(host: &mut dyn Host, voice: &Path) {
    let saved = host.save().expect("save");
    let mut state = State::parse(&saved).expect("a state of ours");
    let name = voice.file_stem().unwrap_or_default().to_string_lossy();
    state.set_voice(&name, &voice.to_string_lossy(), "");
    host.load(&state.bytes()).expect("load");
}

/// Says that a claim was not tested because `what` is not installed. In CI that is a failure.
///
/// # Panics
/// With `CI` set.
pub fn skip(what: &str) {
    let in_ci = std::env::var("CI").is_ok_and(|v| !v.is_empty() && v != "false" && v != "0");
    assert!(!in_ci, "{what} is not installed, and in CI it must be");
    println!("SKIP {what}: not installed (tests/hosts/install.sh installs it on Debian)");
}
