//! Where the programs of Kafka are: its ladder, and a Java that can run them.

use super::compose;
use super::ladder::Ladder;
use super::maven::{self, Artefact};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The series of Kafka that `pom.xml` pins.
const SERIES: [&str; 6] = ["3.9", "4.0", "4.1", "4.2", "4.3", "4.4"];

/// A Java and the folder of Kafka's jars.
#[derive(Debug, Clone)]
pub(super) struct Installation {
    pub(super) java: PathBuf,
    pub(super) jars: PathBuf,
    pub(super) log4j: PathBuf,
}

#[derive(Debug, Clone)]
pub(super) enum Programs {
    Local(Installation),
    Compose,
}

impl Installation {
    /// Every jar of the folder.
    pub(super) fn classpath(&self) -> String {
        format!("{}/*", self.jars.display())
    }
}

/// The ladder, walked once in a process.
pub(super) fn programs() -> Result<Programs> {
    static FOUND: OnceLock<Programs> = OnceLock::new();
    static WALK: Mutex<()> = Mutex::new(());
    let _one_at_a_time = WALK.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(programs) = FOUND.get() {
        return Ok(programs.clone());
    }
    let programs = climb()?;
    Ok(FOUND.get_or_init(|| programs).clone())
}

fn climb() -> Result<Programs> {
    let mut ladder = Ladder::new("Kafka");
    let java = java();
    let with_java = |jars: Result<PathBuf>| -> Result<Installation> {
        let jars = jars?;
        let java =
            java.as_ref().map(Clone::clone).map_err(|error| anyhow::Error::msg(format!("{error:#}")))?;
        let log4j = maven::log4j_configuration()?;
        Ok(Installation { java, jars, log4j })
    };
    let asked = series()?;
    let local = match asked {
        None => local_jars(),
        Some(series) => Err(anyhow::anyhow!("TIDEGATE_LAB_KAFKA_VERSION asks for {series}")),
    };
    match with_java(local) {
        Ok(installation) => {
            ladder.take("local binaries", installation.jars.display());
            return Ok(Programs::Local(installation));
        }
        Err(error) => {
            let remedy = "unpack Kafka 4 into /opt/kafka or set KAFKA_HOME, and install Java 17 or newer";
            ladder.skip("local binaries", format!("{error:#}"), remedy);
        }
    }
    let fetched = match &java {
        Ok(_) => with_java(
            maven::fetch(Artefact::Kafka(asked.unwrap_or(maven::KAFKA))).map(|folder| folder.join("jars")),
        ),
        Err(error) => Err(anyhow::Error::msg(format!("{error:#}"))),
    };
    match fetched {
        Ok(installation) => {
            ladder.take("Maven artefact", installation.jars.display());
            return Ok(Programs::Local(installation));
        }
        Err(error) => {
            ladder.skip(
                "Maven artefact",
                format!("{error:#}"),
                "apt-get install openjdk-17-jre-headless maven",
            );
        }
    }
    match compose::available() {
        Ok(()) => {
            ladder.take("Docker compose", "apache/kafka");
            Ok(Programs::Compose)
        }
        Err(error) => {
            ladder.skip("Docker compose", error, "install Docker and start its daemon");
            let remedy = "set it to bootstrap servers (shared by all tests; not for outage tests)";
            ladder.skip("environment", "TIDEGATE_LAB_KAFKA gives no broker", remedy);
            Err(ladder.exhausted())
        }
    }
}

/// The series that the environment asks for.
fn series() -> Result<Option<&'static str>> {
    let asked = std::env::var("TIDEGATE_LAB_KAFKA_VERSION").unwrap_or_default();
    if asked.is_empty() {
        return Ok(None);
    }
    let found = SERIES.into_iter().find(|series| *series == asked);
    let allowed = SERIES.join(", ");
    found.map(Some).with_context(|| format!("TIDEGATE_LAB_KAFKA_VERSION is {asked}; allowed are {allowed}"))
}

fn local_jars() -> Result<PathBuf> {
    let given = std::env::var_os("KAFKA_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    for home in given.into_iter().chain([PathBuf::from("/opt/kafka")]) {
        let jars = home.join("libs");
        if jars.is_dir() {
            return Ok(jars);
        }
    }
    bail!("there is no libs folder in $KAFKA_HOME or /opt/kafka")
}

/// A Java of at least version 17: `$JAVA_HOME`, else the one in the path.
pub(super) fn java() -> Result<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let java = home.map_or_else(|| PathBuf::from("java"), |home| home.join("bin/java"));
    let output = Command::new(&java).arg("-version").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} (Java 17 or newer) is not installed", java.display()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match java_major(&text) {
        Some(major) if major >= 17 => Ok(java),
        Some(major) => bail!("{} is Java {major}, Kafka 4 needs 17", java.display()),
        None => bail!("{} -version prints no version", java.display()),
    }
}

/// The major version in what `java -version` prints: `openjdk version "17.0.15" 2025-04-15`.
fn java_major(text: &str) -> Option<u32> {
    let (_, quoted) = text.split_once('"')?;
    let digits: String = quoted.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_are_read_in_their_old_and_new_forms() {
        for (text, major) in [
            ("openjdk version \"17.0.15\" 2025-04-15", Some(17)),
            ("java version \"1.8.0_401\"", Some(1)),
            ("openjdk version \"25\" 2025-09-16", Some(25)),
            ("nothing", None),
        ] {
            assert_eq!(java_major(text), major, "{text}");
        }
    }
}
