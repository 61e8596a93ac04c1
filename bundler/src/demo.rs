//! From nothing to a converted vocal: bundles, then has a separate host process
//! send a file through the plugin as a studio would.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::run::run;
use crate::{bundle, project, runtime};

/// `cargo xtask demo`.
///
/// # Errors
/// When a step fails.
pub fn command(vocal: Option<PathBuf>, settings: &[String], format: &str) -> Result<()> {
    ensure!(
        ["clap", "vst3"].contains(&format),
        "unknown format {format:?}; clap or vst3"
    );
    let here = env::current_dir()?;
    // One build for all: the plugin, the host that plays it, the trainer that draws.
    run(Command::new(project::cargo())
        .current_dir(project::root())
        .args([
            "build",
            "--release",
            "--package",
            "timbra",
            "--package",
            "timbra-tests",
        ])
        .args(["--package", "timbra-trainer", "--package", "timbra-engine"])
        .args(["--lib", "--bins"]))?;
    let bundled = bundle::stage(true)?;
    let program = |name: &str| {
        project::target()
            .join("release")
            .join(format!("{name}{}", env::consts::EXE_SUFFIX))
    };
    let (host, trainer) = (program("host"), program("trainer"));

    let vocal = match vocal {
        Some(path) => here.join(path),
        None => {
            let path = project::target().join("vocal.wav");
            run(Command::new(&host).arg("sing").arg(&path))?;
            path
        }
    };
    let (out, picture) = (here.join("out.wav"), here.join("out.png"));
    let mut convert = Command::new(&host);
    convert
        .arg(format)
        .arg(bundled.join(format!("timbra.{format}")));
    convert
        .arg("--in")
        .arg(&vocal)
        .arg("--out")
        .arg(&out)
        .arg("--compensate");
    for setting in settings {
        convert.args(["--set", setting]);
    }
    // What the bundle cannot do by itself it must not do here either.
    for name in [runtime::VARIABLE, "TIMBRA_VOICES", "TIMBRA_PRESETS"] {
        convert.env_remove(name);
    }
    run(&mut convert).context("the plugin did not convert the file")?;
    run(Command::new(&trainer)
        .arg("plot")
        .args([&vocal, &out])
        .args(["--title", "vocal", "--title", "through Timbra", "--output"])
        .arg(&picture))?;
    println!("\nvocal:     {}", vocal.display());
    println!("converted: {}", out.display());
    println!("picture:   {}", picture.display());
    println!(
        "plugins:   {}  (`cargo xtask install` copies them to your hosts)",
        bundled.display()
    );
    println!("trainer:   {}", trainer.display());
    Ok(())
}
