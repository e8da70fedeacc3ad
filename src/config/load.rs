//! Finds, reads and checks a configuration. The only reader of the process environment.
//!
//! Later beats earlier: the file, then the environment (`TIDEGATE__…`), then `--set`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Place, Problem};
use super::excerpt::{self, excerpt};
use super::properties::{ALLOWED, is_refused};
use super::secret::{may_be_secret, shown_key};
use super::sections::{SECTIONS, Settings};
use super::tree::Node;
use super::{interpolate, json, overlay, toml, yaml};
use crate::nearest::nearest;

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
                let hint = "neither -c nor $TIDEGATE_CONFIG names a file, so this one was tried; name yours with -c FILE";
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
        if path.is_dir() {
            let source = std::io::Error::from(std::io::ErrorKind::IsADirectory);
            let hint = format!("{hint}; name the file in it");
            return Err(ConfigError::Unreadable { path, source, hint });
        }
        let Some(format) = FileFormat::of(&path) else {
            return Err(ConfigError::UnknownExtension { path });
        };
        let read = std::fs::read(&path);
        let source = read.map_err(|source| {
            let beside = beside(&path).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            ConfigError::Unreadable { path: path.clone(), source, hint: format!("{hint}{beside}") }
        })?;
        match String::from_utf8(source) {
            Ok(source) => Settings::parse(&source, format, &path, options),
            Err(error) => Err(ConfigError::NotUtf8 { path, hint: encoding(error.as_bytes()) }),
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
        let source = source.strip_prefix('\u{feff}').unwrap_or(source);
        let invalid = |problems: Vec<Problem>| {
            let problems = problems.into_iter().map(without_secret_keys);
            let problems = problems.map(|problem| with_excerpt(problem, source)).collect();
            ConfigError::Invalid { file: path.to_owned(), problems }
        };
        let mut root = read(source, format).map_err(|problem| invalid(vec![problem]))?;
        let mut problems = Vec::new();
        root.flatten("kafka");
        overlay::apply(&mut root, &options.env, &options.sets, &mut problems);
        interpolate::resolve(&mut root, "", &options.env, &mut problems);
        Settings::read(root, problems).map_err(invalid)
    }
}

/// A configuration that is there, with nearly this name.
fn beside(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    let names = names.filter(|name| FileFormat::of(Path::new(name)).is_some());
    let names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    let near = nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near).display().to_string())
}

/// What is told of a file that isn't UTF-8.
fn encoding(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it begins as UTF-16: save it as UTF-8",
        [0x1f, 0x8b, ..] => "it begins as gzip: unpack it",
        _ => "save it as UTF-8",
    }
}

fn without_secret_keys(problem: Problem) -> Problem {
    let key = shown_key(&problem.key).to_owned();
    let place = match problem.place {
        Place::Set(key) => Place::Set(shown_key(&key).to_owned()),
        other => other,
    };
    Problem { key, place, ..problem }
}

fn with_excerpt(problem: Problem, source: &str) -> Problem {
    let keys = excerpt::Vocabulary { word, harmless };
    let excerpt = match problem.place {
        Place::File { line, column } => excerpt(source, (line, column), &problem.key, keys),
        Place::Within { .. } | Place::Environment(_) | Place::Set(_) | Place::Absent => None,
    };
    Problem { excerpt: excerpt.map(String::into_boxed_str), ..problem }
}

/// The sections of the root below which secrets stand.
const WITH_SECRETS: [&str; 2] = ["kafka", "postgres"];

/// Whether no secret stands below a section of the root.
fn harmless(section: &str) -> bool {
    let meant = nearest(section, SECTIONS[0].1.iter().copied());
    meant.is_some_and(|section| !WITH_SECRETS.contains(&section))
}

/// What a key says of its value, below a section of the root or, where that is empty, anywhere.
fn word(section: &str, key: &str) -> excerpt::Word {
    use excerpt::Word;
    let of = |name: &str| section.is_empty() || section == name;
    if let Some((first, rest)) = key.split_once('.').filter(|(first, _)| WITH_SECRETS.contains(first)) {
        return word(first, rest);
    }
    let known = || SECTIONS.iter().any(|(_, keys)| keys.contains(&key));
    let own = SECTIONS[0].1.contains(&key) || (section != "kafka" && known());
    let below = |name: &&str| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
    match key {
        "url" => Word::Secret,
        // Misspelt; it is in no section's list.
        _ if !known() && nearest(key, ["url"]).is_some() => Word::Secret,
        _ if WITH_SECRETS.contains(&key) => Word::Section,
        _ if of("kafka") && ALLOWED.contains(&key) && !may_be_secret(key) => Word::Plain,
        _ if own => Word::Plain,
        _ if may_be_secret(key) => Word::Secret,
        _ if of("kafka") && is_refused(key) => Word::Plain,
        _ if of("kafka") && ALLOWED.iter().any(below) => Word::Section,
        _ => Word::Unknown,
    }
}

fn read(source: &str, format: FileFormat) -> Result<Node, Problem> {
    match format {
        FileFormat::Yaml => yaml::parse(source),
        FileFormat::Toml => toml::parse(source),
        FileFormat::Json => json::parse(source),
    }
}
