//! The splits of the synthetic language, and which text belongs to which.

use crate::base::digest::FieldHasher;

/// The purpose of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To pretrain a backbone.
    Pretrain,
    /// To train prompts.
    Train,
    /// To choose a checkpoint, and to report on.
    Val,
    /// Held out.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Split; 4] = [Split::Pretrain, Split::Train, Split::Val, Split::Test];

    /// As in file names: `pretrain`, `train`, `val`, `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Pretrain => "pretrain",
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }

    /// The one split that `text` belongs to: six tenths pretrain, two tenths train, one tenth each of the others.
    pub fn of(text: &str) -> Split {
        match FieldHasher::new("dpt.synth.split.1").field(text.as_bytes()).finish().0[0] {
            0..154 => Split::Pretrain,
            154..205 => Split::Train,
            205..230 => Split::Val,
            _ => Split::Test,
        }
    }
}
