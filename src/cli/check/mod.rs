//! `tidegate check`: is everything as the configuration says, before anything is written?
//!
//! Configuration, topics, tables, privileges and the ledger are looked at, and the newest records are decoded
//! as the service would decode them. Each finding says what to do; findings of severity `error` end with exit
//! code 3.

mod findings;
mod ledger;
mod offline;
mod report;
mod rights;
mod sample;
mod waits;

use std::sync::Arc;

use crate::config::{RouteSettings, Settings, TableName, TopicSelector};
use crate::engine::record::RecordBlock;
use crate::engine::route::{OnTombstone, Route};
use crate::kafka::{Inspector, TopicInfo};
use crate::nearest::nearest;
use crate::postgres::catalogue::{self, CatalogueError, TableUse};
use crate::routing::{self, Choice, Misfit};

use super::context::{ConfigArgs, block_on};
use super::exit::{Exit, Failure};
use super::output::{self, OutputArgs};
use super::samples;
use super::servers::{Database, Logs, looking_up};

use report::{CheckReport, Finding, RouteReport, Severity, many};

const EXAMPLES: &str = "\
Examples:
  tidegate check -c orders.yaml              exit code 0: all is well; 3: it isn't, and what to do
  tidegate check -c orders.yaml --sample 100 try the 100 newest records of each partition
  tidegate check -c orders.yaml --offline    the configuration alone, where no server can be reached
  tidegate check -c orders.yaml -o json | jq '.findings[] | select(.severity == \"error\")'

";

/// Check configuration, topics, tables and a sample of records
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// Newest records of each partition to try, without writing; 0 for none
    #[arg(long, value_name = "NUMBER", default_value = "10")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100_000))]
    sample: u32,
    /// Look at the configuration alone and connect to nothing
    #[arg(long, conflicts_with = "sample")]
    offline: bool,
    #[command(flatten)]
    output: OutputArgs,
}

const LINT_EXAMPLES: &str = "\
Examples:
  tidegate lint -c orders.yaml               the same as tidegate check --offline
  tidegate validate -c orders.yaml -o json   the same under another name, for machines

";

/// Check the configuration alone: check --offline
#[derive(Debug, clap::Args)]
#[command(before_help = LINT_EXAMPLES)]
pub(super) struct LintArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// `tidegate lint`, `tidegate validate`.
pub(super) fn lint(args: &LintArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    offline::run(config, args.output)
}

pub(super) fn run(args: &CheckArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    if args.offline {
        return offline::run(config, args.output);
    }
    let settings = config.load_to_report()?;
    let report = block_on(async {
        let database = match Database::connect(&settings, config).await {
            Ok(database) => database,
            // It answers and can't be used: a pooler in transaction mode, a standby, an old version.
            Err(failure) if failure.exit() == Exit::Failed => return Ok(unusable(&settings, &failure)),
            Err(failure) => return Err(failure),
        };
        let mut check = Check::new(&settings, database)?;
        check.all(args.sample as usize).await?;
        Ok(check.finish())
    })?;
    output::print(args.output.form, &report)?;
    Ok(if report.ok { Exit::Done } else { Exit::Found })
}

/// The report when there is a database that Tidegate can't use.
fn unusable(settings: &Settings, failure: &Failure) -> CheckReport {
    let finding = Finding::new(Severity::Error, "database", "postgres.url", failure.to_string());
    CheckReport::new(settings.pipeline.as_str(), Vec::new(), vec![finding])
}

/// A check under way.
struct Check<'s> {
    settings: &'s Settings,
    database: Database,
    inspector: Inspector,
    topics: Vec<TopicInfo>,
    /// How many topics the routes mean.
    meant: usize,
    routes: Vec<RouteReport>,
    findings: Vec<Finding>,
}

impl<'s> Check<'s> {
    fn new(settings: &'s Settings, database: Database) -> Result<Self, Failure> {
        let inspector = Logs::of(settings).inspector()?;
        let topics = inspector.topics().map_err(looking_up)?;
        let (routes, findings) = (Vec::new(), Vec::new());
        Ok(Self { settings, database, inspector, topics, meant: 0, routes, findings })
    }

    async fn all(&mut self, sample: usize) -> Result<(), Failure> {
        let meant = self.meant();
        self.meant = meant.len();
        self.stage().await?;
        self.connections().await?;
        self.dead_letter();
        let (found, closed) = rights::look(self.settings, &self.inspector, &meant)?;
        self.findings.extend(found);
        for (topic, route) in &meant {
            let sample = if closed.contains(&topic.name) { 0 } else { sample };
            self.topic(topic, route, sample).await?;
        }
        self.findings.extend(waits::look(self.settings, &self.database, &self.topics).await);
        let found = ledger::look(self.settings, &self.database, &self.inspector, &meant).await?;
        self.findings.extend(found);
        Ok(())
    }

