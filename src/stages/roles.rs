//! Ports made while a pipeline is read: for kinds that take roles by any name ([`super::stage::ANY_ROLE`]).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::stage::{Arity, Port};

/// Every port that was made. They live as long as the program, and are few: all instances that read the same files by
/// the same role share one.
static MADE: Mutex<BTreeMap<Made, &'static Port>> = Mutex::new(BTreeMap::new());

/// Role, arity and files.
type Made = (String, u8, Vec<String>);

/// The port with this role, for `files` of as many producers as `arity` says. `doc` counts when it is first asked for.
pub fn port(role: &str, arity: Arity, files: &[String], doc: &'static str) -> &'static Port {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry((role.to_owned(), arity as u8, files.to_vec())).or_insert_with(|| {
        let files: Vec<&'static str> = files.iter().map(|file| leak(file)).collect();
        Box::leak(Box::new(Port { role: leak(role), accepts: &[], files: files.leak(), arity, doc }))
    })
}

fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_port_is_made_once() {
        let files = ["a.json".to_owned()];
        let one = port("left", Arity::One, &files, "doc");
        assert!(std::ptr::eq(one, port("left", Arity::One, &files, "doc")));
        assert!(!std::ptr::eq(one, port("left", Arity::Many, &files, "doc")));
        assert_eq!((one.role, one.files, one.arity), ("left", &["a.json"][..], Arity::One));
    }
}
