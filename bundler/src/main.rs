//! `cargo xtask`: everything around the code that is more than one cargo command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bundle;
mod demo;
mod fuzz;
mod install;
mod project;
mod run;
mod runtime;
mod soak;
mod test;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    about = "Builds, bundles, installs and tests Timbra"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the plugin and puts it with ONNX Runtime, voices and presets into target/bundled.
    Bundle {
        /// Optimised and stripped; without it a bundle for tests, in target/bundled-dev.
        #[arg(long)]
        release: bool,
    },
    /// Bundles (release) and copies the plugin into the user's plugin folders.
    Install,
    /// Fetches ONNX Runtime through pip or npm, checks it, and prints where it is.
    Runtime,
    /// Bundles, converts a vocal through the built plugin in a host process: out.wav and out.png.
    Demo {
        /// A WAV of yours; without one a synthetic singer sings.
        vocal: Option<PathBuf>,
        /// NAME=TEXT for a parameter of the plugin, as in pitch=-12. Repeatable.
        #[arg(long = "set", value_name = "NAME=TEXT")]
        settings: Vec<String>,
        /// clap or vst3.
        #[arg(long, default_value = "clap")]
        format: String,
    },
    /// Plays, stalls, kills and crowds the plugin for a while, and prints a table of what held (Linux).
    Soak {
        /// About how long.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
    },
    /// Gives every reader hostile bytes and prints a table; needs a nightly compiler and cargo-fuzz.
    Fuzz {
        /// How long each target runs.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        minutes: u32,
        /// Targets of fuzz/; without one, all of them.
        targets: Vec<String>,
    },
    /// Sets up what the tests need and runs all of them.
    Test {
        /// For cargo test: a test's name, or options after --.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bundle { release } => bundle::command(release),
        Command::Install => install::command(),
        Command::Runtime => runtime::command(),
        Command::Demo {
            vocal,
            settings,
            format,
        } => demo::command(vocal, &settings, &format),
        Command::Soak { minutes } => soak::command(minutes),
        Command::Fuzz { minutes, targets } => fuzz::command(minutes, &targets),
        Command::Test { rest } => test::command(&rest),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
