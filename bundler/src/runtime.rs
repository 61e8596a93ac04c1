//! ONNX Runtime's library: fetched once through the package client at hand,
//! checked against a pinned hash, kept in the target folder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::project;
use crate::run::{copy, remove, run, works};

/// Set by users who bring their own library.
pub const VARIABLE: &str = "ORT_DYLIB_PATH";

const PYPI: &str = "onnxruntime==1.31.1";
const NPM: &str = "onnxruntime-node@1.30.0";
const NPM_PROGRAM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };
/// Licence texts in the wheel, which travel with the library.
const NOTICES: [&str; 2] = ["LICENSE", "ThirdPartyNotices.txt"];

/// One platform's library in both registries, with the hashes measured when the
/// versions were chosen (2026-11).
struct Platform {
    os: &'static str,
    arch: &'static str,
    /// Name under which the plugin looks for it.
    name: &'static str,
    wheel_platform: &'static str,
    wheel_member: &'static str,
    wheel_sha256: &'static str,
    npm_member: &'static str,
    npm_sha256: &'static str,
}

const PLATFORMS: [Platform; 4] = [
    Platform {
        os: "linux",
        arch: "x86_64",
        name: "libonnxruntime.so",
        wheel_platform: "manylinux_2_28_x86_64",
        wheel_member: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        wheel_sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
        npm_member: "package/bin/napi-v6/linux/x64/libonnxruntime.so.1",
        npm_sha256: "ffb75a925ba05e47b235bb66e3e3911714a80b328a9c9425539feb204aa32a23",
    },
    Platform {
        os: "linux",
        arch: "aarch64",
        name: "libonnxruntime.so",
        wheel_platform: "manylinux_2_28_aarch64",
        wheel_member: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        wheel_sha256: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
        npm_member: "package/bin/napi-v6/linux/arm64/libonnxruntime.so.1",
        npm_sha256: "1f549d46250b005580b597f4164984aaf75b3bcb9f3aeb07c7f8a8fe60b23c76",
    },
    Platform {
        os: "macos",
        arch: "aarch64",
        name: "libonnxruntime.dylib",
        wheel_platform: "macosx_14_0_arm64",
        wheel_member: "onnxruntime/capi/libonnxruntime.1.31.1.dylib",
        wheel_sha256: "f8b06155feece624e55e49124340eea279da812529ae6fbc46a9f2be9c9cad2e",
        npm_member: "package/bin/napi-v6/darwin/arm64/libonnxruntime.1.30.0.dylib",
        npm_sha256: "685d2be5dba1309c89d3a5324b7fd06a5c42f1a61bfea32d14c4cc28d072121d",
    },
    Platform {
        os: "windows",
        arch: "x86_64",
        name: "onnxruntime.dll",
        wheel_platform: "win_amd64",
        wheel_member: "onnxruntime/capi/onnxruntime.dll",
        wheel_sha256: "8482d2ee174e28504f99730fb01d6861575870283de4ed3a897ad39170d9a9b9",
        npm_member: "package/bin/napi-v6/win32/x64/onnxruntime.dll",
        npm_sha256: "508c362f5673483dd3a086379c392795b2e42d10d5e6f3f90ebd7ac21c97af67",
    },
];

/// The library and the licence texts that travel with it.
pub struct Runtime {
    /// The library's file, under the name the plugin looks for.
    pub library: PathBuf,
    /// Its licence texts; empty when the user named the library.
    pub notices: Vec<PathBuf>,
}

/// `cargo xtask runtime`.
///
/// # Errors
/// As [`get`].
pub fn command() -> Result<()> {
    println!("{}", get()?.library.display());
    Ok(())
}

/// The library: the user's, the one fetched before, or a freshly fetched one.
///
/// # Errors
/// When there is no client to fetch it with, or it is not what was pinned.
pub fn get() -> Result<Runtime> {
    if let Some(path) = env::var_os(VARIABLE).filter(|v| !v.is_empty()) {
        let library = PathBuf::from(path);
        ensure!(
            library.is_file(),
            "{VARIABLE} names {}, which is no file",
            library.display()
        );
        return Ok(Runtime {
            library,
            notices: Vec::new(),
        });
    }
    let (os, arch) = (env::consts::OS, env::consts::ARCH);
    let platform = PLATFORMS.iter().find(|p| p.os == os && p.arch == arch).with_context(|| {
        format!("no ONNX Runtime is known for {os} on {arch}: set {VARIABLE} to a library of 1.24 or newer")
    })?;
    let folder = project::target().join("runtime");
    let library = folder.join(platform.name);
    if library.is_file()
        && [platform.wheel_sha256, platform.npm_sha256].contains(&&*hash(&library)?)
    {
        return Ok(Runtime {
            notices: notices(&folder)?,
            library,
        });
    }
    let work = project::target().join("runtime-download");
    remove(&work)?;
    fs::create_dir_all(&work)?;
    fetch(platform, &work)?;
    remove(&folder)?;
    fs::create_dir_all(&folder)?;
    // Beside, then renamed: a kill while copying leaves no half library.
    let whole = work.join("whole");
    copy(&work.join("library"), &whole)?;
    for name in NOTICES {
        let notice = work.join(name);
        if notice.is_file() {
            copy(&notice, &folder.join(format!("onnxruntime-{name}")))?;
        }
    }
    fs::rename(&whole, &library)?;
    remove(&work)?;
    Ok(Runtime {
        notices: notices(&folder)?,
        library,
    })
}

