//! Stresses the built plugin for minutes or hours, and prints what held.

use std::process::Command;

use anyhow::Result;

use crate::run::run;
use crate::{bundle, project, runtime};

/// `cargo xtask soak`.
///
/// # Errors
/// When building fails, or something that must hold did not.
pub fn command(minutes: f64) -> Result<()> {
    run(Command::new(project::cargo())
        .current_dir(project::root())
        .args(["build", "--release", "--package", "timbra", "--package"])
        .args([
            "timbra-engine",
            "--package",
            "timbra-tests",
            "--lib",
            "--bins",
        ]))?;
    let bundled = bundle::stage(true)?;
    let program = format!("soak{}", std::env::consts::EXE_SUFFIX);
    run(
        Command::new(project::target().join("release").join(program))
            .arg(minutes.to_string())
            .env("TIMBRA_BUNDLES", &bundled)
            .env(runtime::VARIABLE, &runtime::get()?.library),
    )
}
