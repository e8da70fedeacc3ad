//! Connection service files: named sets of keywords (`pg_service.conf` of libpq).

use std::path::{Path, PathBuf};

use super::SettingsError;
use super::conninfo::Keywords;
use super::environment::Environment;

/// The keywords of a service, from `PGSERVICEFILE` or `~/.pg_service.conf`, then from
/// `PGSYSCONFDIR/pg_service.conf`.
///
/// # Errors
/// When no file defines the service, or one is malformed.
pub(super) fn load(name: &str, env: Environment<'_>) -> Result<Keywords, SettingsError> {
    let set = |variable: &str| env(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = set("PGSERVICEFILE").or_else(|| set("HOME").map(|home| home.join(".pg_service.conf")));
    let system = set("PGSYSCONFDIR").map(|folder| folder.join("pg_service.conf"));
    let files: Vec<PathBuf> = own.into_iter().chain(system).collect();
    for file in &files {
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        if let Some(keywords) = find(&text, name, file)? {
            return Ok(keywords);
        }
    }
    let looked = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    Err(SettingsError::UnknownService { name: name.to_owned(), looked })
}

fn find(text: &str, name: &str, file: &Path) -> Result<Option<Keywords>, SettingsError> {
    let mut found: Option<Keywords> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if section.strip_suffix(']') == Some(name) {
                found = Some(Keywords::new());
            }
            continue;
        }
        let Some(keywords) = &mut found else { continue };
        let bad =
            |why: &str| SettingsError::Malformed(format!("line {} of {}: {why}", index + 1, file.display()));
        let (keyword, value) = line.split_once('=').ok_or_else(|| bad("keyword=value is needed"))?;
        if keyword.trim() == "service" {
            return Err(bad("a service can't name another service"));
        }
        keywords.entry(keyword.trim().to_owned()).or_insert_with(|| value.trim().to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_the_lines_of_its_section() {
        let text = "# all\n[a]\nhost=h1\n\n[b]\n host = h2\nport=7\n# note\nport=8\n[c]\nhost=h3\n";
        let found = find(text, "b", Path::new("f")).expect("well-formed").expect("there");
        let pairs: Vec<_> = found.iter().map(|(keyword, value)| (keyword.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("host", "h2"), ("port", "7")]);
        assert!(find(text, "d", Path::new("f")).expect("well-formed").is_none());
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for text in ["[a]\nhost\n", "[a]\nservice=b\n"] {
            let error = find(text, "a", Path::new("/etc/f")).expect_err("bad").to_string();
            assert!(error.contains("line 2 of /etc/f"), "{error}");
        }
    }
}
