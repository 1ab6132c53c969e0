//! Where lines go.

use std::io::{self, Write as _};

use super::event::Kind;

/// A line, numbered and linked, without its end.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) kind: Kind,
    pub(super) time: String,
    pub(super) text: String,
    pub(super) hash: [u8; 32],
}

/// What the first of the next lines links to.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The hash of the line before.
    pub(super) hash: [u8; 32],
    /// Whose it is and which: instance and number.
    pub(super) of: Option<(String, u64)>,
}

/// What became of lines: how many are written, from the first on, and why not all.
pub(super) type Appended = (usize, io::Result<()>);

/// Takes lines.
pub(super) trait Sink: Send {
    /// The label `sink`.
    fn label(&self) -> &'static str;

    /// Writes the lines that `lines` makes, given what they link to; nothing if that is the last one that this process
    /// wrote.
    fn append(&mut self, lines: &mut dyn FnMut(Option<Link>) -> Vec<Line>) -> Appended;
}

/// The standard output.
pub(super) struct Stdout;

impl Sink for Stdout {
    fn label(&self) -> &'static str {
        "stdout"
    }

    fn append(&mut self, lines: &mut dyn FnMut(Option<Link>) -> Vec<Line>) -> Appended {
        let mut out = io::stdout().lock();
        for (at, line) in lines(None).iter().enumerate() {
            let written = out.write_all(format!("{}\n", line.text).as_bytes()).and_then(|()| out.flush());
            if written.is_err() {
                return (at, written);
            }
        }
        (usize::MAX, Ok(()))
    }
}
