//! The command line of the trainer.

use std::process::ExitCode;

use clap::Parser;
use timbra_trainer::cli::Cli;
use timbra_trainer::config::WrongArgument;

/// Something failed.
const FAILED: u8 = 1;
/// What was asked for makes no sense; clap's own code for it.
const WRONG_ARGUMENTS: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    timbra_engine::large_pages::allow();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            tracing::debug!("failed: {error:#}");
            let wrong_arguments = error.chain().any(|cause| cause.is::<WrongArgument>());
            ExitCode::from(if wrong_arguments {
                WRONG_ARGUMENTS
            } else {
                FAILED
            })
        }
    }
}
