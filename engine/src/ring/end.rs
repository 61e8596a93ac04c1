//! One end of a ring in a region; what can be done with it comes from `ringbuf`.
//!
//! The other end may belong to another process. Its cursor is therefore believed only when it moves the way it can:
//! a consumer's towards the producer's, a producer's away from it by no more than the capacity. Any other value is
//! passed over, so that no bits in the memory can lead outside of the ring.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringbuf::traits::{Consumer, Observer, Producer, Raw};

use crate::region::{Place, Region};

/// An end of a ring of plain items: a [`Producer`] when `WRITES`, else a [`Consumer`].
pub(crate) struct End<T: Copy, const WRITES: bool> {
    region: Arc<Region>,
    place: Place,
    items: NonNull<T>,
    capacity: NonZeroUsize,
    /// Where this end is. Nobody else moves it.
    own: Cell<usize>,
    /// Where the other end was seen last.
    other: Cell<usize>,
}

/// The end that pushes.
pub(crate) type Tx<T> = End<T, true>;
/// The end that pops.
pub(crate) type Rx<T> = End<T, false>;

// SAFETY: an end owns its side of the ring, and the items are plain. It is not `Sync`: it has cells.
unsafe impl<T: Copy + Send, const WRITES: bool> Send for End<T, WRITES> {}

impl<T: Copy, const WRITES: bool> End<T, WRITES> {
    /// An end of a ring that nobody has used yet.
    ///
    /// # Safety
    /// There is no other end of this kind for this ring, in any process. Any bits are a `T`.
    pub unsafe fn new(region: &Arc<Region>, place: Place) -> Self {
        let capacity = NonZeroUsize::new(place.capacity).expect("every plan has room in its rings");
        Self {
            items: region.items(&place),
            region: Arc::clone(region),
            place,
            capacity,
            own: Cell::new(0),
            other: Cell::new(0),
        }
    }

    /// The way from one index to another.
    fn way(&self, from: usize, to: usize) -> usize {
        let modulus = 2 * self.capacity.get();
        (to + modulus - from) % modulus
    }

    /// Looks where the other end is.
    fn look(&self) -> usize {
        let (read, write) = self.region.cursors(&self.place);
        let cursor = if WRITES { read } else { write };
        let seen = cursor.load(Ordering::Acquire);
        let (own, before) = (self.own.get(), self.other.get());
        let believable = seen < 2 * self.capacity.get()
            && if WRITES {
                self.way(seen, own) <= self.way(before, own)
            } else {
                (self.way(own, before)..=self.capacity.get()).contains(&self.way(own, seen))
            };
        if believable {
            self.other.set(seen);
        }
        self.other.get()
    }

    fn move_to(&self, index: usize) {
        self.own.set(index);
        let (read, write) = self.region.cursors(&self.place);
        let cursor = if WRITES { write } else { read };
        cursor.store(index, Ordering::Release);
    }
}

impl<T: Copy, const WRITES: bool> Observer for End<T, WRITES> {
    type Item = T;

    fn capacity(&self) -> NonZeroUsize {
        self.capacity
    }

    fn read_index(&self) -> usize {
        if WRITES { self.look() } else { self.own.get() }
    }

    fn write_index(&self) -> usize {
        if WRITES { self.own.get() } else { self.look() }
    }

    fn read_is_held(&self) -> bool {
        true
    }

    fn write_is_held(&self) -> bool {
        true
    }
}

// SAFETY: capacity and items are those of one live ring; indices are below twice the capacity by `look`, never more than
// the capacity apart, and between two looks only grow the room (or the items) this end may use. The slices cover the
// range modulo the capacity. An end of one kind exists once, by the contract of `End::new`. The flags of ownership say
// that both ends are taken; setting them changes nothing, because ends are never given back.
unsafe impl<T: Copy, const WRITES: bool> Raw for End<T, WRITES> {
    unsafe fn unsafe_slices(
        &self,
        start: usize,
        end: usize,
    ) -> (&[MaybeUninit<T>], &[MaybeUninit<T>]) {
        let (first, second) = ranges(self.capacity.get(), start, end);
        let items = self.items.cast::<MaybeUninit<T>>();
        // SAFETY: the ranges lie within the ring, and the caller has the right to them.
        unsafe {
            (
                std::slice::from_raw_parts(items.add(first.0).as_ptr(), first.1),
                std::slice::from_raw_parts(items.as_ptr(), second),
            )
        }
    }

