//! The configuration: a file, the environment and `--set` → [`Settings`], or every problem with its place.
//!
//! ```text
//! yaml · toml · json ──▶ tree ──▶ overlay ──▶ interpolate ──▶ sections ──▶ Settings
//! ```
//!
//! All formats become one tree whose nodes know where they were written, so that an error names line and
//! column whatever the format, and shows the line. Nothing here connects anywhere, and nothing here prints a
//! secret. Of the engine it knows only the plain types of a route.

mod error;
mod excerpt;
mod file_text;
mod interpolate;
mod json;
mod key;
mod lines;
mod load;
mod misspelt;
mod names;
mod overlay;
mod properties;
mod reader;
mod secret;
mod sections;
mod toml;
mod tree;
mod values;
mod yaml;

pub use self::error::{ConfigError, Place, Problem};
pub use self::file_text::FileText;
pub use self::key::Keys;
pub use self::load::{FileFormat, LoadOptions};
pub use self::names::{FieldPath, NameTooLong, PipelineName, TableName, TableTemplate, TopicPattern};
pub use self::sections::{
    BackoffStrategy, BadRecords, ClassRetry, ColumnSettings, ColumnSource, GroupProtocol, HttpProbe,
    HttpSettings, KafkaSettings, Limits, LogFormat, LogLevel, LogSettings, Parse, PostgresSettings, Probe,
    Retry, RouteSettings, SECTIONS, Settings, Start, Then, Timeouts, TopicSelector, UnknownFields,
    WaitSettings, unit_word,
};
pub use self::values::parse_duration;
pub use crate::engine::route::{EpochUnit, Format, OnBadRecord, OnMissingParent, OnTombstone, WriteMode};
