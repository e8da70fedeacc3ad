//! Kafka Connect with Debezium's JDBC sink, as Maven artefacts.

use super::kafka_programs::java;
use super::maven::{self, Artefact};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// What runs Kafka Connect.
#[derive(Debug, Clone)]
pub struct Connect {
    java: PathBuf,
    jars: PathBuf,
    log4j: PathBuf,
}

impl Connect {
    /// Fetched with Maven at the first call on this machine.
    pub fn find() -> Result<Connect> {
        let java = java()?;
        let jars = maven::fetch(Artefact::Connect)?.join("jars");
        Ok(Connect { java, jars, log4j: maven::log4j_configuration()? })
    }

    /// The program.
    pub fn java(&self) -> &Path {
        &self.java
    }

    /// Its arguments before the class, with this much heap (`2g`).
    pub fn arguments(&self, heap: &str) -> Vec<String> {
        vec![
            format!("-Xmx{heap}"),
            "-Djava.awt.headless=true".to_owned(),
            format!("-Dlog4j2.configurationFile={}", self.log4j.display()),
            "-cp".to_owned(),
            format!("{}/*", self.jars.display()),
        ]
    }
}
