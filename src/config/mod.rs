//! The configuration: a file, the environment and `--set` → [`Settings`], or every problem with its place.
//!
//! ```text
//! yaml · toml · json ──▶ tree ──▶ overlay ──▶ interpolate ──▶ build (kafka, routes, names) ──▶ Settings
//! ```
//!
//! All formats become one tree whose nodes know where they were written, so that an error names line and
//! column whatever the format. Nothing here connects anywhere, and nothing here prints a secret. Of the
//! engine it knows only the plain types of a route.

mod adapt;
mod build;
pub mod defaults;
mod error;
mod http;
mod interpolate;
mod json;
mod kafka;
mod keys;
mod lines;
mod load;
mod names;
mod overlay;
mod properties;
mod reader;
mod redact;
mod routes;
mod settings;
mod toml;
mod tree;
mod values;
mod yaml;

pub use error::{ConfigError, Place, Problem};
pub use interpolate::FileText;
pub use keys::SECTIONS;
pub use load::{FileFormat, LoadOptions};
pub use settings::*;
pub use values::parse_duration;
