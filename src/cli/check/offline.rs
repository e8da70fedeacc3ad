//! `tidegate check --offline`: what can be known without any server, for editors, reviews and pipelines that
//! build things.

use std::collections::BTreeMap;
use std::fs::File;

use secrecy::ExposeSecret;

use crate::assemble;
use crate::cli::context::ConfigArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, Form, OutputArgs};
use crate::config::{ConfigError, Place, Problem, Settings};
use crate::kafka::Inspector;
use crate::postgres::connect::ServerSettings;
use crate::postgres::tls::{self, SslMode};

use super::report::{CheckReport, Finding, Severity, many};

/// The code of a finding that makes the configuration unusable.
const CONFIGURATION: &str = "configuration";

/// Properties of librdkafka that name a file or a folder.
const FILES: [&str; 10] = [
    "https.ca.location",
    "sasl.kerberos.keytab",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
];

const READABLE: &str = "name a file that is there and that this user may read";

/// Words that stand in the place of a file's name (`ssl.ca.location: probe`).
const NO_FILES: [&str; 2] = ["probe", ""];

pub(super) fn run(config: &ConfigArgs, output: OutputArgs) -> Result<Exit, Failure> {
    config.logs_to_report()?;
    let options = config.options();
    let settings = match Settings::load(&options) {
        Ok(settings) => settings,
        Err(error) => {
            // People read the error itself; a program reads where each problem is.
            if output.form != Form::Table {
                output::print(output.form, &unusable(&error))?;
            }
            return Err(error.into());
        }
    };
    let report = look(&settings, &options.env);
    output::print(output.form, &report)?;
    let unusable = report.findings.iter().any(|finding| finding.code == CONFIGURATION);
    Ok(match (report.ok, unusable) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Usage,
        (false, false) => Exit::Found,
    })
}

fn look(settings: &Settings, env: &BTreeMap<String, String>) -> CheckReport {
    let mut findings = Vec::new();
    let mut refused = |subject: &str, error: String| {
        findings.push(Finding::new(Severity::Error, CONFIGURATION, subject, error));
    };
    if let Err(error) = Inspector::check(&assemble::kafka_properties(settings, &assemble::instance(settings)))
    {
        refused("kafka", error.to_string());
    }
    if let Err(error) = assemble::ledger(settings) {
        refused("postgres.ledger", error.to_string());
    }
    let named: Vec<(&str, &str)> =
        FILES.iter().filter_map(|name| Some((*name, settings.kafka.get(name)?))).collect();
    let named: Vec<_> = named.into_iter().filter(|(_, file)| !NO_FILES.contains(file)).collect();
    // As a session would, with what completes the string.
    let get = |name: &str| env.get(name).cloned();
    match ServerSettings::resolve(settings.postgres.url.expose_secret(), &get) {
        Ok(server) if server.tls.mode != SslMode::Disable => {
            if let Err(error) = tls::connector(&server.tls) {
                let finding = Finding::new(Severity::Error, "file", "postgres.url", error.to_string());
                findings.push(finding.remedy(READABLE));
            }
        }
        Ok(_) => {}
        Err(error) => refused("postgres.url", error.to_string()),
    }
    findings.extend(named.iter().filter_map(|(name, file)| unreadable(name, file)));
    let routes = many(settings.routes.len(), "route");
    let files = many(named.len(), "file");
    CheckReport {
        offline: true,
        looked_at: vec![
            format!(
                "the file, the environment and --set: keys, values, references, contradictions, {routes}"
            ),
            format!("Kafka's properties as librdkafka takes them, {files} that they name"),
            "postgres.url with what completes it, and the files of TLS".to_owned(),
        ],
        not_looked_at: vec![
            "whether Kafka and PostgreSQL answer, logins and rights".to_owned(),
            "topics and records, tables and columns, the ledger".to_owned(),
        ],
        ..CheckReport::new(settings.pipeline.as_str(), Vec::new(), findings)
    }
}

fn unreadable(name: &str, file: &str) -> Option<Finding> {
    let error = File::open(file).err()?;
    let text = format!("can't read {file}: {error}");
    let finding = Finding::new(Severity::Error, "file", format!("kafka.{name}"), text);
    Some(finding.remedy(READABLE))
}

/// The document for a configuration that can't be loaded: a finding for each problem.
fn unusable(error: &ConfigError) -> CheckReport {
    let findings = match error {
        ConfigError::Invalid { file, problems } => {
            problems.iter().map(|problem| finding(&file.display().to_string(), problem)).collect()
        }
        error => vec![Finding::new(Severity::Error, CONFIGURATION, "the file", error.to_string())],
    };
    CheckReport { offline: true, ..CheckReport::new("", Vec::new(), findings) }
}

fn finding(file: &str, problem: &Problem) -> Finding {
    let place = match &problem.place {
        Place::File { line, column } | Place::Within { line, column } => format!("{file}:{line}:{column}"),
        Place::Environment(name) => name.clone(),
        Place::Set(key) => format!("--set {key}"),
        Place::Absent => file.to_owned(),
    };
    let key = if problem.key.is_empty() { String::new() } else { format!("{}: ", problem.key) };
    let finding = Finding::new(Severity::Error, CONFIGURATION, place, format!("{key}{}", problem.message));
    if problem.help.is_empty() { finding } else { finding.remedy(problem.help.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_is_a_finding_with_its_place() {
        let problem = |place| Problem {
            key: "workers".to_owned(),
            place,
            message: "wrong".to_owned(),
            help: String::new(),
            excerpt: None,
        };
        for (place, subject) in [
            (Place::File { line: 3, column: 7 }, "a.yaml:3:7"),
            (Place::Within { line: 3, column: 7 }, "a.yaml:3:7"),
            (Place::Environment("TIDEGATE__WORKERS".to_owned()), "TIDEGATE__WORKERS"),
            (Place::Set("workers".to_owned()), "--set workers"),
            (Place::Absent, "a.yaml"),
        ] {
            let found = finding("a.yaml", &problem(place));
            assert_eq!((&*found.subject, &*found.finding), (subject, "workers: wrong"));
        }
    }
}
