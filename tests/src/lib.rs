//! Claims about the whole product, and the hosts they are tested in.
//!
//! `src/` is a library of instruments (two plugin hosts, measurements, a
//! synthetic singer) and the command `host`; `tests/` holds the claims; `hosts/`
//! drives other people's hosts.

pub mod bundles;
pub mod host;
pub mod measure;
#[cfg(target_os = "linux")]
pub mod resources;
#[cfg(target_os = "linux")]
pub mod screen;
pub mod singer;
#[cfg(target_os = "linux")]
pub mod soak;
pub mod state;
pub mod syscalls;
pub mod voices;
pub mod wav;
#[cfg(target_os = "linux")]
pub mod worker;
