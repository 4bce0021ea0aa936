//! The program around the kernels: its memory and its threads.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of mimalloc's `mi_option_t`, which the binding does not name.
const PURGE_DELAY: mi_option_t = 15;
/// The delay that stands for never.
const NEVER: c_long = -1;

/// Runs a program's work under the conditions in which the kernels are fast. Call it once, around everything
/// that `main` does.
///
/// If mimalloc is the program's allocator, it keeps freed memory instead of returning it to the system. A
/// training step frees every activation and the next one asks for the same sizes; returning the pages in
/// between would make the system clear tens of thousands of them per second, a tenth of the time of a step.
/// The price is that the process never shrinks.
///
/// The work runs on a thread of the rayon pool: from any other thread, every operation would hand its pieces
/// to the pool and sleep until they are done, which costs two thread switches each time.
pub fn host<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    keep_freed_memory();
    rayon::scope(|_| work())
}

fn keep_freed_memory() {
    // SAFETY: sets a number in mimalloc's table of options, which is there from the start of the process; the
    // index is within the table, as the test below checks.
    unsafe { mi_option_set(PURGE_DELAY, NEVER) };
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    // One test, as both halves look at what the process has only once.
    #[test]
    fn work_runs_on_the_pool_and_freed_memory_is_kept() {
        // mimalloc's default for this option is a number of milliseconds above 1; the options before and
        // after it default to 1 and 0. SAFETY: reads numbers from mimalloc's table of options.
        let [before, found, after] =
            [PURGE_DELAY - 1, PURGE_DELAY, PURGE_DELAY + 1].map(|index| unsafe { mi_option_get(index) });
        assert!(before == 1 && found > 1 && after == 0, "{before} {found} {after}");
        assert!(rayon::current_thread_index().is_none());
        assert_eq!(
            host(rayon::current_thread_index).map(|index| index < rayon::current_num_threads()),
            Some(true)
        );
        // SAFETY: as above.
        assert_eq!(unsafe { mi_option_get(PURGE_DELAY) }, NEVER);
    }
}
