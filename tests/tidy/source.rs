//! Rust text, read roughly: what is code, what is a comment, where tests begin.
//!
//! Strings and comments are blanked in [`Source::code`], so that a rule never trips over words, and lines
//! keep their numbers.

/// A Rust file.
pub(super) struct Source {
    /// Relative to the root.
    pub(super) path: String,
    /// As it stands.
    pub(super) text: String,
    /// The code alone: comments, contents of strings and `#[cfg(test)]` blocks are blank.
    pub(super) code: String,
    /// The code with its tests.
    pub(super) all_code: String,
    /// The comments alone.
    pub(super) comments: String,
    test_lines: usize,
}

impl Source {
    /// Reads a file's text.
    pub(super) fn new(path: &str, text: String) -> Self {
        let (all_code, comments) = separate(&text);
        let (code, test_lines) = match is_test_file(path) {
            true => (blank(&all_code), all_code.lines().count()),
            false => without_tests(&all_code),
        };
        Self { path: path.to_owned(), text, code, all_code, comments, test_lines }
    }

    /// Lines that aren't tests.
    pub(super) fn production_lines(&self) -> usize {
        self.text.lines().count() - self.test_lines
    }

    /// Lines of `code` with their numbers.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Every function: name, line, number of lines.
    pub(super) fn functions(&self) -> Vec<(String, usize, usize)> {
        let code = self.all_code.as_bytes();
        let mut found = Vec::new();
        for (at, _) in self.all_code.match_indices("fn ") {
            let starts_word = at == 0 || !(code[at - 1].is_ascii_alphanumeric() || code[at - 1] == b'_');
            let name: String =
                self.all_code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(open) = body(code, at).filter(|_| starts_word && !name.is_empty()) else { continue };
            let end = closing(code, open);
            let line = line_of(code, at);
            found.push((name, line, line_of(code, end) - line + 1));
        }
        found
    }
}

/// Whether a whole file is tests.
pub(super) fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