    /// Whether the topic is there that quarantined records are relayed to.
    fn dead_letter(&mut self) {
        let Some(topic) = &self.settings.dead_letter.topic else { return };
        if self.topics.iter().any(|known| known.name == *topic) {
            return;
        }
        let text = "the dead-letter topic doesn't exist, or this user may not describe it: quarantined records \
                    wait to be relayed";
        let finding = Finding::new(Severity::Warning, "topic_missing", topic, text);
        self.findings.push(finding.remedy("create the topic, or correct `dead_letter.topic`"));
    }

    /// Each topic that one route means; topics that none or several mean are findings.
    fn meant(&mut self) -> Vec<(TopicInfo, &'s RouteSettings)> {
        let settings = self.settings;
        let mut meant = Vec::new();
        for (index, route) in settings.routes.iter().enumerate() {
            let topics = routing::topics(route, &self.topics, |info| &info.name);
            for missing in &topics.missing {
                let nearest = nearest(missing, self.topics.iter().map(|info| &*info.name));
                let hint = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
                let text = format!("the topic doesn't exist, or this user may not describe it{hint}");
                let finding = Finding::new(Severity::Error, "topic_missing", *missing, text);
                self.findings
                    .push(finding.remedy("create the topic, or correct `topic` in the configuration"));
            }
            if topics.found.is_empty()
                && let TopicSelector::Pattern(pattern) = &route.topic
            {
                let text = "the pattern means no topic yet; `run` looks for new ones";
                let subject = format!("routes[{index}] {pattern}");
                self.findings.push(Finding::new(Severity::Warning, "topic_missing", subject, text));
            }
            for topic in topics.found {
                match routing::choose(&settings.routes, &topic.name) {
                    // The first of several is looked at like any other, so that one check tells it all.
                    Choice::Ambiguous(first, _) if !std::ptr::eq(first, route) => {
                        let text =
                            format!("two routes mean it, into {} and into {}", first.table, route.table);
                        let finding = Finding::new(Severity::Error, "topic_ambiguous", &topic.name, text);
                        self.findings.push(finding.remedy("narrow one of the two"));
                    }
                    Choice::One(_) | Choice::Ambiguous(..) => meant.push((topic.clone(), route)),
                    Choice::None => {}
                }
            }
        }
        meant
    }

    async fn topic(
        &mut self,
        topic: &TopicInfo,
        route: &RouteSettings,
        sample: usize,
    ) -> Result<(), Failure> {
        let Some(resolved) = self.resolve(topic, route).await? else { return Ok(()) };
        let blocks = match sample {
            0 => Vec::new(),
            count => samples::newest(&self.inspector, topic, count).map_err(looking_up)?,
        };
        let report = tried(topic, &resolved, &blocks, route.write.name());
        self.privileges(&resolved, &report).await?;
        self.sequences(&resolved, &report).await?;
        self.partitions(&resolved).await?;
        match report.samples.read {
            0 if sample == 0 => {}
            0 => {
                let offsets = samples::offsets(&self.inspector, topic).map_err(looking_up)?;
                self.findings.push(findings::nothing_sampled(&topic.name, offsets));
            }
            _ => self.findings.extend(findings::of_samples(&report, &resolved, &blocks)),
        }
        self.routes.push(report);
        Ok(())
    }

    /// The route against the table; what doesn't agree is a finding.
    async fn resolve(
        &mut self,
        topic: &TopicInfo,
        route: &RouteSettings,
    ) -> Result<Option<Arc<Route>>, Failure> {
        let mut found = |code, problem: String| {
            self.findings.push(Finding::new(Severity::Error, code, &topic.name, problem));
        };
        let session = &self.database.session;
        let load = async |name: &TableName| {
            catalogue::load_table(session, &name.schema, &name.name, &route.key).await
        };
        match routing::resolve(self.settings, route, &topic.name, load).await {
            Ok(resolved) => return Ok(Some(Arc::new(resolved))),
            Err(Misfit::Name(error)) => found("table", error.to_string()),
            Err(Misfit::Columns(problems)) => {
                problems.into_iter().for_each(|problem| found("route", problem));
            }
            Err(Misfit::Table(error @ CatalogueError::Database { .. })) => {
                return Err(Failure::failed(error));
            }
            Err(Misfit::Table(error)) => {
                let code = match &error {
                    CatalogueError::BadKey { .. } | CatalogueError::NoColumn { .. } => "key",
                    _ => "table",
                };
                found(code, error.to_string());
                if matches!(error, CatalogueError::NoTable { .. })
                    && let Some(finding) = self.findings.last_mut()
                {
                    let make_up = self.database.command("init --create-tables --dry-run");
                    finding.remedy = Some(format!("create it, or look at what `{make_up}` makes up"));
                }
            }
        }
        Ok(None)
    }