fn notices(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("onnxruntime-"))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Leaves `library` and the notices in `work`.
fn fetch(platform: &Platform, work: &Path) -> Result<()> {
    let mut tried = Vec::new();
    if let Some(python) = ["python3", "python"]
        .into_iter()
        .find(|p| works(p, &["-m", "pip", "--version"]))
    {
        match from_wheel(platform, work, Path::new(python)) {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(format!("{python}: {error:#}")),
        }
    }
    if works(NPM_PROGRAM, &["--version"]) {
        match from_npm(platform, work) {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(format!("npm: {error:#}")),
        }
    }
    match environment(work).and_then(|python| from_wheel(platform, work, &python)) {
        Ok(()) => return Ok(()),
        Err(error) => tried.push(format!("python3 -m venv: {error:#}")),
    }
    bail!(
        "ONNX Runtime could not be fetched ({}). Install pip or npm, or set {VARIABLE} to a library of 1.24 or newer",
        tried.join("; ")
    )
}

/// A Python with pip of its own; on a bare Debian the package for it is installed first.
fn environment(work: &Path) -> Result<PathBuf> {
    if !works("python3", &["-c", "import venv, ensurepip"]) {
        ensure!(
            works("apt-get", &["--version"]),
            "there is no python3 with venv"
        );
        let root = works("sh", &["-c", "test \"$(id -u)\" = 0"]);
        ensure!(
            root || works("sudo", &["-n", "true"]),
            "needs root for: apt-get install python3-venv"
        );
        println!("installing Debian's python3-venv …");
        for arguments in [
            &["update", "-qq"][..],
            &[
                "install",
                "-qq",
                "-y",
                "--no-install-recommends",
                "python3-venv",
            ],
        ] {
            let mut command = Command::new(if root { "apt-get" } else { "sudo" });
            if !root {
                command.args(["-n", "apt-get"]);
            }
            run(command
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdout(Stdio::null()))?;
        }
    }
    let folder = work.join("environment");
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    Ok(folder.join("bin").join("python"))
}

fn from_wheel(platform: &Platform, work: &Path, python: &Path) -> Result<()> {
    println!("fetching {PYPI} with pip …");
    // The interpreter's version is given so that every machine gets the same file.
    run(Command::new(python)
        .args([
            "-m",
            "pip",
            "download",
            PYPI,
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ])
        .args([
            "--only-binary=:all:",
            "--implementation",
            "cp",
            "--python-version",
            "3.11",
        ])
        .args([
            "--abi",
            "cp311",
            "--platform",
            platform.wheel_platform,
            "--dest",
        ])
        .arg(work))?;
    let wheel = fs::read_dir(work)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .context("pip left no wheel")?;
    // A wheel is a zip, and Python brings an unzip of its own.
    run(Command::new(python)
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(work))?;
    take(work, platform.wheel_member, platform.wheel_sha256)?;
    for name in NOTICES {
        let notice = work.join("onnxruntime").join(name);
        if notice.is_file() {
            copy(&notice, &work.join(name))?;
        }
    }
    Ok(())
}

fn from_npm(platform: &Platform, work: &Path) -> Result<()> {
    println!("fetching {NPM} with npm …");
    run(Command::new(NPM_PROGRAM)
        .args(["pack", "--silent", NPM])
        .current_dir(work))?;
    let archive = fs::read_dir(work)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "tgz"))
        .context("npm left no archive")?;
    run(Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(work)
        .arg(platform.npm_member))?;
    take(work, platform.npm_member, platform.npm_sha256)
}

/// Checks a member and puts it under the common name.
fn take(work: &Path, member: &str, sha256: &str) -> Result<()> {
    let path = work.join(member);
    let found = hash(&path)?;
    ensure!(
        found == sha256,
        "{member} has SHA-256 {found}, pinned is {sha256}"
    );
    fs::rename(&path, work.join("library")).context("cannot move the library")
}

fn hash(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
