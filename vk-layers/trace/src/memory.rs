//! The layer's memory: what is large does not come from the application's heap.
//!
//! The C library's heap learns from each large piece that is freed: from which size on it asks the system for memory, and
//! how much it keeps. Copies of calls, which come and go by the hundred kilobytes, would teach it what makes the calls of
//! the driver slower than they are without a recording. So large pieces are the system's, and a few of them are kept: new
//! memory costs more than what is written to it, since the system has to clear it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Bytes from which on a piece is large, as a power of two.
const LARGE: u32 = 16;
/// Bytes of the largest piece that is kept, as a power of two.
const LARGEST_KEPT: u32 = 22;
/// What no piece needs more of: mappings begin at a page.
const ALIGN: usize = 4096;
/// Pieces of a size that are kept at most, and bytes of all.
const SLOTS: usize = 8;
const KEPT: usize = 16 << 20;

/// Sizes of pieces that are kept: the powers of two.
const CLASSES: usize = (LARGEST_KEPT - LARGE + 1) as usize;

/// Where the layer's memory comes from. Nobody waits for a lock here, so a fork finds it as it has to be.
#[derive(Debug)]
pub struct Memory {
    slots: [[AtomicPtr<u8>; SLOTS]; CLASSES],
    kept: AtomicUsize,
}

/// Where a piece comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Heap,
    /// By the place of its size in `slots`.
    Kept(usize),
    /// Of so many bytes, a multiple of the page's.
    Passing(usize),
}

impl Kind {
    fn of(size: usize, align: usize) -> Self {
        if size < 1 << LARGE || align > ALIGN {
            return Self::Heap;
        }
        // The next power of two, where there is one.
        let power = usize::BITS - (size - 1).leading_zeros();
        if power <= LARGEST_KEPT {
            return Self::Kept((power - LARGE) as usize);
        }
        // A layout's size is at most isize::MAX.
        Self::Passing(size.next_multiple_of(ALIGN))
    }

    /// Bytes of the mapping.
    fn bytes(self) -> usize {
        match self {
            Self::Heap => 0,
            Self::Kept(class) => 1 << (LARGE as usize + class),
            Self::Passing(bytes) => bytes,
        }
    }
}

fn map(bytes: usize) -> *mut u8 {
    // SAFETY: a new mapping, wherever there is room.
    let mapped = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    mapped.cast()
}

impl Memory {
    pub const fn new() -> Self {
        Self {
            slots: [const { [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS] }; CLASSES],
            kept: AtomicUsize::new(0),
        }
    }

    /// A piece of that class that is kept.
    fn take(&self, class: usize) -> Option<*mut u8> {
        // The last one kept first: it is the likeliest to be in a cache.
        let slots = self.slots.get(class)?.iter().rev();
        for slot in slots {
            if slot.load(Ordering::Relaxed).is_null() {
                continue;
            }
            let piece = slot.swap(ptr::null_mut(), Ordering::Acquire);
            if !piece.is_null() {
                let bytes = Kind::Kept(class).bytes();
                self.kept.fetch_sub(bytes, Ordering::Relaxed);
                return Some(piece);
            }
        }
        None
    }

    /// Keeps a piece of that class, if there is room for it.
    fn keep(&self, class: usize, piece: *mut u8) -> bool {
        let bytes = Kind::Kept(class).bytes();
        let fits = self.kept.fetch_add(bytes, Ordering::Relaxed) + bytes <= KEPT;
        let put = |slot: &AtomicPtr<u8>| {
            let (free, full) = (Ordering::Release, Ordering::Relaxed);
            slot.compare_exchange(ptr::null_mut(), piece, free, full)
                .is_ok()
        };
        let kept = fits
            && self
                .slots
                .get(class)
                .is_some_and(|slots| slots.iter().any(put));
        if !kept {
            self.kept.fetch_sub(bytes, Ordering::Relaxed);
        }
        kept
    }
}

