//! Logs: one line for each change of state, as JSON or text, on standard error.
//!
//! The level comes from the configuration; `RUST_LOG`, where it is set, replaces it. Fields of the JSON form
//! are `timestamp` (RFC 3339, UTC), `level`, `message`, `target` and those of the event, all on one level.
//! Nobody hands a payload, a key or a secret to an event: there is no filter here that could catch it. What
//! others say in words of their own, and may quote values in, goes to targets that are silenced as a whole.
//! Lines that repeat are held back and counted, see [`super::repeats`].

use std::collections::BTreeMap;
use std::io::IsTerminal;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, registry};

use super::repeats::Repeats;

/// The form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// One line for people, coloured on a terminal.
    Text,
}

/// Why logging can't begin.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// A filter that can't be read.
    #[error("{origin} is no log level or filter: {source}; use error, warn, info, debug or trace")]
    Filter {
        /// Where the filter stands.
        origin: &'static str,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another logger is installed in this process.
    #[error("a logger is installed already")]
    Installed,
}

/// What the environment says about logs.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `RUST_LOG`, which replaces the configured level.
    pub rust_log: Option<String>,
    /// `NO_COLOR`
    pub no_colour: bool,
}

impl Environment {
    /// From variables; empty ones count as absent.
    pub fn of(variables: &BTreeMap<String, String>) -> Self {
        let set = |name: &str| variables.get(name).filter(|value| !value.is_empty());
        Self { rust_log: set(EnvFilter::DEFAULT_ENV).cloned(), no_colour: set("NO_COLOR").is_some() }
    }
}

/// Begins to log for the rest of the process's life, by a `writer` that leads to standard error. Nothing of
/// the target `silenced` is written, whatever the level and `RUST_LOG` say. What repeats is held back;
/// whoever runs for long tells the counts by what is returned.
///
/// # Errors
/// When `level` or `RUST_LOG` can't be read, or when a logger is installed already.
pub fn init<W>(
    format: Format,
    level: &str,
    silenced: Option<&str>,
    environment: &Environment,
    writer: W,
) -> Result<Repeats, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = filter(level, silenced, environment.rust_log.as_deref())?;
    let colour = std::io::stderr().is_terminal() && !environment.no_colour;
    let repeats = Repeats::default();
    let logger = subscriber(format, filter, colour, writer, repeats.clone());
    logger.try_init().map_err(|_| LoggingError::Installed)?;
    Ok(repeats)
}

fn filter(level: &str, silenced: Option<&str>, variable: Option<&str>) -> Result<EnvFilter, LoggingError> {
    let (origin, text) = match variable {
        Some(text) => ("RUST_LOG", text),
        None => ("log.level", level),
    };
    let refused = |source| LoggingError::Filter { origin, source };
    let filter = EnvFilter::builder().parse(text).map_err(refused)?;
    match silenced {
        None => Ok(filter),
        // A directive of the same target replaces the one before.
        Some(target) => Ok(filter.add_directive(format!("{target}=off").parse().map_err(refused)?)),
    }
}

fn subscriber<W>(
    format: Format,
    filter: EnvFilter,
    colour: bool,
    writer: W,
    repeats: Repeats,
) -> tracing::Dispatch
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A line that can't be written is lost. To say so on standard error would panic where that is closed.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let base = registry().with(filter).with(repeats);
    match format {
        Format::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            base.with(lines).into()
        }
        Format::Text => base.with(lines.with_ansi(colour).with_target(false)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    #[derive(Clone)]
    struct Sink(Sender<Vec<u8>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: Format, filter_text: &str, log: impl FnOnce()) -> String {
        let (sender, receiver) = channel();
        let writer = move || Sink(sender.clone());
        let filter = filter("error", Some("tidegate::others"), Some(filter_text)).unwrap();
        tracing::dispatcher::with_default(
            &subscriber(format, filter, false, writer, Repeats::default()),
            log,
        );
        String::from_utf8(receiver.try_iter().flatten().collect()).unwrap()
    }

    #[test]
    fn json_lines_carry_stable_fields_on_one_level() {
        let text = lines(Format::Json, "info", || {
            tracing::info!(topic = "events", partition = 3, "partition halted");
            tracing::debug!("not shown");
        });
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        assert_eq!(names, ["level", "message", "partition", "target", "timestamp", "topic"]);
        assert_eq!((&value["message"], &value["level"]), (&"partition halted".into(), &"INFO".into()));
    }

    #[test]
    fn a_silenced_target_says_nothing_whatever_is_asked_for() {
        for level in ["trace", "tidegate=trace", "tidegate::others=trace", "info,tidegate::others=warn"] {
            let text = lines(Format::Text, level, || tracing::error!(target: "tidegate::others", "a value"));
            assert_eq!(text, "", "{level}");
        }
        let filter = filter("info", None, None).unwrap();
        assert!(!filter.to_string().contains("off"), "{filter}");
    }

    #[test]
    fn text_lines_have_no_escape_sequences_off_a_terminal() {
        let text = lines(Format::Text, "info", || tracing::warn!(code = "TG-101", "halted"));
        assert!(text.contains("WARN") && text.contains("halted code=\"TG-101\""), "{text:?}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_line_that_repeats_is_written_once() {
        let repeat = || (0..5).for_each(|attempt| tracing::warn!(attempt, "refused"));
        for format in [Format::Json, Format::Text] {
            assert_eq!(lines(format, "info", repeat).lines().count(), 1, "{format:?}");
        }
        let debug = || (0..5).for_each(|attempt| tracing::debug!(attempt, "refused"));
        assert_eq!(lines(Format::Text, "debug", debug).lines().count(), 5);
    }

    #[test]
    fn a_filter_that_can_t_be_read_names_its_place() {
        let message = |level, variable| filter(level, None, variable).unwrap_err().to_string();
        assert!(message("info=loud", None).starts_with("log.level is no log level"));
        assert!(message("info", Some("a=loud")).starts_with("RUST_LOG is no log level"));
    }
}
