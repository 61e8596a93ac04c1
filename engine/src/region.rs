//! The memory both ends of a stream see: a board of numbers and four rings.
//!
//! It lies on the heap when the worker is a thread of the host's process, and in memory shared by two processes when
//! the worker has one of its own; what is in it is the same. It holds numbers only, no pointers, and every type in it
//! is plain: any bits are a value. Whoever made it decides its size; the other side computes the same size from the
//! same configuration and refuses memory that is smaller.

use std::alloc;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::board::Board;
use crate::controls::GRID_SAMPLES;
use crate::port::StreamConfig;
use crate::ring::{HopWords, PlacedWords};

/// Input the rings hold beyond latency and block, in seconds: how long the worker may be away before input is lost.
const INPUT_RESERVE_S: f64 = 2.5;
/// The same for output: how far a renderer's worker may be ahead.
const OUTPUT_RESERVE_S: f64 = 0.25;
/// Everything in a region begins at a multiple of this: two cache lines, which processors fetch in pairs.
const ALIGNMENT: usize = 128;

/// How far the two ends of a ring have come; each on cache lines of its own.
#[repr(C, align(128))]
pub(crate) struct Cursor(pub AtomicUsize);

/// Where one ring lies in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Offset of its two cursors (read, write); its items follow them.
    cursors: usize,
    items: usize,
    /// Items it can hold.
    pub capacity: usize,
}

/// What lies where in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Samples towards the worker.
    pub audio_in: Place,
    /// Events towards the worker.
    pub events: Place,
    /// Samples towards the port.
    pub audio_out: Place,
    /// Hops towards the port.
    pub hops: Place,
    bytes: usize,
}

impl Plan {
    /// The plan for a stream; both sides come to the same.
    pub fn new(config: &StreamConfig, latency_samples: u32) -> Self {
        let reserved = |seconds: f64| {
            let reserve = (f64::from(config.host_rate_hz) * seconds) as usize;
            latency_samples as usize + 2 * config.max_block_samples + reserve
        };
        let (inward, outward) = (reserved(INPUT_RESERVE_S), reserved(OUTPUT_RESERVE_S));
        let mut end = size_of::<Board>().next_multiple_of(ALIGNMENT);
        let mut place = |capacity: usize, item_bytes: usize| {
            let cursors = end;
            let items = cursors + 2 * size_of::<Cursor>();
            end = (items + capacity * item_bytes).next_multiple_of(ALIGNMENT);
            Place {
                cursors,
                items,
                capacity,
            }
        };
        let audio_in = place(inward, size_of::<f32>());
        let events = place(
            inward / GRID_SAMPLES as usize + 64,
            size_of::<PlacedWords>(),
        );
        let audio_out = place(outward, size_of::<f32>());
        // A hop has at least 4000 / 100 samples.
        let hops = place(outward / 32 + 16, size_of::<HopWords>());
        Self {
            audio_in,
            events,
            audio_out,
            hops,
            bytes: end,
        }
    }

    /// Bytes in all.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

enum Memory {
    Heap(alloc::Layout),
    #[cfg(unix)]
    Mapped,
}

/// The memory of one stream.
pub(crate) struct Region {
    start: NonNull<u8>,
    memory: Memory,
    plan: Plan,
}

// SAFETY: the region is plain memory; its board is made of atomics, and its rings are reached only through the two ends
// that `ring::rings` and its callers keep unique.
unsafe impl Send for Region {}
// SAFETY: see above.
unsafe impl Sync for Region {}

impl Region {
    /// A fresh region on the heap.
    pub fn on_heap(config: &StreamConfig, latency_samples: u32) -> Self {
        let plan = Plan::new(config, latency_samples);
        let layout = alloc::Layout::from_size_align(plan.bytes, ALIGNMENT)
            .expect("a plan is some megabytes large");
        // SAFETY: the layout is not empty, for it holds a board.
        let start = NonNull::new(unsafe { alloc::alloc_zeroed(layout) })
            .unwrap_or_else(|| alloc::handle_alloc_error(layout));
        let region = Self {
            start,
            memory: Memory::Heap(layout),
            plan,
        };
        region.board().prepare();
        region
    }

    /// A region in memory that was mapped for it; it is unmapped when the region goes.
    ///
    /// # Safety
    /// `start` begins a mapping of at least `plan.bytes()` bytes that can be read and written, is aligned to a page,
    /// belongs to nobody else in this process, and can not shrink while it is mapped.
    #[cfg(unix)]
    pub unsafe fn mapped(start: NonNull<u8>, plan: Plan) -> Self {
        Self {
            start,
            memory: Memory::Mapped,
            plan,
        }
    }

    /// What lies where.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The numbers both sides see.
    pub fn board(&self) -> &Board {
        // SAFETY: a region begins with a board, is aligned for it, and every bit pattern is one: it is made of atomics.
        unsafe { self.start.cast::<Board>().as_ref() }
    }

    /// The cursors of a ring: read, write.
    pub fn cursors(&self, place: &Place) -> (&AtomicUsize, &AtomicUsize) {
        // SAFETY: a plan leaves room for two cursors there, aligned.
        unsafe {
            let read = self.start.add(place.cursors).cast::<Cursor>();
            (&read.as_ref().0, &read.add(1).as_ref().0)
        }
    }

    /// The items of a ring.
    pub fn items<T>(&self, place: &Place) -> NonNull<T> {
        // SAFETY: the offset lies within the region.
        unsafe { self.start.add(place.items).cast() }
    }

    /// Touches every page, so that the audio thread is not the first to.
    #[cfg(unix)]
    pub fn touch(&self) {
        for offset in (0..self.plan.bytes).step_by(1024) {
            // SAFETY: the offset lies within the region. Adding nothing changes nothing, whoever else is at it.
            let byte = unsafe {
                self.start
                    .add(offset / 8 * 8)
                    .cast::<AtomicUsize>()
                    .as_ref()
            };
            byte.fetch_add(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        match self.memory {
            // SAFETY: allocated with this very layout.
            Memory::Heap(layout) => unsafe { alloc::dealloc(self.start.as_ptr(), layout) },
            #[cfg(unix)]
            // SAFETY: mapped with at least this length, and nobody refers to it any more.
            Memory::Mapped => unsafe {
                // There is nothing to be done about a mapping that can not be undone.
                let _ = rustix::mm::munmap(self.start.as_ptr().cast(), self.plan.bytes);
            },
        }
    }
}
