//! Counts what a thread asks the heap for.

#![allow(unsafe_code, reason = "an allocator is unsafe by trait; this one hands every call on unchanged")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ASKED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a count of the bytes that each thread asked it for.
pub(crate) struct Counting;

fn count(bytes: usize) {
    // A thread that ends counts nothing more.
    let _ = ASKED_BYTES.try_with(|asked| asked.set(asked.get().wrapping_add(bytes)));
}

// SAFETY: every method is the system allocator's with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Does some work that may ask for `most` bytes in all.
pub(crate) fn within<T>(most: usize, work: impl FnOnce() -> T) -> T {
    let before = ASKED_BYTES.get();
    let done = work();
    let asked = ASKED_BYTES.get().wrapping_sub(before);
    assert!(asked <= most, "expected at most {most} bytes of heap, found {asked}");
    done
}