    unsafe fn unsafe_slices_mut(
        &self,
        start: usize,
        end: usize,
    ) -> (&mut [MaybeUninit<T>], &mut [MaybeUninit<T>]) {
        let (first, second) = ranges(self.capacity.get(), start, end);
        let items = self.items.cast::<MaybeUninit<T>>();
        // SAFETY: the ranges lie within the ring and do not overlap, and the caller has the right to them.
        unsafe {
            (
                std::slice::from_raw_parts_mut(items.add(first.0).as_ptr(), first.1),
                std::slice::from_raw_parts_mut(items.as_ptr(), second),
            )
        }
    }

    unsafe fn set_read_index(&self, index: usize) {
        if !WRITES {
            self.move_to(index);
        }
    }

    unsafe fn set_write_index(&self, index: usize) {
        if WRITES {
            self.move_to(index);
        }
    }

    unsafe fn hold_read(&self, _flag: bool) -> bool {
        true
    }

    unsafe fn hold_write(&self, _flag: bool) -> bool {
        true
    }
}

/// The first range (offset, length), and the length of the second, which begins at 0.
fn ranges(capacity: usize, start: usize, end: usize) -> ((usize, usize), usize) {
    let modulus = 2 * capacity;
    let length = ((end + modulus - start) % modulus).min(capacity);
    let offset = start % capacity;
    let first = length.min(capacity - offset);
    ((offset, first), length - first)
}

impl<T: Copy> Producer for Tx<T> {}
impl<T: Copy> Consumer for Rx<T> {}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::controls::Tier;
    use crate::port::StreamConfig;

    fn ends() -> (Arc<Region>, Tx<f32>, Rx<f32>) {
        let config = StreamConfig {
            host_rate_hz: 8_000,
            max_block_samples: 64,
            channels: 1,
            tier: Tier::Live,
        };
        let region = Arc::new(Region::on_heap(&config, 100));
        let place = region.plan().audio_in;
        // SAFETY: the only ends of this ring; any bits are a float.
        unsafe {
            let (tx, rx) = (Tx::new(&region, place), Rx::new(&region, place));
            (region, tx, rx)
        }
    }

    #[test]
    fn what_goes_in_comes_out_over_many_turns() {
        let (_, mut tx, mut rx) = ends();
        let (mut pushed, mut popped) = (0u32, 0u32);
        for turn in 0..500usize {
            let piece: Vec<f32> = (0..turn * 37 % 900)
                .map(|n| (pushed + n as u32) as f32)
                .collect();
            pushed += tx.push_slice(&piece) as u32;
            let mut back = vec![0.0; turn * 53 % 700];
            let count = rx.pop_slice(&mut back);
            for sample in &back[..count] {
                assert_eq!(*sample, popped as f32);
                popped += 1;
            }
        }
        assert!(popped > 100_000);
    }

    #[test]
    fn a_cursor_that_lies_is_not_believed() {
        let (region, mut tx, mut rx) = ends();
        let place = region.plan().audio_in;
        let capacity = place.capacity;
        tx.push_slice(&[1.0; 100]);
        let mut back = [0.0; 40];
        assert_eq!(rx.pop_slice(&mut back), 40);
        let (read, write) = region.cursors(&place);
        for lie in [usize::MAX, 2 * capacity, 41 + capacity, 7] {
            write.store(lie, Ordering::Release);
            assert!(rx.occupied_len() <= capacity);
            let count = rx.occupied_len();
            assert_eq!(count, 60, "{lie}");
        }
        for lie in [usize::MAX, 2 * capacity, 101, 0] {
            assert_eq!(tx.vacant_len(), capacity - 60);
            read.store(lie, Ordering::Release);
            assert_eq!(tx.vacant_len(), capacity - 60, "{lie}");
        }
    }
}
