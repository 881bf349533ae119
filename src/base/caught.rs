//! [`caught`]: calls a library that panics over damaged bytes, where that is an answer about the bytes and no bug of
//! ours.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// `true` if this thread is in such a call.
    static CALLING: Cell<bool> = const { Cell::new(false) };
}

/// What `call` returns, or the message of its panic, which is not printed. It must not leave anything half done that is
/// used afterwards.
pub fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CALLING.get() {
                others(info);
            }
        }));
    });
    let before = CALLING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    CALLING.set(before);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_becomes_a_message_and_other_results_pass() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| -> u8 { panic!("out of {}", "bounds") }), Err("out of bounds".to_owned()));
        assert_eq!(caught(|| caught(|| panic!("inner"))), Ok(Err::<(), _>("inner".to_owned())));
    }
}
