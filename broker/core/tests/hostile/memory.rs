//! Counts the memory that a thread has in use.

#![allow(unsafe_code)] // an allocator is unsafe to write; this one hands everything on

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, with books for each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note(blocks: i64, bytes: i64) {
    // while the thread ends there are no books any more
    let _ = LIVE.try_with(|live| {
        let (known_blocks, known_bytes) = live.get();
        live.set((known_blocks + blocks, known_bytes + bytes));
    });
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: as the caller promised
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-1, -(layout.size() as i64));
        // SAFETY: as the caller promised
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(0, new_size as i64 - layout.size() as i64);
        // SAFETY: as the caller promised
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// Blocks and bytes that this thread has allocated and not given back. What is freed by another thread is not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InUse {
    pub(crate) blocks: i64,
    pub(crate) bytes: i64,
}

/// Returns what this thread has in use now.
pub(crate) fn in_use() -> InUse {
    let (blocks, bytes) = LIVE.with(Cell::get);
    InUse { blocks, bytes }
}
