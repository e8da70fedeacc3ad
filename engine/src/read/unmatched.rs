//! The fields that no path names.

/// What is done with fields of the outermost level of a value that no path names, and what was noted of the
/// record at hand.
#[derive(Debug)]
pub(crate) enum Unmatched {
    /// They are skipped.
    Skip,
    /// The name of the first one is kept.
    First(Option<String>),
    /// They are appended to an object in JSON, each as `"name":literal`.
    Collect(Vec<u8>),
}

impl Unmatched {
    /// Begins a record: forgets what was noted.
    pub(crate) fn restart(&mut self) {
        match self {
            Self::Skip => {}
            Self::First(first) => *first = None,
            Self::Collect(object) => {
                object.clear();
                object.push(b'{');
            }
        }
    }

    /// Ends a record.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Skip | Self::First(_) => {}
            Self::Collect(object) => object.push(b'}'),
        }
    }

    /// The name of the first one, where that is kept.
    pub(crate) fn first(&self) -> Option<&str> {
        match self {
            Self::First(first) => first.as_deref(),
            Self::Skip | Self::Collect(_) => None,
        }
    }

    /// The object that they were collected in; empty where they aren't.
    pub(crate) fn collected(&self) -> &str {
        match self {
            Self::Collect(object) => std::str::from_utf8(object).unwrap_or_default(),
            Self::Skip | Self::First(_) => "",
        }
    }
}
