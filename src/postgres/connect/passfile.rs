//! The password file (`.pgpass` of libpq): `host:port:database:user:password`, `*` for any.

use std::path::Path;

use secrecy::SecretString;

/// What a password file gave.
#[derive(Debug)]
pub(super) enum Lookup {
    /// The password of the first matching line.
    Found(SecretString),
    /// The file doesn't exist or no line matches.
    Nothing,
    /// The file is not read, for this reason.
    Refused(String),
}

/// Looks a password up. As libpq does, the file is refused when others than its owner may read it.
pub(super) fn look_up(file: &Path, host: &str, port: u16, database: &str, user: &str) -> Lookup {
    let metadata = match std::fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Lookup::Nothing,
        Err(error) => return Lookup::Refused(format!("password file {}: {error}", file.display())),
    };
    if !metadata.is_file() {
        return Lookup::Refused(format!("password file {} is not a plain file", file.display()));
    }
    if let Some(why) = open_to_others(&metadata) {
        return Lookup::Refused(format!(
            "password file {} {why} and is not read: chmod 0600 {}",
            file.display(),
            file.display()
        ));
    }
    match std::fs::read_to_string(file) {
        Ok(text) => find(&text, [host, &port.to_string(), database, user])
            .map_or(Lookup::Nothing, |password| Lookup::Found(password.into())),
        Err(error) => Lookup::Refused(format!("password file {}: {error}", file.display())),
    }
}

#[cfg(unix)]
fn open_to_others(metadata: &std::fs::Metadata) -> Option<&'static str> {
    use std::os::unix::fs::PermissionsExt;
    (metadata.permissions().mode() & 0o077 != 0).then_some("is open to its group or to everyone")
}

#[cfg(not(unix))]
fn open_to_others(_metadata: &std::fs::Metadata) -> Option<&'static str> {
    None
}

fn find(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = split(line);
        let matches = wanted
            .iter()
            .all(|wanted| fields.next().is_some_and(|(raw, field)| raw == "*" || field == **wanted));
        matches.then(|| fields.next()).flatten().map(|(_, password)| password)
    })
}

/// The fields of a line, raw and unescaped; a backslash takes the next character as it is.
fn split(line: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let mut rest = Some(line.chars());
    std::iter::from_fn(move || {
        let mut chars = rest.take()?;
        let (mut raw, mut field) = (String::new(), String::new());
        loop {
            match chars.next() {
                None => return Some((raw, field)),
                Some(':') => {
                    rest = Some(chars);
                    return Some((raw, field));
                }
                Some('\\') => {
                    raw.push('\\');
                    if let Some(c) = chars.next() {
                        raw.push(c);
                        field.push(c);
                    }
                }
                Some(c) => {
                    raw.push(c);
                    field.push(c);
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_line_gives_the_password() {
        let text = "# h:1:d:u:no\nh:1:d:other:a\nh:*:d:u:b\\:c\\\\d\n*:*:*:*:last\nshort:1\n";
        let cases = [
            (["h", "1", "d", "u"], Some("b:c\\d")),
            (["h", "1", "d", "other"], Some("a")),
            (["x", "9", "y", "z"], Some("last")),
        ];
        for (wanted, expected) in cases {
            assert_eq!(find(text, wanted).as_deref(), expected, "{wanted:?}");
        }
        assert_eq!(find("h:1:d:u:p", ["h", "1", "d", "v"]), None);
        assert_eq!(find("\\*:1:d:u:p", ["h", "1", "d", "u"]), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("pgpass");
        std::fs::write(&file, "*:*:*:*:secret\n").expect("written");
        for (mode, read) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("mode set");
            match look_up(&file, "h", 1, "d", "u") {
                Lookup::Found(_) => assert!(read, "{mode:o} was read"),
                Lookup::Refused(why) => {
                    assert!(
                        !read && why.contains("chmod 0600") && !why.contains("secret"),
                        "{mode:o}: {why}"
                    );
                }
                Lookup::Nothing => panic!("{mode:o}: nothing found"),
            }
        }
        assert!(matches!(look_up(&folder.path().join("none"), "h", 1, "d", "u"), Lookup::Nothing));
    }
}
