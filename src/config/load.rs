//! Finds, reads and checks a configuration. The only reader of the process environment.
//!
//! Later beats earlier: the file, then the environment (`TIDEGATE__…`), then `--set`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Place, Problem};
use super::secret::shown_key;
use super::sections::Settings;
use super::tree::Node;
use super::{interpolate, json, overlay, toml, yaml};

/// The file when neither `-c` nor the variable names one.
const CONFIG_FILE: &str = "tidegate.yaml";

/// The variable that names the file when no `-c` does.
const CONFIG_VARIABLE: &str = "TIDEGATE_CONFIG";

/// How a configuration file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// `.yaml` and `.yml`
    Yaml,
    /// `.toml`
    Toml,
    /// `.json`
    Json,
}

impl FileFormat {
    /// The format that a file's extension tells, in any case.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "yaml" | "yml" => Some(FileFormat::Yaml),
            "toml" => Some(FileFormat::Toml),
            "json" => Some(FileFormat::Json),
            _ => None,
        }
    }
}

/// What a load starts from.
#[derive(Clone)]
pub struct LoadOptions {
    /// `-c`; without it `$TIDEGATE_CONFIG`, then `tidegate.yaml` in the working directory.
    pub path: Option<PathBuf>,
    /// `--set KEY=VALUE`, in order.
    pub sets: Vec<String>,
    /// The environment: overrides, references, and the file's name.
    pub env: BTreeMap<String, String>,
}

impl LoadOptions {
    /// Options with the environment of this process; variables that aren't Unicode are left out.
    pub fn from_process(path: Option<PathBuf>, sets: Vec<String>) -> Self {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        LoadOptions { path, sets, env: std::env::vars_os().filter_map(unicode).collect() }
    }

    fn chosen(&self) -> (PathBuf, &'static str) {
        match (&self.path, self.env.get(CONFIG_VARIABLE).filter(|name| !name.is_empty())) {
            (Some(path), _) => (path.clone(), "it was named with -c"),
            (None, Some(name)) => (PathBuf::from(name), "it was named by $TIDEGATE_CONFIG; -c names another"),
            (None, None) => {
                let hint = "neither -c nor $TIDEGATE_CONFIG names a file, so this one was tried";
                (PathBuf::from(CONFIG_FILE), hint)
            }
        }
    }
}

impl Settings {
    /// Loads a configuration file with everything that is laid over it.
    ///
    /// # Errors
    /// When the file can't be read, and when anything in it, in the environment or in `--set` can't be
    /// used; then the error lists every problem with its place.
    pub fn load(options: &LoadOptions) -> Result<Settings, ConfigError> {
        let (path, hint) = options.chosen();
        let Some(format) = FileFormat::of(&path) else {
            return Err(ConfigError::UnknownExtension { path });
        };
        match std::fs::read_to_string(&path) {
            Ok(source) => Settings::parse(&source, format, &path, options),
            Err(source) => Err(ConfigError::Unreadable { path, source, hint: hint.to_owned() }),
        }
    }

    /// Reads a configuration from text; `path` is only what errors call it.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn parse(
        source: &str,
        format: FileFormat,
        path: &Path,
        options: &LoadOptions,
    ) -> Result<Settings, ConfigError> {
        let invalid = |problems: Vec<Problem>| {
            let problems = problems.into_iter().map(without_secret_keys).collect();
            ConfigError::Invalid { file: path.to_owned(), problems }
        };
        let source = source.strip_prefix('\u{feff}').unwrap_or(source);
        let mut root = read(source, format).map_err(|problem| invalid(vec![problem]))?;
        let mut problems = Vec::new();
        root.flatten("kafka");
        overlay::apply(&mut root, &options.env, &options.sets, &mut problems);
        interpolate::resolve(&mut root, "", &options.env, &mut problems);
        Settings::read(root, problems).map_err(invalid)
    }
}

fn without_secret_keys(problem: Problem) -> Problem {
    let key = shown_key(&problem.key).to_owned();
    let place = match problem.place {
        Place::Set(key) => Place::Set(shown_key(&key).to_owned()),
        other @ (Place::File { .. } | Place::Environment(_) | Place::Absent) => other,
    };
    Problem { key, place, ..problem }
}

fn read(source: &str, format: FileFormat) -> Result<Node, Problem> {
    match format {
        FileFormat::Yaml => yaml::parse(source),
        FileFormat::Toml => toml::parse(source),
        FileFormat::Json => json::parse(source),
    }
}
