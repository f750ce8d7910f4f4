//! Bugs that exist to be found: without `--cfg planted` there are none.
//!
//! A build with that flag has all of them, each where [`planted`] stands with its number. Which one is there is chosen at
//! run time, for a thread of its own: the simulator runs several seeds side by side (`docs/simulation.md`).

/// True if the bug of this number is there.
#[cfg(not(planted))]
#[inline(always)]
pub const fn planted(_: u16) -> bool {
    false
}

#[cfg(planted)]
std::thread_local! {
    static CHOSEN: std::cell::Cell<u16> = const { std::cell::Cell::new(0) };
}

/// True if the bug of this number is there.
#[cfg(planted)]
pub fn planted(bug: u16) -> bool {
    CHOSEN.get() == bug
}

/// From here on this thread has the bug of this number, and no other one.
#[cfg(planted)]
pub fn plant(bug: u16) {
    CHOSEN.set(bug);
}
