//! PostgreSQL's frames, as far as a proxy must understand them: where one ends, which query it carries,
//! whether it asks for a COMMIT, and whether it answers one.
//!
//! Format: one byte of type, a big-endian length that counts itself, the body
//! (PostgreSQL documentation, "Message Formats").

use bytes::{Buf, Bytes, BytesMut};
use std::collections::HashMap;

/// The most of one query that is kept for [`Transaction::touched`].
const KEPT: usize = 64 * 1024;

/// A whole frame, header included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
}

impl Frame {
    pub(super) fn tag(&self) -> u8 {
        self.bytes.first().copied().unwrap_or_default()
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(5..).unwrap_or_default()
    }

    /// Whether the server says how a COMMIT ended: done, rolled back, or failed.
    pub(super) fn answers_commit(&self) -> bool {
        match self.tag() {
            b'C' => self.body().starts_with(b"COMMIT\0") || self.body().starts_with(b"ROLLBACK\0"),
            b'E' => true,
            _ => false,
        }
    }
}

/// Takes the next whole frame off the front of the buffer.
pub(super) fn next(buffer: &mut BytesMut) -> Option<Frame> {
    let header = buffer.get(1..5)?;
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let whole = 1 + usize::try_from(length).ok()?.max(4);
    (buffer.len() >= whole).then(|| Frame { bytes: buffer.split_to(whole).freeze() })
}

/// What a client says first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// It asks for encryption, which the proxy declines.
    Encryption,
    /// A cancel request: nothing follows.
    Cancel(Bytes),
    /// An ordinary start.
    Start(Bytes),
}

/// Takes the untyped opening message off the front of the buffer.
pub(super) fn opening(buffer: &mut BytesMut) -> Option<Opening> {
    let mut header = buffer.get(..8)?;
    let length = usize::try_from(header.get_u32()).ok()?.max(8);
    let code = header.get_u32();
    if buffer.len() < length {
        return None;
    }
    let bytes = buffer.split_to(length).freeze();
    Some(match code {
        80_877_103 | 80_877_104 => Opening::Encryption,
        80_877_102 => Opening::Cancel(bytes),
        _ => Opening::Start(bytes),
    })
}

/// Follows what one connection's client sends, from transaction to transaction.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    prepared: HashMap<Vec<u8>, String>,
    touched: String,
    bound_commit: bool,
}

/// A COMMIT that the client asks for, with the text of every statement of its transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) touched: String,
}

impl Transaction {
    /// Notes the frame; tells when it asks for a COMMIT.
    pub(super) fn observe(&mut self, frame: &Frame) -> Option<Commit> {
        let body = frame.body();
        match frame.tag() {
            b'Q' => {
                let text = text(body);
                self.note(&text);
                return self.end_if(is_commit(&text), &text);
            }
            b'P' => {
                let (name, rest) = split(body);
                let text = text(rest);
                self.prepared.insert(name.to_vec(), text);
            }
            b'B' => {
                let (_portal, rest) = split(body);
                let (name, _) = split(rest);
                if let Some(text) = self.prepared.get(name).cloned() {
                    self.note(&text);
                    self.bound_commit = is_commit(&text);
                }
            }
            b'E' if self.bound_commit => {
                self.bound_commit = false;
                return self.end_if(true, "");
            }
            b'C' if body.first() == Some(&b'S') => {
                self.prepared.remove(split(&body[1..]).0);
            }
            _ => {}
        }
        None
    }

    fn note(&mut self, text: &str) {
        self.touched.push_str(text.get(..KEPT).unwrap_or(text));
        self.touched.push('\n');
    }

    fn end_if(&mut self, commit: bool, text: &str) -> Option<Commit> {
        let first_word = text.split_whitespace().next().unwrap_or_default().trim_end_matches(';');
        let rolled_back =
            first_word.eq_ignore_ascii_case("rollback") && !text.to_ascii_lowercase().contains(" to ");
        if commit || rolled_back {
            let touched = std::mem::take(&mut self.touched);
            return commit.then_some(Commit { touched });
        }
        None
    }
}

/// The bytes up to a zero, and what follows it.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(split(bytes).0).into_owned()
}

