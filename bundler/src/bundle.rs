//! Plugin, ONNX Runtime, voices and presets in the folders hosts read.
//!
//! Linux and Windows:
//! ```text
//! bundled/timbra.clap                            the plugin's library
//! bundled/lib/                                   ONNX Runtime, timbra-worker
//! bundled/models/ presets/                       what timbra.clap looks for beside itself
//! bundled/timbra.vst3/Contents/ARCH-OS/          the library with ONNX Runtime, timbra-worker
//! bundled/timbra.vst3/Contents/Resources/        models, presets
//! ```
//! On macOS timbra.clap is a bundle like timbra.vst3. `timbra_engine::locate`
//! is the other half of this agreement.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::project;
use crate::run::{copy, remove, run};
use crate::runtime::{self, Runtime};

const PACKAGE: &str = "timbra";

/// `cargo xtask bundle`.
///
/// # Errors
/// When building, fetching the runtime or staging fails.
pub fn command(release: bool) -> Result<()> {
    let bundled = bundle(release)?;
    println!("bundled: {}", bundled.display());
    Ok(())
}

/// Builds and bundles; returns the folder with the bundles.
///
/// # Errors
/// When building, fetching the runtime or staging fails.
pub fn bundle(release: bool) -> Result<PathBuf> {
    let mut build = Command::new(project::cargo());
    build
        .current_dir(project::root())
        .args(["build", "--package", PACKAGE, "--lib"])
        .args(["--package", "timbra-engine", "--bins"]);
    if release {
        build.arg("--release");
    }
    run(&mut build)?;
    stage(release)
}

/// Bundles the library that was built last.
///
/// # Errors
/// When fetching the runtime or staging fails.
pub fn stage(release: bool) -> Result<PathBuf> {
    let runtime = runtime::get()?;
    let target = project::target();
    let profile = if release { "release" } else { "debug" };
    let built = target.join(profile).join(library_name());
    let bundled = target.join(if release { "bundled" } else { "bundled-dev" });
    let lock = fs::File::create(target.join("xtask.lock"))?;
    lock.lock().context("cannot wait for another xtask")?;
    let root = project::root();
    let worker = target.join(profile).join(worker_name());
    let sources = [
        built.clone(),
        worker.clone(),
        runtime.library.clone(),
        root.join("models"),
        root.join("presets"),
    ];
    // Beside the folder with the bundles: what they were made from.
    let stamp = bundled.with_extension("sources");
    let inventory = inventory(&sources)?;
    if is_current(&bundled, &stamp, &inventory) {
        return Ok(bundled);
    }
    remove(&stamp)?;
    // nice-plug-xtask writes to `bundled` under the folder it reads from. A
    // folder of its own per profile keeps a test's bundle out of the user's.
    let work = target.join("xtask").join(profile);
    fs::create_dir_all(work.join(profile))?;
    copy(&built, &work.join(profile).join(library_name())).context("the plugin was not built")?;
    remove(&work.join("bundled"))?;
    nice_plug_xtask::chdir_workspace_root()?;
    let arguments: Vec<String> = release
        .then(|| "--release".to_owned())
        .into_iter()
        .collect();
    nice_plug_xtask::bundle(&work, PACKAGE, &arguments, false)?;
    let staged = work.join("bundled");
    let clap = staged.join("timbra.clap");
    let vst3 = staged.join("timbra.vst3");
    ensure!(
        clap.exists() && vst3.exists(),
        "the library exports no CLAP or no VST3 plugin"
    );
    if clap.is_dir() {
        fill_bundle(&clap, &runtime, &worker)?;
    } else {
        let lib = staged.join("lib");
        fs::create_dir_all(&lib)?;
        add_programs(&lib, &runtime, &worker)?;
        add_resources(&staged, &runtime)?;
    }
    fill_bundle(&vst3, &runtime, &worker)?;
    remove(&bundled)?;
    fs::rename(&staged, &bundled).context("cannot move the bundles in place")?;
    remove(&work)?;
    fs::write(&stamp, inventory).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(bundled)
}

/// Every file of `sources` (files, or folders with files) with its length and date, a line each. Dates alone do not tell a
/// library or a voice that was exchanged for an older one.
fn inventory(sources: &[PathBuf]) -> Result<String> {
    let mut lines = Vec::new();
    let mut open = sources.to_vec();
    while let Some(path) = open.pop() {
        let about = fs::metadata(&path).with_context(|| format!("no {}", path.display()))?;
        if about.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        } else {
            let made = about.modified()?.duration_since(SystemTime::UNIX_EPOCH);
            let made = made.unwrap_or_default().as_nanos();
            lines.push(format!("{} {} {made}\n", path.display(), about.len()));
        }
    }
    lines.sort();
    Ok(lines.concat())
}

