//! Byte positions of a text → lines and columns, for the formats whose parsers report bytes.

use super::error::Place;

/// The line starts of one document.
pub(super) struct Lines<'a> {
    source: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        let breaks = source.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Lines { source, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// The place of a byte; a position past the end is the end.
    pub(super) fn place(&self, byte: usize) -> Place {
        let byte = byte.min(self.source.len());
        let line = self.starts.partition_point(|start| *start <= byte).max(1);
        let before = self.source.get(self.starts[line - 1]..byte).unwrap_or_default();
        Place::File {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX),
        }
    }
}
