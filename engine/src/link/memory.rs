//! Memory that two processes have mapped: without a name, so that nobody else finds it and nothing is left behind.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

use crate::region::{Plan, Region};

/// Makes memory for a stream and maps it; the descriptor is for the other process.
pub(super) fn create(plan: Plan) -> io::Result<(Region, OwnedFd)> {
    let memory = anonymous(plan.bytes())?;
    let region = map(memory.as_fd(), plan)?;
    region.board().prepare();
    region.touch();
    Ok((region, memory))
}

/// Maps memory that another process made.
pub(super) fn open(memory: impl AsFd, plan: Plan) -> io::Result<Region> {
    let found = rustix::fs::fstat(&memory)?.st_size;
    if found < plan.bytes() as i64 {
        return Err(io::Error::other(format!(
            "the memory of a stream has {found} bytes instead of {}",
            plan.bytes()
        )));
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::SealFlags;
        // Memory that the other side could make smaller would end this process at the next access.
        if !rustix::fs::fcntl_get_seals(&memory)?.contains(SealFlags::SHRINK) {
            return Err(io::Error::other(
                "the memory of a stream can be made smaller",
            ));
        }
    }
    let region = map(memory, plan)?;
    region.touch();
    Ok(region)
}

fn map(memory: impl AsFd, plan: Plan) -> io::Result<Region> {
    // SAFETY: a new mapping at an address the system chooses touches nothing that exists.
    let start = unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            plan.bytes(),
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            memory,
            0,
        )?
    };
    let start = NonNull::new(start.cast::<u8>())
        .ok_or_else(|| io::Error::other("memory was mapped at address 0"))?;
    // SAFETY: mapped just now with this length, readable and writable; it was sealed or made by `anonymous`.
    Ok(unsafe { Region::mapped(start, plan) })
}

#[cfg(target_os = "linux")]
fn anonymous(bytes: usize) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let memory = rustix::fs::memfd_create(
        "timbra-stream",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    rustix::fs::ftruncate(&memory, bytes as u64)?;
    rustix::fs::fcntl_add_seals(
        &memory,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    Ok(memory)
}

#[cfg(not(target_os = "linux"))]
fn anonymous(bytes: usize) -> io::Result<OwnedFd> {
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::fs::Mode;
    use rustix::shm::{self, OFlags};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // The name exists for a moment, for this user only.
    let name = format!(
        "/timbra-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let memory = shm::open(
        name.as_str(),
        OFlags::CREATE | OFlags::EXCL | OFlags::RDWR,
        Mode::RUSR | Mode::WUSR,
    )?;
    shm::unlink(name.as_str())?;
    rustix::fs::ftruncate(&memory, bytes as u64)?;
    Ok(memory)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::controls::Tier;
    use crate::port::StreamConfig;

    fn config() -> StreamConfig {
        StreamConfig {
            host_rate_hz: 48_000,
            max_block_samples: 256,
            channels: 1,
            tier: Tier::Live,
        }
    }

    #[test]
    fn both_mappings_see_the_same() {
        use std::sync::atomic::Ordering::Relaxed;
        let plan = Plan::new(&config(), 2000);
        let (one, memory) = create(plan).unwrap();
        let other = open(&memory, plan).unwrap();
        one.board().played_until.store(17, Relaxed);
        assert_eq!(other.board().played_until.load(Relaxed), 17);
        assert_eq!(other.board().sound_from.load(Relaxed), u64::MAX);
    }

    #[test]
    fn memory_of_another_size_is_refused() {
        let (_, memory) = create(Plan::new(&config(), 2000)).unwrap();
        let error = open(&memory, Plan::new(&config(), 200_000)).err().unwrap();
        assert!(error.to_string().contains("instead of"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_that_could_shrink_is_refused() {
        let plan = Plan::new(&config(), 2000);
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let memory = rustix::fs::memfd_create("test", flags).unwrap();
        rustix::fs::ftruncate(&memory, plan.bytes() as u64).unwrap();
        assert!(open(&memory, plan).is_err());
    }
}
