//! Connection strings as libpq reads them: URLs and `key=value` lists, into keyword and value.
//!
//! Syntax only: what a keyword means and where a missing one comes from is decided by
//! [`super::settings`]. See "Connection Strings" in the PostgreSQL documentation of libpq.

use std::collections::BTreeMap;

use super::SettingsError;

/// Keywords and values, in the words of libpq; of a keyword given twice the last one holds.
pub type Keywords = BTreeMap<String, String>;

/// Reads a connection string of either form.
///
/// # Errors
/// When the string is malformed. The error never quotes the string, which may hold a password.
pub fn parse(text: &str) -> Result<Keywords, SettingsError> {
    let text = text.trim();
    match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        Some(rest) => parse_url(rest),
        None if text.contains("://") => Err(malformed("a URL must begin with postgres:// or postgresql://")),
        None => parse_pairs(text),
    }
}

fn malformed(why: impl Into<String>) -> SettingsError {
    SettingsError::Malformed(why.into())
}

fn parse_url(rest: &str) -> Result<Keywords, SettingsError> {
    let mut keywords = Keywords::new();
    let (before, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    let (authority, database) = match before.split_once('/') {
        Some((authority, database)) => (authority, Some(database)),
        None => (before, None),
    };
    let hosts = match authority.rsplit_once('@') {
        Some((login, hosts)) => {
            read_login(login, &mut keywords)?;
            hosts
        }
        None => authority,
    };
    read_hosts(hosts, &mut keywords)?;
    if let Some(database) = database.filter(|name| !name.is_empty()) {
        keywords.insert("dbname".into(), decode(database)?);
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
        let (keyword, value) = pair
            .split_once('=')
            .ok_or_else(|| malformed("each parameter behind the ? of the URL needs a = and a value"))?;
        let (keyword, value) = (decode(keyword)?, decode(value)?);
        // JDBC's spelling, which libpq takes as well.
        if keyword == "ssl" && value == "true" {
            keywords.insert("sslmode".into(), "require".into());
        } else {
            keywords.insert(keyword, value);
        }
    }
    Ok(keywords)
}

fn read_login(login: &str, keywords: &mut Keywords) -> Result<(), SettingsError> {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    if !user.is_empty() {
        keywords.insert("user".into(), decode(user)?);
    }
    if let Some(password) = password.filter(|text| !text.is_empty()) {
        keywords.insert("password".into(), decode(password)?);
    }
    Ok(())
}

fn read_hosts(text: &str, keywords: &mut Keywords) -> Result<(), SettingsError> {
    if text.is_empty() {
        return Ok(());
    }
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) = bracketed
                    .split_once(']')
                    .ok_or_else(|| malformed("an IPv6 address in the URL lacks its closing ]"))?;
                match (after, after.strip_prefix(':')) {
                    ("", _) => (host, ""),
                    (_, Some(port)) => (host, port),
                    (_, None) => return Err(malformed("only :port may follow an IPv6 address in the URL")),
                }
            }
            None => one.split_once(':').unwrap_or((one, "")),
        };
        hosts.push(decode(host)?);
        ports.push(decode(port)?);
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        keywords.insert("host".into(), hosts.join(","));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        keywords.insert("port".into(), ports.join(","));
    }
    Ok(())
}

fn decode(text: &str) -> Result<String, SettingsError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        match (digit(), digit()) {
            (Some(0), Some(0)) => return Err(malformed("the URL holds %00")),
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(malformed("a % in the URL needs two hexadecimal digits; write %25 for itself")),
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed("the URL isn't UTF-8 once its %-escapes are read"))
}

fn parse_pairs(text: &str) -> Result<Keywords, SettingsError> {
    let mut keywords = Keywords::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return Ok(keywords);
        }
        let mut keyword = String::new();
        while let Some(c) = rest.next_if(|&c| c != '=' && !c.is_whitespace()) {
            keyword.push(c);
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.next() != Some('=') {
            return Err(malformed("each keyword needs a = and a value, as in host=localhost dbname=app"));
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let value = read_value(&mut rest)?;
        keywords.insert(keyword, value);
    }
}

fn read_value(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, SettingsError> {
    let mut value = String::new();
    let quoted = rest.next_if_eq(&'\'').is_some();
    loop {
        match rest.peek().copied() {
            None if quoted => return Err(malformed("a quoted value lacks its closing '")),
            None => return Ok(value),
            Some('\'') if quoted => {
                rest.next();
                return Ok(value);
            }
            Some(c) if !quoted && c.is_whitespace() => return Ok(value),
            Some('\\') => {
                rest.next();
                value.extend(rest.next());
            }
            Some(c) => {
                rest.next();
                value.push(c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keywords(pairs: &[(&str, &str)]) -> Keywords {
        pairs.iter().map(|(keyword, value)| ((*keyword).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn strings_are_read_as_libpq_reads_them() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("postgres://", &[]),
            ("postgresql://localhost", &[("host", "localhost")]),
            ("postgres://app@db/orders", &[("user", "app"), ("host", "db"), ("dbname", "orders")]),
            (
                "postgres://a%40b:p%3Aq%2f@h:1,[::1]:2/d%20b?sslmode=verify-full&options=-c%20x%3D1",
                &[
                    ("user", "a@b"),
                    ("password", "p:q/"),
                    ("host", "h,::1"),
                    ("port", "1,2"),
                    ("dbname", "d b"),
                    ("sslmode", "verify-full"),
                    ("options", "-c x=1"),
                ],
            ),
            ("postgres://h1,h2:7/", &[("host", "h1,h2"), ("port", ",7")]),
            ("postgres://%2Fvar%2Frun/d", &[("host", "/var/run"), ("dbname", "d")]),
            (
                "postgres:///d?host=/tmp&ssl=true",
                &[("dbname", "d"), ("host", "/tmp"), ("sslmode", "require")],
            ),
            ("host=h  port = 5 dbname='a b\\'c'", &[("host", "h"), ("port", "5"), ("dbname", "a b'c")]),
            ("password=a\\ b user=''", &[("password", "a b"), ("user", "")]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).expect(text), keywords(expected), "{text}");
        }
    }

    #[test]
    fn malformed_strings_are_refused_without_quoting_them() {
        let cases = [
            "mysql://secret@h",
            "postgres://u:secret%zz@h",
            "postgres://u:secret@[::1",
            "postgres://u:secret@[::1]x",
            "postgres://u:secret@h?novalue",
            "postgres://u:secret%00@h",
            "secret",
            "password='secret",
        ];
        for text in cases {
            let error = parse(text).expect_err(text).to_string();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
