//! Sets up what tests need, then hands over to cargo test.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::run;
use crate::{bundle, project, runtime};

/// `cargo xtask test`.
///
/// Everything is built with the options of one cargo invocation first, so that
/// the plugin that is bundled shares its dependencies with the tests.
///
/// # Errors
/// When a step fails or a test does.
pub fn command(rest: &[String]) -> Result<()> {
    let root = project::root();
    let in_ci = env::var("CI").is_ok_and(|v| !v.is_empty() && v != "false" && v != "0");
    let hosts = hosts_folder()?;
    if cfg!(target_os = "linux") {
        let install = run(Command::new("sh")
            .arg(root.join("tests/hosts/install.sh"))
            .arg(&hosts));
        match install {
            Err(error) if in_ci => return Err(error),
            Err(error) => eprintln!("warning: {error:#}; tests in those hosts will be skipped"),
            Ok(()) => {}
        }
    }
    let library = runtime::get()?.library;
    let cargo = || {
        let mut command = Command::new(project::cargo());
        command.current_dir(&root).env(runtime::VARIABLE, &library);
        command
    };
    run(cargo().args(["build", "--workspace", "--lib", "--bins", "--tests"]))?;
    let bundled = bundle::stage(false)?;
    run(cargo()
        .args(["test", "--workspace"])
        .args(rest)
        .env("TIMBRA_BUNDLES", &bundled)
        .env("TIMBRA_HOSTS", &hosts))
}

/// Where the hosts that are not system packages are installed.
fn hosts_folder() -> Result<PathBuf> {
    if let Some(path) = env::var_os("TIMBRA_HOSTS").filter(|v| !v.is_empty()) {
        return Ok(path.into());
    }
    let from = |name: &str| {
        env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let cache = from("XDG_CACHE_HOME").or_else(|| Some(from("HOME")?.join(".cache")));
    Ok(cache
        .context("HOME is not set")?
        .join("timbra")
        .join("hosts"))
}
