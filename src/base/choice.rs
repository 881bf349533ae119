//! `choice!`: an enum whose values a pipeline names by a word. Each word is declared once, beside its value, so that a
//! word cannot be accepted in a pipeline and mean something else to the code that reads it.

/// Declares the enum. It is read from and written as its words; `NAMES` are the words for `Type::Choice`.
///
/// ```text
/// choice! {
///     /// In which order a run sees its examples.
///     pub enum Order {
///         /// As the split has them.
///         File = "file",
///     }
/// }
/// ```
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $value:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        $vis enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $value),+
        }

        impl $name {
            /// The words, in the order of declaration.
            pub const NAMES: &'static [&'static str] = &[$($word),+];

            /// The word of this value.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $word),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

pub(crate) use choice;

#[cfg(test)]
mod tests {
    choice! {
        /// Two words.
        enum Word {
            /// One.
            First = "first",
            /// The other.
            Second = "the-second",
        }
    }

    #[test]
    fn choice_is_read_and_written_as_its_words() {
        assert_eq!(Word::NAMES, ["first", "the-second"]);
        for (value, word) in [(Word::First, "first"), (Word::Second, "the-second")] {
            assert_eq!((value.name(), value.to_string().as_str()), (word, word));
            assert_eq!(serde_json::to_value(value).unwrap(), word);
            assert_eq!(serde_json::from_value::<Word>(word.into()).unwrap(), value);
        }
        assert!(serde_json::from_value::<Word>("third".into()).is_err());
    }
}
