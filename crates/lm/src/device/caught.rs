//! Panics of driver layers as messages.

use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

/// Calls of [`caught`] that are going on.
static LISTENING: AtomicUsize = AtomicUsize::new(0);
/// What panicked meanwhile, on any thread.
static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs `work` and turns a panic into its message, without a word on standard error.
///
/// A driver layer panics on a thread of its own, and the caller sees no more than that an answer does not
/// come: of all panics on the way the first one is what went wrong.
///
/// # Errors
/// The message of the first panic, if `work` panics.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if LISTENING.load(Ordering::SeqCst) == 0 {
                before(info);
            } else {
                heard().push(message(info));
            }
        }));
    });
    let start = heard().len();
    LISTENING.fetch_add(1, Ordering::SeqCst);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    LISTENING.fetch_sub(1, Ordering::SeqCst);
    outcome.map_err(|_| heard().get(start).cloned().unwrap_or_else(|| "a panic".to_owned()))
}

fn heard() -> std::sync::MutexGuard<'static, Vec<String>> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message(info: &PanicHookInfo<'_>) -> String {
    info.payload_as_str().unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: the hook belongs to the process.
    #[test]
    fn the_first_panic_of_any_thread_is_the_message() {
        assert_eq!(caught(|| 3), Ok(3));
        let of_a_thread = || {
            let (sender, answer) = std::sync::mpsc::channel::<u32>();
            std::thread::spawn(move || {
                let _held = sender;
                panic!("no driver {}", 7);
            });
            answer.recv().unwrap()
        };
        assert_eq!(caught(of_a_thread), Err("no driver 7".to_owned()));
        // Inside another, and after one that failed.
        let nested = || {
            let inner = caught(|| panic!("inner"));
            assert_eq!(inner.err().as_deref(), Some("inner"));
            panic!("outer")
        };
        // The first panic since the outer call began.
        assert_eq!(caught(nested).err().as_deref(), Some("inner"));
        assert_eq!(caught(|| 4), Ok(4));
    }
}
