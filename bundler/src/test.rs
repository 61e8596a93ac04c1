//! Sets up what tests need, then hands over to cargo test.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

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
    let mut tests = cargo();
    tests
        .args(["test", "--workspace"])
        .args(rest)
        .env("TIMBRA_BUNDLES", &bundled)
        .env("TIMBRA_HOSTS", &hosts);
    summarised(&mut tests)?;
    if rest.is_empty() {
        // Nothing else compiles what several devices need.
        let several = ["--lib", "--features", "multi-gpu", "peers"];
        run(cargo()
            .args(["test", "--package", "timbra-trainer"])
            .args(several))?;
    }
    Ok(())
}

/// Runs `cargo test`, shows what it prints, and says at the end what became of all test programs together.
fn summarised(tests: &mut Command) -> Result<()> {
    let mut child = tests
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let printed = child.stdout.take().context("cargo test has no output")?;
    let mut summary = Summary::default();
    for line in BufReader::new(printed).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        summary.read(&line);
    }
    let status = child.wait()?;
    println!();
    for name in &summary.failures {
        println!("failed: {name}");
    }
    println!(
        "tests: {} passed, {} failed, {} skipped",
        summary.passed, summary.failed, summary.ignored
    );
    ensure!(status.success(), "cargo test: {status}");
    Ok(())
}

/// What the test programs have said so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
}

impl Summary {
    /// Takes a line of a test program.
    fn read(&mut self, line: &str) {
        if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(count) = count.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_test_programs_are_added_up() {
        let mut summary = Summary::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test a::late ... FAILED",
            "test result: FAILED. 12 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 1.50s",
            "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.00s",
        ] {
            summary.read(line);
        }
        let expected = Summary {
            passed: 17,
            failed: 1,
            ignored: 3,
            failures: vec!["a::late".to_owned()],
        };
        assert_eq!(summary, expected);
    }
}