/// Whether the last statement of the text is a COMMIT.
fn is_commit(text: &str) -> bool {
    let last = text.rsplit(';').map(str::trim).find(|statement| !statement.is_empty()).unwrap_or_default();
    let words = last.split_whitespace().map(str::to_ascii_lowercase).collect::<Vec<_>>().join(" ");
    matches!(words.as_str(), "commit" | "commit work" | "commit transaction" | "end")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8, body: &[u8]) -> Frame {
        let mut bytes = vec![tag];
        bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend(body);
        Frame { bytes: bytes.into() }
    }

    #[test]
    fn commits_are_told_from_other_statements() {
        for (text, expected) in [
            ("COMMIT", true),
            ("commit;", true),
            ("SET CONSTRAINTS ALL IMMEDIATE; Commit ;", true),
            ("COMMIT  WORK", true),
            ("END", true),
            ("COMMIT PREPARED 'x'", false),
            ("SELECT 'commit'", false),
            ("COMMIT; SELECT 1", false),
            ("", false),
        ] {
            assert_eq!(is_commit(text), expected, "{text}");
        }
    }

    #[test]
    fn a_commit_tells_what_its_transaction_touched_and_nothing_of_the_one_before() {
        let mut transaction = Transaction::default();
        for frame in [
            frame(b'P', b"s1\0UPDATE tidegate.progress SET x\0\0\0"),
            frame(b'Q', b"BEGIN\0"),
            frame(b'B', b"\0s1\0rest"),
            frame(b'E', b"\0\0\0\0\0"),
        ] {
            assert_eq!(transaction.observe(&frame), None);
        }
        let commit = transaction.observe(&frame(b'Q', b"COMMIT\0")).unwrap();
        assert!(commit.touched.contains("tidegate.progress"), "{}", commit.touched);

        assert_eq!(transaction.observe(&frame(b'B', b"\0s1\0rest")), None);
        assert_eq!(transaction.observe(&frame(b'Q', b"ROLLBACK\0")), None);
        let commit = transaction.observe(&frame(b'Q', b"COMMIT\0")).unwrap();
        assert!(!commit.touched.contains("tidegate.progress"), "{}", commit.touched);
    }

    #[test]
    fn a_prepared_commit_is_a_commit() {
        let mut transaction = Transaction::default();
        assert_eq!(transaction.observe(&frame(b'P', b"c\0COMMIT\0\0\0")), None);
        assert_eq!(transaction.observe(&frame(b'B', b"\0c\0")), None);
        assert!(transaction.observe(&frame(b'E', b"\0\0\0\0\0")).is_some());
    }

    #[test]
    fn frames_are_cut_where_they_end() {
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&frame(b'Q', b"SELECT 1\0").bytes);
        let second = frame(b'd', &[7; 100]);
        buffer.extend_from_slice(&second.bytes[..50]);
        assert_eq!(next(&mut buffer).unwrap().tag(), b'Q');
        assert_eq!(next(&mut buffer), None);
        buffer.extend_from_slice(&second.bytes[50..]);
        assert_eq!(next(&mut buffer), Some(second));
        assert!(buffer.is_empty());
    }

    #[test]
    fn answers_to_a_commit_are_recognised() {
        assert!(frame(b'C', b"COMMIT\0").answers_commit());
        assert!(frame(b'C', b"ROLLBACK\0").answers_commit());
        assert!(frame(b'E', b"SERROR\0\0").answers_commit());
        assert!(!frame(b'C', b"COPY 5\0").answers_commit());
        assert!(!frame(b'Z', b"T").answers_commit());
    }

    #[test]
    fn openings_are_told_apart() {
        let open = |code: u32, body: &[u8]| {
            let mut buffer = BytesMut::new();
            buffer.extend_from_slice(&u32::try_from(body.len() + 8).unwrap().to_be_bytes());
            buffer.extend_from_slice(&code.to_be_bytes());
            buffer.extend_from_slice(body);
            opening(&mut buffer).unwrap()
        };
        assert_eq!(open(80_877_103, b""), Opening::Encryption);
        assert!(matches!(open(80_877_102, b"12345678"), Opening::Cancel(_)));
        assert!(matches!(open(196_608, b"user\0app\0\0"), Opening::Start(_)));
        assert_eq!(opening(&mut BytesMut::from(&[0, 0, 0][..])), None);
    }
}
