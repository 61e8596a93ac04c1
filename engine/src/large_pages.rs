//! Weights in large pages of memory.
//!
//! A step reads every weight of a large graph once, and in pages of 4 KiB the processor spends a tenth of the step on finding
//! them. Linux gives a program larger ones where it asks. A host's memory is the host's affair, so nothing is asked until a process that
//! is ours alone says that it is ([`allow`]); elsewhere, and on other systems, nothing happens.
//!
//! Source: Linux, `madvise(2)` (`MADV_HUGEPAGE`, `MADV_COLLAPSE`), `proc_pid_smaps(5)`.

use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a large page.
#[cfg(any(target_os = "linux", test))]
const LARGE_PAGE: usize = 2 << 20;
/// Bytes of a graph from which on it is worth it: smaller ones stay in the processor's own memory.
const LEAST_GRAPH: usize = 32 << 20;

static IS_OURS: AtomicBool = AtomicBool::new(false);

/// Says that this process is no host's: what it holds may be moved to large pages.
pub fn allow() {
    IS_OURS.store(true, Ordering::Relaxed);
}

/// Moves what a graph of `bytes` bytes has just filled to large pages, where that is allowed and worth it.
pub(crate) fn after_loading(bytes: usize) {
    if bytes < LEAST_GRAPH || !IS_OURS.load(Ordering::Relaxed) {
        return;
    }
    #[cfg(target_os = "linux")]
    linux::collapse();
}

/// Regions of a process's memory, from `/proc/self/smaps`, that are its own and full, as whole large pages: start and bytes.
///
/// Of one that is half empty the rest would be filled.
#[cfg(any(target_os = "linux", test))]
fn full_regions(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut region = None;
    let mut size_kib = 0;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some((start, end)) = first.split_once('-') {
            let hex = |text: &str| usize::from_str_radix(text, 16).ok();
            let is_own = words.next() == Some("rw-p")
                && words.nth(2) == Some("0")
                && matches!(words.next(), None | Some("[heap]"));
            region = hex(start).zip(hex(end)).filter(|_| is_own);
            continue;
        }
        let kib = words.next().and_then(|word| word.parse::<usize>().ok());
        match (first, kib, region) {
            ("Size:", Some(kib), _) => size_kib = kib,
            ("Rss:", Some(kib), Some((start, end))) if kib >= size_kib / 10 * 9 => {
                let start = start.next_multiple_of(LARGE_PAGE);
                let bytes = end.saturating_sub(start) / LARGE_PAGE * LARGE_PAGE;
                if bytes > 0 {
                    found.push((start, bytes));
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::c_int;

    /// Moves what is there at once; Linux 6.1.
    const MADV_COLLAPSE: c_int = 25;

    /// Moves all full regions. What the kernel will not do is left as it is.
    pub(super) fn collapse() {
        let Ok(smaps) = std::fs::read_to_string("/proc/self/smaps") else {
            return;
        };
        for (start, bytes) in super::full_regions(&smaps) {
            let region = start as *mut libc::c_void;
            // SAFETY: advice moves pages and changes nothing in them; a region that has gone meanwhile is refused with an error.
            unsafe {
                if libc::madvise(region, bytes, libc::MADV_HUGEPAGE) == 0 {
                    libc::madvise(region, bytes, MADV_COLLAPSE);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE_PAGE, LEAST_GRAPH, after_loading, allow, full_regions};

    #[test]
    fn what_is_moved_is_the_same() {
        let numbers: Vec<u64> = (0..1 << 20).collect();
        allow();
        after_loading(LEAST_GRAPH);
        assert!(numbers.iter().copied().eq(0..1 << 20));
    }

    #[test]
    fn full_regions_of_ones_own_are_found() {
        let smaps = "\
00400000-00a00000 rw-p 00000000 00:00 0          [heap]
Size:               6144 kB
Rss:                6000 kB
7f0000001000-7f0000801000 rw-p 00000000 00:00 0 
Size:               8192 kB
Rss:                8192 kB
7f0001000000-7f0001800000 rw-p 00000000 00:00 0 
Size:               8192 kB
Rss:                2000 kB
7f0002000000-7f0002800000 rw-s 00000000 00:01 12 /dev/shm/x
Size:               8192 kB
Rss:                8192 kB
7f0003000000-7f0003800000 r-xp 00000000 00:00 0 
Size:               8192 kB
Rss:                8192 kB
7f0004001000-7f0004100000 rw-p 00000000 00:00 0 
Size:               1020 kB
Rss:                1020 kB
7ffd00000000-7ffd00800000 rw-p 00000000 00:00 0  [stack]
Size:               8192 kB
Rss:                8192 kB
";
        assert_eq!(
            full_regions(smaps),
            [
                (0x40_0000, 3 * LARGE_PAGE),
                (0x7f00_0020_0000, 3 * LARGE_PAGE)
            ]
        );
    }
}
