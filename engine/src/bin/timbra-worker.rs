//! The process in which voices run when they do not run inside the host. Started by the plugin, not by people.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("timbra-worker: {reason}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(unix)]
fn run(arguments: &[&str]) -> Result<(), String> {
    use timbra_engine::link::server;
    timbra_engine::large_pages::allow();
    match arguments {
        ["start", key] => {
            forget_files_of_the_host();
            server::start(key).map_err(|error| error.to_string())
        }
        ["serve", key] => server::serve(key).map_err(|error| error.to_string()),
        _ => Err(format!(
            "version {}: runs voices for the Timbra plugin, which starts it when it needs it",
            env!("CARGO_PKG_VERSION")
        )),
    }
}

#[cfg(not(unix))]
fn run(_: &[&str]) -> Result<(), String> {
    Err("voices run inside the host on this system".to_owned())
}

/// Closes what the host left open by mistake, a sound card for instance: it must be free when the host is gone.
#[cfg(unix)]
fn forget_files_of_the_host() {
    let open: Vec<i32> = std::fs::read_dir("/dev/fd")
        .map(|entries| {
            entries
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
                .collect()
        })
        .unwrap_or_default();
    for descriptor in open {
        if descriptor > 2 {
            // SAFETY: this runs first; nothing in this process has opened anything it still uses.
            unsafe { libc::close(descriptor) };
        }
    }
}
