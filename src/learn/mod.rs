//! L2: the choices of the training loop that a pipeline can name: the order of examples, the optimizer and the schedule
//! of its rate. What they do is in the crate `dpt-torch`, below the same name.

use crate::base::choice::choice;

choice! {
    /// In which order a run sees its examples.
    pub enum Order {
        /// Shuffled anew each epoch by our own generator; examples of similar length are in the same batch.
        Dpt = "dpt",
        /// As the reference's `DataLoader` on one device does: the split in the order of `randperm` with seed 42, then
        /// shuffled each epoch by torch's generator, lengths mixed.
        DptPaper = "dpt-paper",
        /// As the split has them, in every epoch.
        File = "file",
    }
}

choice! {
    /// What updates the trained tensors. Both AdamW differ in where epsilon is added and when weights decay.
    pub enum OptimizerKind {
        /// `torch.optim.AdamW`: decay first, epsilon beside the bias-corrected root.
        AdamW = "adamw",
        /// The AdamW of `transformers` before version 5: epsilon beside the root before bias correction, decay last.
        AdamWHf = "adamw-hf",
        /// Adafactor as `transformers` has it with a given rate: factored second moments, no first moment, no scaling
        /// by the parameter's size, updates clipped to a root mean square of 1, decay before the update.
        Adafactor = "adafactor",
    }
}

choice! {
    /// How the learning rate goes after its warm-up.
    pub enum ScheduleKind {
        /// In a straight line to 0 at the last step.
        Linear = "linear",
        /// It stays.
        Constant = "constant",
    }
}