    /// Whether large batches can be staged.
    async fn stage(&mut self) -> Result<(), Failure> {
        let session = &self.database.session;
        let Some(why) = catalogue::stage_refusal(session).await.map_err(Failure::failed)? else {
            return Ok(());
        };
        let (database, role) = (session.database(), session.role());
        let text = format!(
            "no temporary table can be made to stage large batches: {why}; rows are then written one by one, \
             which is slower"
        );
        let remedy = format!(
            "GRANT TEMPORARY ON DATABASE {} TO {}; or let event triggers pass CREATE TEMPORARY TABLE",
            database, role
        );
        self.findings.push(Finding::new(Severity::Warning, "stage", database, text).remedy(remedy));
        Ok(())
    }

    /// Whether a process gets the connections that it wants. Others may use some as well, so that a limit
    /// which is just enough says little, and one below is a finding.
    async fn connections(&mut self) -> Result<(), Failure> {
        let limits = catalogue::connection_limits(&self.database.session).await.map_err(Failure::failed)?;
        let workers = i32::from(self.settings.workers.get());
        let wanted = workers + 2;
        for limit in limits.into_iter().filter(|limit| limit.connections < wanted) {
            let text = format!(
                "{} allows {}, and a process with {} wants {wanted}: they take turns, which is slower",
                limit.holder,
                many(limit.connections.unsigned_abs() as usize, "connection"),
                many(workers.unsigned_abs() as usize, "worker"),
            );
            let finding = Finding::new(Severity::Warning, "connections", limit.holder, text);
            let remedy = format!("raise it ({} {wanted} for each process), or lower `workers`", limit.raise);
            self.findings.push(finding.remedy(remedy));
        }
        Ok(())
    }

    async fn privileges(&mut self, route: &Route, report: &RouteReport) -> Result<(), Failure> {
        let filled: Vec<usize> = (0..report.columns.len())
            .filter(|place| findings::is_filled(&report.columns[*place], report.samples.read))
            .collect();
        let wanted = TableUse {
            table: &route.table,
            filled: &filled,
            key: &route.key,
            mode: route.mode,
            deletes: route.on_tombstone == OnTombstone::Delete,
        };
        let missing = catalogue::missing_privileges(&self.database.session, &wanted).await;
        for lacking in missing.map_err(Failure::failed)? {
            let role = self.database.session.role();
            let member = lacking.holder.map(|holder| {
                format!("; it is a member of {holder}, which has it, and doesn't inherit its rights")
            });
            let text =
                format!("role {role} lacks {} to write it{}", lacking.privilege, member.unwrap_or_default());
            let finding = Finding::new(Severity::Error, "privilege", route.table.to_string(), text);
            self.findings.push(finding.remedy(lacking.grant + ";"));
        }
        Ok(())
    }

    async fn sequences(&mut self, route: &Route, report: &RouteReport) -> Result<(), Failure> {
        let closed = catalogue::closed_sequences(&self.database.session, &route.table).await;
        for closed in closed.map_err(Failure::failed)? {
            let column = report.columns.iter().find(|column| column.column == closed.column);
            let role = self.database.session.role();
            self.findings.extend(findings::closed_sequence(report, column, role, closed));
        }
        Ok(())
    }

    async fn partitions(&mut self, route: &Route) -> Result<(), Failure> {
        let bounded = catalogue::bounded_partitions(&self.database.session, &route.table).await;
        self.findings.extend(bounded.map_err(Failure::failed)?.iter().map(findings::bounded));
        Ok(())
    }

    fn finish(self) -> CheckReport {
        let report = CheckReport::new(self.settings.pipeline.as_str(), self.routes, self.findings);
        CheckReport { topics: self.meant, ..report }
    }
}

fn tried(topic: &TopicInfo, route: &Arc<Route>, blocks: &[RecordBlock], write: &'static str) -> RouteReport {
    let tried = sample::try_out(route, blocks);
    RouteReport {
        topic: topic.name.clone(),
        partitions: topic.partitions.len(),
        table: route.table.to_string(),
        write,
        key: route.key.iter().map(|place| route.table.columns[*place].name.clone()).collect(),
        columns: tried.columns,
        unmatched_fields: tried.unmatched_fields,
        samples: tried.counts,
        failures: tried.failures,
    }
}