fn line_of(code: &[u8], at: usize) -> usize {
    1 + code[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Where the body of the function at `from` opens; `None` for a declaration.
fn body(code: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (at, byte) in code.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

/// Where the brace at `open` closes.
fn closing(code: &[u8], open: usize) -> usize {
    let mut depth = 0i32;
    for (at, byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    code.len() - 1
}

fn blank(code: &str) -> String {
    code.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// Blanks every item under `#[cfg(test)]`; tells how many lines those were.
fn without_tests(code: &str) -> (String, usize) {
    let mut bytes = code.as_bytes().to_vec();
    let (mut from, mut lines) = (0, 0);
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let behind = start + "#[cfg(test)]".len();
        let end = match body(code.as_bytes(), skip_attributes(code, behind)) {
            Some(open) => closing(code.as_bytes(), open),
            None => behind + code[behind..].find(';').unwrap_or(0),
        };
        for byte in bytes[start..=end].iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        lines += code[start..=end].lines().count();
        from = end.max(behind);
    }
    (String::from_utf8(bytes).unwrap(), lines)
}

fn skip_attributes(code: &str, mut at: usize) -> usize {
    loop {
        let rest = &code[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        if !trimmed.starts_with("#[") {
            return at;
        }
        at += trimmed.find(']').map_or(2, |end| end + 1);
    }
}

/// Where the reader is.
enum State {
    Code,
    Line,
    Block(u32),
    Text { hashes: Option<usize> },
}

/// Splits text into code and comments of the same shape; everything else is blank. Multi-byte letters become
/// single spaces, which only rules about widths would see, and those look at the text.
fn separate(text: &str) -> (String, String) {
    let letters: Vec<char> = text.chars().map(|c| if c.is_ascii() { c } else { '\u{b7}' }).collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let mut state = State::Code;
    let mut at = 0;
    while at < letters.len() {
        let (next, taken, is_code) = step(&state, &letters, at);
        for &letter in &letters[at..at + taken] {
            let shown = if letter.is_ascii() { letter } else { ' ' };
            let blank = if letter == '\n' { '\n' } else { ' ' };
            let in_comment = matches!(state, State::Line | State::Block(_))
                || matches!(next, Some(State::Line | State::Block(_)));
            code.push(if is_code { shown } else { blank });
            comments.push(if in_comment { shown } else { blank });
        }
        at += taken;
        if let Some(next) = next {
            state = next;
        }
    }
    (code, comments)
}

/// The state that follows, if another one, the letters taken, and whether they are code.
fn step(state: &State, letters: &[char], at: usize) -> (Option<State>, usize, bool) {
    let is = |offset: usize, letter: char| letters.get(at + offset) == Some(&letter);
    match state {
        State::Line => ((letters[at] == '\n').then_some(State::Code), 1, false),
        State::Block(depth) => match (letters[at], letters.get(at + 1)) {
            ('/', Some('*')) => (Some(State::Block(depth + 1)), 2, false),
            ('*', Some('/')) if *depth == 1 => (Some(State::Code), 2, false),
            ('*', Some('/')) => (Some(State::Block(depth - 1)), 2, false),
            _ => (None, 1, false),
        },
        State::Text { hashes: None } => match letters[at] {
            '\\' => (None, 2.min(letters.len() - at), false),
            '"' => (Some(State::Code), 1, true),
            _ => (None, 1, false),
        },
        State::Text { hashes: Some(count) } => {
            let ends = is(0, '"') && (1..=*count).all(|offset| is(offset, '#'));
            if ends { (Some(State::Code), 1 + count, true) } else { (None, 1, false) }
        }
        State::Code if is(0, '/') && is(1, '/') => (Some(State::Line), 2, false),
        State::Code if is(0, '/') && is(1, '*') => (Some(State::Block(1)), 2, false),
        State::Code => code_step(letters, at),
    }
}

fn code_step(letters: &[char], at: usize) -> (Option<State>, usize, bool) {
    let in_word = at > 0 && (letters[at - 1].is_alphanumeric() || letters[at - 1] == '_');
    match letters[at] {
        '"' => (Some(State::Text { hashes: None }), 1, true),
        'r' if !in_word || letters[at - 1] == 'b' => {
            let hashes = letters[at + 1..].iter().take_while(|letter| **letter == '#').count();
            match letters.get(at + 1 + hashes) {
                Some('"') => (Some(State::Text { hashes: Some(hashes) }), 2 + hashes, true),
                _ => (None, 1, true),
            }
        }
        '\'' => (None, character(letters, at), false),
        _ => (None, 1, true),
    }
}

/// The length of a character literal, or 1 for a lifetime's mark.
fn character(letters: &[char], at: usize) -> usize {
    if letters.get(at + 1) == Some(&'\\') {
        let close = letters[at + 3..].iter().position(|letter| *letter == '\'');
        return close.map_or(1, |close| close + 4);
    }
    if letters.get(at + 2) == Some(&'\'') { 3 } else { 1 }
}

#[test]
fn code_comments_and_tests_are_told_apart() {
    let text = "fn a() { \"b // \\\" {\"; } // c {\nfn d<'e>(x: [u8; 2]) {\n  '{'; r#\"}\"#;\n}\n\
                #[cfg(test)]\nmod tests {\n  fn f() {}\n}\nfn g() {}\n";
    let source = Source::new("src/x.rs", text.to_owned());
    let names: Vec<_> = source.functions().into_iter().collect();
    let named = |name: &str, line, lines| (name.to_owned(), line, lines);
    assert_eq!(names, [named("a", 1, 1), named("d", 2, 3), named("f", 7, 1), named("g", 9, 1)]);
    assert!(source.comments.contains("// c {") && !source.comments.contains("b //"));
    assert!(source.code.contains("fn g()") && !source.code.contains("fn f()"));
    assert_eq!(source.production_lines(), 5);
}
