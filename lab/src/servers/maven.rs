//! Servers as Maven artefacts, pinned in `pom.xml`, copied once into the cache.

use crate::cache;
use crate::keeper::keeper;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const POM: &str = include_str!("../../pom.xml");
const LOG4J: &str = include_str!("log4j2.properties");

/// A server that `pom.xml` can bring. Series are names such as `4.3` and `18`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Artefact {
    Kafka(&'static str),
    /// Kafka Connect with a JDBC sink, and all of Kafka that they need.
    Connect,
    Postgres(&'static str),
}

/// The series of Kafka that is used where nothing else is asked for.
pub(super) const KAFKA: &str = "4.3";

impl Artefact {
    fn execution(self) -> &'static str {
        match self {
            Artefact::Kafka(_) | Artefact::Connect => "dependency:copy-dependencies@kafka",
            Artefact::Postgres(_) => "dependency:copy@postgres",
        }
    }

    /// One packed archive instead of jars.
    fn is_archive(self) -> bool {
        matches!(self, Artefact::Postgres(_))
    }

    /// The pinned version of the server.
    fn version(self) -> Result<&'static str> {
        match self {
            Artefact::Kafka(series) => pinned(&format!("kafka-{series}")),
            Artefact::Connect => pinned(&format!("kafka-{KAFKA}")),
            Artefact::Postgres(series) => pinned(&format!("postgres-{series}")),
        }
    }

    /// The folder's name in the cache holds the version, so that a changed pin is a new folder.
    fn folder(self) -> Result<String> {
        let version = self.version()?;
        Ok(match self {
            Artefact::Kafka(_) => format!("kafka-{version}-log4j-{}", pinned("log4j.version")?),
            Artefact::Connect => format!(
                "connect-{version}-debezium-{}-log4j-{}",
                pinned("debezium.version")?,
                pinned("log4j.version")?
            ),
            Artefact::Postgres(_) => format!("postgresql-{version}-{}", platform()?),
        })
    }
}

/// The value of a property of `pom.xml`.
fn pinned(property: &str) -> Result<&'static str> {
    let (_, rest) =
        POM.split_once(&format!("<{property}>")).context("a pinned version is missing in pom.xml")?;
    rest.split_once('<').map(|(value, _)| value).context("pom.xml ends inside a property")
}

fn platform() -> Result<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("linux-amd64"),
        ("linux", "aarch64") => Ok("linux-arm64v8"),
        (os, arch) => bail!("there is no PostgreSQL artefact for {os} on {arch}"),
    }
}

/// A configuration with which Kafka logs to its standard output.
pub(super) fn log4j_configuration() -> Result<PathBuf> {
    let file = keeper().folder("log4j")?.join("log4j2.properties");
    fs::write(&file, LOG4J)?;
    Ok(file)
}

/// The program `mvn`, or why it can't be used.
fn maven() -> Result<PathBuf> {
    let mvn = std::env::var_os("MVN").map_or_else(|| PathBuf::from("mvn"), PathBuf::from);
    let works = Command::new(&mvn).arg("-version").stdin(Stdio::null()).output();
    match works {
        Ok(output) if output.status.success() => Ok(mvn),
        Ok(output) => bail!("mvn fails: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(_) => bail!("mvn is not installed"),
    }
}

/// The folder that holds the artefact's files, fetched now if it isn't there yet.
pub(super) fn fetch(artefact: Artefact) -> Result<PathBuf> {
    cache::fetched(&artefact.folder()?, |partial| {
        copy(&maven()?, artefact, partial)?;
        if artefact.is_archive() { unpack(partial) } else { Ok(()) }
    })
}

fn copy(mvn: &Path, artefact: Artefact, out: &Path) -> Result<()> {
    let pom = out.join("pom.xml");
    fs::write(&pom, POM)?;
    let mut command = Command::new(mvn);
    command.args(["-B", "-q", "-f"]).arg(&pom).arg(artefact.execution());
    command.arg(format!("-Dout={}", out.join("jars").display()));
    if artefact == Artefact::Connect {
        command.arg("-Pconnect");
    }
    if artefact.is_archive() {
        command.arg(format!("-Dpostgres.version={}", artefact.version()?));
        command.arg(format!("-Dpostgres.platform={}", platform()?));
    } else {
        command.arg(format!("-Dkafka.version={}", artefact.version()?));
    }
    let output = command.stdin(Stdio::null()).output().context("running mvn")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        let errors: Vec<&str> = text.lines().filter(|line| line.contains("ERROR")).take(3).collect();
        bail!("mvn {} failed: {}", artefact.execution(), errors.join(" / "));
    }
    Ok(())
}

/// The PostgreSQL artefact is a jar that holds one tar archive, compressed with xz.
fn unpack(folder: &Path) -> Result<()> {
    let jars = folder.join("jars");
    let jar = fs::read_dir(&jars)?.flatten().map(|entry| entry.path());
    let jar = jar.into_iter().find(|path| path.extension().is_some_and(|e| e == "jar"));
    let jar = jar.context("mvn copied no PostgreSQL artefact")?;
    let mut zip = zip::ZipArchive::new(BufReader::new(File::open(&jar)?)).context("opening the artefact")?;
    let txz = zip.file_names().find(|name| name.ends_with(".txz")).map(str::to_owned);
    let mut packed = Vec::new();
    zip.by_name(&txz.context("the artefact holds no .txz")?)?.read_to_end(&mut packed)?;
    let mut unpacked = Vec::new();
    lzma_rs::xz_decompress(&mut packed.as_slice(), &mut unpacked)
        .map_err(|error| anyhow::anyhow!("decompressing the artefact: {error:?}"))?;
    let mut archive = tar::Archive::new(unpacked.as_slice());
    archive.set_preserve_permissions(true);
    archive.unpack(folder).context("unpacking the artefact")?;
    fs::remove_dir_all(&jars)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_after_the_pinned_versions() {
        assert_eq!(Artefact::Kafka(KAFKA).folder().unwrap(), "kafka-4.3.1-log4j-2.25.4");
        assert!(Artefact::Kafka("3.9").folder().unwrap().starts_with("kafka-3.9."));
        assert!(Artefact::Postgres("18").folder().unwrap().starts_with("postgresql-18."));
        assert!(Artefact::Postgres("15").folder().unwrap().starts_with("postgresql-15."));
    }
}