// SAFETY: a piece is the heap's, a mapping of its own, or one that was kept and is in no slot any more; which of them it is
// follows from its layout, so it goes back to where it came from. A mapping is as large as its kind says, and begins at a page.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Kind::of(layout.size(), layout.align()) {
            // SAFETY: the caller's promise.
            Kind::Heap => unsafe { System.alloc(layout) },
            Kind::Kept(class) => self
                .take(class)
                .unwrap_or_else(|| map(Kind::Kept(class).bytes())),
            Kind::Passing(bytes) => map(bytes),
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let kind = Kind::of(layout.size(), layout.align());
        match kind {
            // SAFETY: the caller's promise; the heap gave it.
            Kind::Heap => return unsafe { System.dealloc(piece, layout) },
            Kind::Kept(class) if self.keep(class, piece) => return,
            Kind::Kept(_) | Kind::Passing(_) => {}
        }
        // SAFETY: a mapping of that size that nobody has any more.
        unsafe { libc::munmap(piece.cast(), kind.bytes()) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match Kind::of(layout.size(), layout.align()) {
            // SAFETY: the caller's promise.
            Kind::Heap => unsafe { System.alloc_zeroed(layout) },
            // The system has cleared it.
            Kind::Passing(bytes) => map(bytes),
            // SAFETY: the caller's promise; a piece that is there is as large as its layout at least.
            Kind::Kept(_) => unsafe {
                let piece = self.alloc(layout);
                if !piece.is_null() {
                    piece.write_bytes(0, layout.size());
                }
                piece
            },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (old, new) = (
            Kind::of(layout.size(), layout.align()),
            Kind::of(size, layout.align()),
        );
        match (old, new) {
            // SAFETY: the caller's promise; the heap gave it.
            (Kind::Heap, Kind::Heap) => unsafe { System.realloc(piece, layout, size) },
            _ if old == new => piece,
            // SAFETY: the caller's promise: the size is a layout's with this alignment. Both pieces have the bytes that are
            // copied.
            _ => unsafe {
                let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !moved.is_null() {
                    ptr::copy_nonoverlapping(piece, moved, size.min(layout.size()));
                    self.dealloc(piece, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn sizes_go_where_they_belong() {
        for (size, expected) in [
            (0, Kind::Heap),
            ((1 << 16) - 1, Kind::Heap),
            (1 << 16, Kind::Kept(0)),
            ((1 << 16) + 1, Kind::Kept(1)),
            (4 * MIB, Kind::Kept(CLASSES - 1)),
            (4 * MIB + 1, Kind::Passing(4 * MIB + ALIGN)),
        ] {
            let kind = Kind::of(size, 8);
            assert_eq!(kind, expected, "{size}");
            assert!(kind == Kind::Heap || kind.bytes() >= size);
        }
        assert_eq!(Kind::of(MIB, 2 * ALIGN), Kind::Heap);
    }

    #[test]
    fn the_heap_learns_nothing_of_what_is_large() {
        // Bytes that the heap has asked the system for, piece by piece.
        // SAFETY: it only reads.
        let mapped = || unsafe { libc::mallinfo2() }.hblkhd;
        let before = mapped();
        let mut pieces: Vec<Vec<u8>> = [MIB, 100_000, 9 * MIB]
            .into_iter()
            .map(Vec::with_capacity)
            .collect();
        for piece in &mut pieces {
            piece.resize(piece.capacity(), 7);
        }
        assert_eq!(mapped(), before);
    }

    #[test]
    fn a_piece_is_used_again_and_no_more_are_kept_than_may_be() {
        let memory = Memory::new();
        let layout = Layout::from_size_align(3 * MIB, 8).unwrap();
        let (small, large) = (2 * (KEPT >> LARGEST_KEPT), KEPT >> LARGEST_KEPT);
        // SAFETY: pieces of that layout, each given back once.
        unsafe {
            let pieces: Vec<_> = (0..small).map(|_| memory.alloc(layout)).collect();
            assert!(pieces.iter().all(|piece| !piece.is_null()));
            for &piece in &pieces {
                piece.write_bytes(1, layout.size());
                memory.dealloc(piece, layout);
            }
            assert_eq!(memory.kept.load(Ordering::Relaxed), KEPT);
            let again = memory.alloc(layout);
            assert_eq!(again, pieces[large - 1]);
            memory.dealloc(again, layout);
            let zeroed = memory.alloc_zeroed(layout);
            assert!((0..layout.size()).all(|i| *zeroed.add(i) == 0));
            memory.dealloc(zeroed, layout);
            // The others are not ours to keep: the test's memory ends here.
            while let Some(piece) = memory.take(CLASSES - 1) {
                libc::munmap(piece.cast(), 4 * MIB);
            }
        }
        assert_eq!(memory.kept.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_grows_and_shrinks_keeps_its_contents() {
        let mut numbers: Vec<u32> = Vec::new();
        for n in 0..3 * MIB as u32 {
            numbers.push(n);
        }
        for len in [2 * MIB, MIB, 20_000, 100] {
            numbers.truncate(len);
            numbers.shrink_to_fit();
            assert!((0..).zip(&numbers).all(|(n, &number)| number == n));
        }
    }

    #[test]
    fn threads_never_have_the_same_piece() {
        std::thread::scope(|scope| {
            for id in 0..4_u64 {
                scope.spawn(move || {
                    for round in 0..200 {
                        let mark = id << 32 | round;
                        let piece = vec![mark; 20_000];
                        std::thread::yield_now();
                        assert!(piece.iter().all(|&word| word == mark));
                    }
                });
            }
        });
    }
}
