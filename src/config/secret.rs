//! What must never be printed, and how it is told.

use super::properties::ALLOWED;
use crate::nearest::nearest;

/// Stands for a secret.
pub(super) const MASK: &str = "***";

/// Parts of a connection string that are safe to print; everything else is masked.
const SAFE_PARAMETERS: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "service",
    "application_name",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "connect_timeout",
    "target_session_attrs",
    "channel_binding",
    "client_encoding",
    "keepalives",
    "gssencmode",
];

/// Parts of a librdkafka property's name that tell that its value is, or may hold, a secret.
const SECRET_PROPERTY_PARTS: &[&str] = &[
    "pass",
    "pwd",
    "secret",
    "token",
    "key.pem",
    "ssl_key",
    "jaas",
    "credential",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
];

/// Whether a librdkafka property's value is, or may hold, a secret.
pub(super) fn is_secret_property(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_PROPERTY_PARTS.iter().any(|part| name.contains(part))
}

/// A key as errors may show it. What stands below a secret's key is cut: a template that was never rendered,
/// such as `{{ password }}`, is read as a section, and its key may be the secret. So is what no name of a key
/// has: where the blank behind a colon is missing, the value is read as a part of the key.
pub(super) fn shown_key(path: &str) -> &str {
    const URL: &str = "postgres.url";
    const KAFKA: &str = "kafka.";
    if path.strip_prefix(URL).is_some_and(|below| below.starts_with(['.', '['])) {
        return URL;
    }
    let foreign = |c: char| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-' | '[' | ']');
    let path = match path.starts_with(KAFKA) || path.starts_with("postgres.") {
        true => path.split(foreign).next().unwrap_or_default(),
        false => path,
    };
    let Some(property) = path.strip_prefix(KAFKA).filter(|property| !ALLOWED.contains(property)) else {
        return path;
    };
    let ends = property.match_indices(['.', '[']).map(|(at, _)| at);
    let secret = ends.into_iter().find(|end| may_be_secret(&property[..*end]));
    let glued = || {
        let known = ALLOWED.iter().filter(|name| is_secret_property(name) && property.starts_with(**name));
        known.map(|name| name.len()).max()
    };
    secret.or_else(glued).map_or(path, |end| &path[..KAFKA.len() + end])
}

/// Whether a property's name is that of a secret, or as near to one as a misspelt one is.
pub(super) fn may_be_secret(name: &str) -> bool {
    is_secret_property(name) || nearest(name, ALLOWED.iter().copied()).is_some_and(is_secret_property)
}

/// A connection string without its secrets. In doubt it hides too much.
pub(super) fn connection_string(text: &str) -> String {
    for scheme in ["postgres://", "postgresql://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return format!("{scheme}{}", url_rest(rest));
        }
    }
    key_values(text)
}

fn url_rest(rest: &str) -> String {
    // A password may hold an unescaped `@` or `/`: user and password end at the last `@`.
    let (user, location) = match rest.rsplit_once('@') {
        // This `@` may belong to a password before the host or to a parameter's value behind it.
        Some((user, _)) if user.contains('?') => return MASK.to_owned(),
        Some((user, location)) => (Some(user), location),
        None => (None, rest),
    };
    let (address, query) = match location.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (location, None),
    };
    let user = match user.map(|user| user.split_once(':').ok_or(user)) {
        Some(Ok((name, _))) => format!("{name}:{MASK}@"),
        Some(Err(name)) => format!("{name}@"),
        None => String::new(),
    };
    let query = match query {
        Some(query) => format!("?{}", query.split('&').map(parameter).collect::<Vec<_>>().join("&")),
        None => String::new(),
    };
    format!("{user}{address}{query}")
}

fn parameter(text: &str) -> String {
    match text.split_once('=') {
        Some((name, value)) if SAFE_PARAMETERS.contains(&name) => format!("{name}={value}"),
        Some((name, _)) => format!("{name}={MASK}"),
        None => MASK.to_owned(),
    }
}

/// A web address without its secrets: who logs in and what stands behind `?` are hidden.
pub(super) fn http_url(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let begin = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    let (rest, query) = match rest.split_once(['?', '#']) {
        Some((rest, _)) => (rest, format!("?{MASK}")),
        None => (rest, String::new()),
    };
    let rest = rest.rsplit_once('@').map_or(rest.to_owned(), |(_, rest)| format!("{MASK}@{rest}"));
    format!("{begin}{rest}{query}")
}

fn key_values(text: &str) -> String {
    // A quoted value may hold spaces, so it can't be told where it ends without libpq's rules: hide it all.
    if text.contains(['\'', '\\']) {
        return MASK.to_owned();
    }
    text.split_whitespace().map(parameter).collect::<Vec<_>>().join(" ")
}
