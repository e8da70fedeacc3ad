//! `postgres`: the database, and the ledger's place in it.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::config::file_text::FileText;
use crate::config::key::{Keys, shown};
use crate::config::reader::{Field, Report, Section};
use crate::config::secret::connection_string;

const URL: &str = "url";
const LEDGER: &str = "ledger";
pub(super) const KEYS: Keys = ("postgres", &[URL, LEDGER]);

/// Nothing of its own, so that everything comes from PG* variables, .pgpass and service files.
const DEFAULT_URL: &str = "postgres://";

/// The product's name, so that a person who lists schemas knows whose it is.
const DEFAULT_LEDGER: &str = "tidegate";

/// The database and the ledger's place in it.
#[derive(Clone)]
pub struct PostgresSettings {
    /// Connection string, `postgres://…` or `key=value …`. May hold a password. What it lacks comes from
    /// PG* variables, .pgpass and service files.
    pub url: SecretString,
    /// How to read the connection string again, where `${file:…}` is part of it.
    pub url_files: Option<FileText>,
    /// Schema of the ledger: lower-case letters, digits and underscores, at most 63 bytes.
    pub ledger: String,
}

impl PostgresSettings {
    /// The connection string as the files in it say it now.
    ///
    /// # Errors
    /// A sentence without secrets, where a file can't be read.
    pub fn current_url(&self) -> Result<SecretString, String> {
        self.url_files.as_ref().map_or_else(|| Ok(self.url.clone()), FileText::read)
    }

    /// The connection string without its secrets, for logs and errors.
    pub fn redacted_url(&self) -> String {
        connection_string(self.url.expose_secret())
    }

    pub(super) fn read(root: &mut Section, report: &mut Report) -> Self {
        let mut section = root.section(KEYS, report);
        let url = section.take(URL).and_then(|field| url(&field, report));
        let (url, url_files) = url.unwrap_or_else(|| (DEFAULT_URL.to_owned(), None));
        let ledger = section.take(LEDGER).and_then(|field| schema(&field, report));
        let ledger = ledger.unwrap_or_else(|| DEFAULT_LEDGER.to_owned());
        Self { url: SecretString::from(url), url_files, ledger }
    }

    pub(super) fn show(&self) -> Value {
        shown([(URL, json!(self.redacted_url())), (LEDGER, json!(self.ledger))])
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("url", &self.redacted_url())
            .field("ledger", &self.ledger)
            .finish()
    }
}

fn url(field: &Field, report: &mut Report) -> Option<(String, Option<FileText>)> {
    let scalar = field.scalar("a connection string", report)?;
    let text = &scalar.text;
    // A password may hold anything, what stands behind it may not.
    if text.rsplit('@').next().is_some_and(|location| location.contains("{{")) {
        let help = "what renders the template has to run before; ${VAR} and ${file:…} are read here";
        report.add(field, "a template that was never rendered stands in it, {{ … }}", help);
        return None;
    }
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if is_url || (text.contains('=') && !text.contains("://")) {
        return Some((text.clone(), scalar.files.clone()));
    }
    // The value isn't shown: it may hold a password.
    let help = "postgres://user:password@host:5432/database?sslmode=verify-full, or host=… dbname=… user=…; \
                what it lacks comes from PG* variables, .pgpass and service files";
    report.add(field, "not a PostgreSQL connection string (its value isn't shown)", help);
    None
}

fn schema(field: &Field, report: &mut Report) -> Option<String> {
    let scalar = field.scalar("a schema's name", report)?;
    let text = &scalar.text;
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let first = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    let reserved = text.starts_with("pg_") || text == "information_schema";
    if first && text.len() <= 63 && text.bytes().all(legal) && !reserved {
        return Some(text.clone());
    }
    let help = "lower-case letters, digits and underscores, a letter first, at most 63, not pg_…: people \
        type it in SQL";
    report.add(field, format!("{} can't be the ledger's schema", scalar.shown()), help);
    None
}
