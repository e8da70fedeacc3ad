//! Puts a run into a page: what stands between two comments is replaced, the rest is the author's.

use super::figures::Results;
use super::table;
use anyhow::{Context, Result, bail};
use std::path::Path;

const BEGIN: &str = "<!-- bench: begin";
const END: &str = "<!-- bench: end -->";

/// Replaces the part of the file between its markers.
pub(super) fn write(file: &Path, results: &Results) -> Result<()> {
    let page = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let page = replace(&page, &table::markdown(results)).with_context(|| file.display().to_string())?;
    std::fs::write(file, page).with_context(|| format!("writing {}", file.display()))
}

fn replace(page: &str, part: &str) -> Result<String> {
    let lines: Vec<&str> = page.lines().collect();
    let places = |mark: &str| -> Vec<usize> {
        lines.iter().enumerate().filter(|(_, line)| line.starts_with(mark)).map(|(index, _)| index).collect()
    };
    let (begin, end) = match (places(BEGIN).as_slice(), places(END).as_slice()) {
        ([begin], [end]) if begin < end => (*begin, *end),
        _ => bail!("the page needs one line that begins with `{BEGIN}` and after it one line `{END}`"),
    };
    let mut text = lines[..=begin].join("\n");
    text.push_str("\n\n");
    text.push_str(part.trim_end());
    text.push_str("\n\n");
    text.push_str(&lines[end..].join("\n"));
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_between_the_markers_changes() {
        let page = "# Title\n\n<!-- bench: begin (written by a program) -->\nold\nolder\n<!-- bench: end -->\n\nrest\n";
        let once = replace(page, "new\n").unwrap();
        assert_eq!(
            once,
            "# Title\n\n<!-- bench: begin (written by a program) -->\n\nnew\n\n<!-- bench: end -->\n\nrest\n"
        );
        assert_eq!(replace(&once, "new\n").unwrap(), once);
    }

    #[test]
    fn a_page_without_markers_is_left_alone() {
        for page in ["# Title\n", "<!-- bench: end -->\n<!-- bench: begin -->\n", "<!-- bench: begin -->\n"] {
            assert!(replace(page, "new").unwrap_err().to_string().contains("bench: begin"));
        }
    }
}
