//! Hostile bytes for every reader: runs the targets of `fuzz/` one after the other and prints what came of it.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::run::{run, works};
use crate::{project, runtime};

/// Limits of a run: memory of the process and of one allocation in MB, and the seconds after which an input hangs. The
/// sanitizer and other work on the machine slow a reader down, so an input of more than a second does not end the run:
/// it is kept as `slow-unit-*`, to be timed without them.
const LIMITS: [&str; 5] = [
    "-rss_limit_mb=2048",
    "-malloc_limit_mb=2048",
    "-timeout=10",
    "-report_slow_units=1",
    "-print_final_stats=1",
];

/// `cargo xtask fuzz`.
///
/// # Errors
/// When cargo-fuzz or a nightly compiler is missing, there is no such target, or an input broke something.
pub fn command(minutes: u32, wanted: &[String]) -> Result<()> {
    ensure!(
        works("cargo", &["+nightly", "fuzz", "--version"]),
        "fuzzing needs: rustup toolchain install nightly; cargo install cargo-fuzz"
    );
    let root = project::root();
    let library = runtime::get()?.library;
    let cargo_fuzz = |verb: &str| {
        let mut command = Command::new("cargo");
        command.current_dir(&root).args(["+nightly", "fuzz", verb]);
        command.env(runtime::VARIABLE, &library);
        command
    };
    let mut targets = wanted.to_vec();
    if targets.is_empty() {
        let files = fs::read_dir(root.join("fuzz/fuzz_targets")).context("cannot read fuzz/")?;
        targets.extend(files.filter_map(|file| {
            let path = file.ok()?.path();
            Some(path.file_stem()?.to_str()?.to_owned())
        }));
        targets.sort();
    }
    run(&mut cargo_fuzz("build"))?;
    println!("target      executions  coverage  new inputs  slowest s  peak MB  result");
    let mut broken = Vec::new();
    for target in &targets {
        let corpus = format!("fuzz/corpus/{target}");
        let log = root.join(format!("{corpus}.log"));
        fs::create_dir_all(root.join(&corpus)).with_context(|| format!("cannot make {corpus}"))?;
        let output = File::create(&log).with_context(|| format!("no {}", log.display()))?;
        let status = cargo_fuzz("run")
            .args([target, &corpus, &format!("fuzz/seeds/{target}"), "--"])
            .arg(format!("-dict=fuzz/dictionaries/{target}.dict"))
            .arg(format!("-max_total_time={}", 60 * minutes))
            .args(LIMITS)
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let result = if status.success() { "held" } else { "BROKEN" };
        println!("{}  {result}", figures(target, &said));
        if !status.success() {
            let input = after(&said, "Test unit written to ");
            broken.push(format!(
                "{target}: again with `cargo +nightly fuzz run {target} {input}`; once it is repaired, keep the input \
                 in fuzz/seeds/{target}. Log: {}",
                log.display()
            ));
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!("{}", broken.join("\n"))
}

/// The word behind the last `key` in what libFuzzer wrote.
fn after<'a>(said: &'a str, key: &str) -> &'a str {
    let rest = said.rsplit_once(key).map_or("", |(_, rest)| rest);
    rest.split_whitespace().next().unwrap_or("?")
}

fn figures(target: &str, said: &str) -> String {
    let stat = |key: &str| after(said, &format!("stat::{key}:"));
    format!(
        "{target:<10}{:>12}{:>10}{:>12}{:>11}{:>9}",
        stat("number_of_executed_units"),
        after(said, " cov: "),
        stat("new_units_added"),
        stat("slowest_unit_time_sec"),
        stat("peak_rss_mb"),
    )
}
