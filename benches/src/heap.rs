//! Counts heap allocations. The binary installs [`Counting`] as its allocator.

#![allow(unsafe_code, reason = "an allocator is unsafe by trait; this one hands every call on unchanged")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static COUNTED: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted while [`counted`] runs. Otherwise it costs one load per call.
pub struct Counting;

impl Counting {
    fn count(bytes: usize) {
        if COUNTED.load(Ordering::Relaxed) {
            CALLS.fetch_add(1, Ordering::Relaxed);
            BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

// SAFETY: every method is the system allocator's with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

/// What was asked of the allocator.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Allocations {
    /// Allocations and reallocations.
    pub calls: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

/// Adds what `work` asks of the allocator to `total`. All threads count: run it alone.
pub fn counted<T>(total: &mut Allocations, work: impl FnOnce() -> T) -> T {
    let read = || (CALLS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    let (calls, bytes) = read();
    COUNTED.store(true, Ordering::Relaxed);
    let done = work();
    COUNTED.store(false, Ordering::Relaxed);
    let (calls_after, bytes_after) = read();
    total.calls += calls_after - calls;
    total.bytes += bytes_after - bytes;
    done
}
