//! What the context of an error tells: the place in COPY, a function, or the row that the server waits for.
//!
//! Contexts come from the inside to the outside, a line each, in the server's language.

/// The place in COPY that an error names.
pub(super) struct CopyPlace {
    pub(super) line: u64,
    pub(super) column: Option<String>,
}

impl CopyPlace {
    pub(super) fn of(context: &str) -> Option<Self> {
        let (line, column) = context.lines().find_map(read_copy_context)?;
        Some(Self { line, column })
    }
}

/// What a context holds beside the place in COPY.
pub(super) fn lines_of_functions(context: &str) -> impl Iterator<Item = &str> {
    context.lines().filter(|line| !line.is_empty() && read_copy_context(line).is_none())
}

/// Whether this is what PostgreSQL adds to an error that it met while it waited for another transaction's row
/// (`XactLockTableWaitErrorCb`), such as `while inserting index tuple (0,1) in relation "events_pkey"`. In
/// another language of the server it is taken for a function's.
pub(super) fn is_wait_for_row(line: &str) -> bool {
    line.starts_with("while ") && line.contains(" tuple (")
}

/// Whether the innermost context is that of a function: contexts come from the inside to the outside. A
/// value of COPY can hold line ends, so that lines behind its own tell nothing.
pub(super) fn starts_in_function(context: &str) -> bool {
    context.lines().next().is_some_and(|line| read_copy_context(line).is_none())
}

/// Reads `COPY table, line 3, column c: "value"` in any of the server's languages that keep this order.
/// The table's name may itself hold commas, so that the first part that ends in a number counts.
fn read_copy_context(context: &str) -> Option<(u64, Option<String>)> {
    let mut rest = context.strip_prefix("COPY ")?;
    loop {
        let (_, after) = rest.split_once(", ")?;
        rest = after;
        let (word, number) = after.split_once(' ')?;
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let (line, behind) = number.split_at(digits);
        if word.contains([',', ':', '"']) || !(behind.is_empty() || behind.starts_with([',', ':'])) {
            continue;
        }
        let Ok(line) = line.parse() else { continue };
        let column = behind
            .strip_prefix(", ")
            .and_then(|text| text.split_once(' '))
            .map(|(_, column)| column.split_once(": ").map_or(column, |(name, _)| name).to_owned());
        return Some((line, column));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_a_row_is_nobodys_function() {
        assert!(is_wait_for_row("while inserting index tuple (0,1) in relation \"events_pkey\""));
        assert!(is_wait_for_row("while locking tuple (3,7) in relation \"events\""));
        assert!(!is_wait_for_row("PL/pgSQL function public.raise() line 1 at RAISE"));
    }

    #[test]
    fn copy_contexts_give_line_and_column() {
        let cases = [
            ("COPY t, line 3, column c: \"a, line 9\"", Some((3, Some("c")))),
            ("COPY t, line 12", Some((12, None))),
            ("COPY t, line 12: \"1,2\"", Some((12, None))),
            ("COPY a, b, line 4, column x y", Some((4, Some("x y")))),
            ("COPY t, Zeile 3, Spalte größe: »x«", Some((3, Some("größe")))),
            ("COPY t, line 2, column c: null input", Some((2, Some("c")))),
            ("SQL statement \"COPY t, line 3\"", None),
            ("COPY t", None),
            ("", None),
        ];
        for (context, expected) in cases {
            let found = read_copy_context(context);
            let found = found.as_ref().map(|(line, column)| (*line, column.as_deref()));
            assert_eq!(found, expected, "{context}");
        }
    }
}
