//! What a thread asks of the kernel while it processes audio; known on Linux only.

use std::collections::BTreeMap;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::{Watch, inside};

/// System calls made inside the plugin, by name, with their counts.
pub type Calls = BTreeMap<String, usize>;

/// Cannot watch on this system.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Default)]
pub struct Watch;

#[cfg(not(target_os = "linux"))]
impl Watch {
    /// Watches the calling thread from here to its end.
    ///
    /// # Errors
    /// Always, on this system.
    pub fn this_thread(&self) -> anyhow::Result<()> {
        anyhow::bail!("system calls are watched on Linux only")
    }

    /// What was seen.
    pub fn finish(self) -> Calls {
        Calls::new()
    }
}

/// Runs the plugin's code: system calls count here.
#[cfg(not(target_os = "linux"))]
pub fn inside<T>(plugin: impl FnOnce() -> T) -> T {
    plugin()
}