/// Whether the bundles are there and were made from these very files.
fn is_current(bundled: &Path, stamp: &Path, inventory: &str) -> bool {
    ["timbra.clap", "timbra.vst3"]
        .iter()
        .all(|name| bundled.join(name).exists())
        && fs::read_to_string(stamp).is_ok_and(|made_from| made_from == inventory)
}

fn library_name() -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}{PACKAGE}{DLL_SUFFIX}")
}

/// Puts the runtime beside the binary of a bundle, and the resources where bundles keep them.
fn fill_bundle(bundle: &Path, runtime: &Runtime, worker: &Path) -> Result<()> {
    let contents = bundle.join("Contents");
    let binaries = fs::read_dir(&contents)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name == "MacOS" || name.ends_with("-linux") || name.ends_with("-win")
        })
        .with_context(|| format!("no binary in {}", bundle.display()))?;
    add_programs(&binaries, runtime, worker)?;
    let resources = contents.join("Resources");
    fs::create_dir_all(&resources)?;
    add_resources(&resources, runtime)?;
    if cfg!(target_os = "macos") {
        // The framework's bundler signed before the resources were there.
        run(Command::new("codesign")
            .args(["--force", "--deep", "--sign", "-"])
            .arg(bundle))?;
    }
    Ok(())
}

/// ONNX Runtime, and the program in which voices run.
fn add_programs(folder: &Path, runtime: &Runtime, worker: &Path) -> Result<()> {
    let name = if cfg!(target_os = "windows") {
        "onnxruntime.dll"
    } else if cfg!(target_os = "macos") {
        "libonnxruntime.dylib"
    } else {
        "libonnxruntime.so"
    };
    copy(&runtime.library, &folder.join(name))?;
    copy(worker, &folder.join(worker_name())).context("the worker was not built")
}

fn worker_name() -> String {
    format!("timbra-worker{}", std::env::consts::EXE_SUFFIX)
}

/// Voices, presets and licences.
fn add_resources(folder: &Path, runtime: &Runtime) -> Result<()> {
    let root = project::root();
    let models = folder.join("models");
    fs::create_dir_all(&models)?;
    copy_if_there(&root.join("models/README.md"), &models.join("README.md"))?;
    let mut voices = 0;
    for entry in fs::read_dir(root.join("models"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "timbra") {
            copy(&path, &models.join(path.file_name().unwrap_or_default()))?;
            voices += 1;
        }
    }
    // Encoders are found in a folder of their own beside the voices.
    copy_if_there(&root.join("models/encoders"), &models.join("encoders"))?;
    if voices == 0 {
        eprintln!("warning: models/ holds no voice; the plugin will be silent until one is loaded");
    }
    copy_if_there(&root.join("presets"), &folder.join("presets"))?;
    let licences = folder.join("licences");
    fs::create_dir_all(&licences)?;
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy_if_there(&root.join(name), &licences.join(name))?;
    }
    for notice in &runtime.notices {
        copy(
            notice,
            &licences.join(notice.file_name().unwrap_or_default()),
        )?;
    }
    Ok(())
}

fn copy_if_there(from: &Path, to: &Path) -> Result<()> {
    if from.exists() {
        copy(from, to)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_was_exchanged_for_an_older_one_makes_a_new_bundle() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("timbra bundle {}", std::process::id()));
        let (bundled, stamp) = (folder.join("bundled"), folder.join("bundled.sources"));
        for name in ["timbra.clap", "timbra.vst3"] {
            fs::create_dir_all(bundled.join(name))?;
        }
        let sources = [folder.join("models"), folder.join("library")];
        fs::create_dir_all(&sources[0])?;
        fs::write(sources[0].join("voice.timbra"), "one")?;
        fs::write(&sources[1], "library")?;
        let before = inventory(&sources)?;
        assert!(!is_current(&bundled, &stamp, &before), "nothing was noted");
        fs::write(&stamp, &before)?;
        assert!(is_current(&bundled, &stamp, &inventory(&sources)?));
        let voice = fs::File::options()
            .write(true)
            .open(sources[0].join("voice.timbra"))?;
        voice.set_modified(SystemTime::UNIX_EPOCH)?;
        assert!(!is_current(&bundled, &stamp, &inventory(&sources)?));
        let others = [sources[0].clone(), folder.join("another")];
        assert!(inventory(&others).is_err(), "a library that is not there");
        fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
