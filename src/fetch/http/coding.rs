//! [`Coding`]: an answer's bytes as they come → the file's bytes. A server may pack an answer though it was asked for
//! the file as it is (`Accept-Encoding: identity`).

use flate2::write::MultiGzDecoder;

use super::answer::{Head, Problem};

/// How many packed bytes are unpacked at a time: at most 4 MB come out of them.
const STEP: usize = 4096;

/// How the bytes of an answer become those of the file.
pub(super) enum Coding {
    /// They are the file's.
    Plain,
    /// They are packed by gzip. How many went in is counted.
    Gzip(Box<MultiGzDecoder<Vec<u8>>>, u64),
}

impl Coding {
    /// The coding of the answer `head` for the file at `path` of its address. Servers often say `gzip` of a `.gz` file,
    /// which is packed itself: it is taken as it comes.
    pub(super) fn of(head: &Head, path: &str) -> Result<Self, Problem> {
        let coding = head.encoding.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
        match coding.as_str() {
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" if path.ends_with(".gz") || path.ends_with(".tgz") => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())), 0)),
            _ => Err(Problem::Lasting(format!(
                "the server packs it by `{}`, though it was asked for the file as it is",
                coding.escape_debug()
            ))),
        }
    }

    /// Returns `true` if the bytes are not the file's own.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self, Self::Gzip(..))
    }

    /// Gives `write` the file's bytes that `chunk` brings, and the number of packed bytes so far if they are packed.
    pub(super) fn take(
        &mut self,
        chunk: &[u8],
        write: &mut dyn FnMut(&[u8], Option<u64>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let Self::Gzip(decoder, packed) = self else { return write(chunk, None) };
        for step in chunk.chunks(STEP) {
            std::io::Write::write_all(decoder, step).map_err(|e| damaged(&e))?;
            *packed += step.len() as u64;
            write(decoder.get_ref(), Some(*packed))?;
            decoder.get_mut().clear();
        }
        Ok(())
    }

    /// The answer has ended: gives `write` what is left, and fails if something is missing.
    pub(super) fn end(
        &mut self,
        write: &mut dyn FnMut(&[u8], Option<u64>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        match self {
            Self::Gzip(decoder, packed) if *packed > 0 => {
                decoder.try_finish().map_err(|e| damaged(&e))?;
                write(decoder.get_ref(), Some(*packed))
            }
            _ => Ok(()),
        }
    }
}

fn damaged(why: &std::io::Error) -> Problem {
    Problem::passing(format!("the server packed its answer by gzip, and it cannot be unpacked: {why}"))
}
