//! What a run stands on: the servers, the database, and topics that cases share where their data is the same.

use super::super::story::Story;
use super::Options;
use super::figures::{BROKER_CPU, DATABASE_CPU, Kind};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use lab::binary::{Stream, copy_stream};
use lab::event::{Event, Keys};
use lab::generator::{Earlier, Generator, Options as GeneratorOptions, Plan};
use lab::oracle::{Oracle, Rules, What};
use lab::process::Tidegate;
use lab::servers::{Kafka, KafkaOptions, PgOptions, PgVersion, Postgres};
use lab::sql;
use lab::topics::Topics;
use lab::vitals;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const COMPRESSIONS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// What a ledger is held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log<'a> {
    pub(super) topic: &'a str,
    /// The end of each partition.
    pub(super) ends: &'a BTreeMap<i32, i64>,
    pub(super) records: u64,
    /// Records that don't fit.
    pub(super) unfit: u64,
}

/// Servers and what was produced so far.
pub(super) struct Ground {
    pub(super) story: Story,
    pub(super) options: Options,
    pub(super) binary: PathBuf,
    pub(super) kafka: Kafka,
    pub(super) postgres: Postgres,
    pub(super) url: String,
    pub(super) superuser_url: String,
    produced: Mutex<Vec<(Recipe, Arc<Events>)>>,
    numbers: AtomicU32,
    cold: AtomicBool,
}

/// The servers' processes, where they are ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Servers {
    postgres: Option<u32>,
    kafka: Option<u32>,
}

/// Processor time of the servers at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServersCpu {
    postgres: Option<Duration>,
    kafka: Option<Duration>,
}

impl Servers {
    /// What they have used so far.
    pub(super) fn cpu(self) -> ServersCpu {
        ServersCpu {
            postgres: self.postgres.and_then(vitals::family_cpu),
            kafka: self.kafka.and_then(vitals::family_cpu),
        }
    }
}

impl ServersCpu {
    /// What they used since, for each record.
    pub(super) fn until(self, now: ServersCpu, records: u64) -> Vec<(Kind, f64)> {
        let each = |kind, before: Option<Duration>, after: Option<Duration>| {
            let used = after?.saturating_sub(before?);
            Some((kind, used.as_secs_f64() * 1e6 / records as f64))
        };
        [each(DATABASE_CPU, self.postgres, now.postgres), each(BROKER_CPU, self.kafka, now.kafka)]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// What a topic of events is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recipe {
    pub(super) records: u64,
    pub(super) partitions: i32,
    pub(super) redelivered: f64,
    pub(super) poison: f64,
    pub(super) keys: Keys,
    pub(super) seed: u64,
}

/// A topic of events, and what must become of it.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) topic: String,
    pub(super) recipe: Recipe,
    oracle: Oracle,
    /// Distinct events.
    pub(super) rows: u64,
    /// Records that don't fit.
    pub(super) unfit: u64,
    /// The sum of `user_id` over the distinct events.
    pub(super) user_sum: i128,
    /// The same over all events, repeated ones too.
    pub(super) user_sum_of_all: i128,
    /// The end of each partition.
    pub(super) ends: BTreeMap<i32, i64>,
}

impl Recipe {
    /// The events that most cases work on.
    pub(super) fn usual(options: &Options) -> Recipe {
        Recipe {
            records: options.records,
            partitions: options.partitions,
            redelivered: options.redelivered,
            poison: 0.0,
            keys: Keys::Random,
            seed: 1,
        }
    }
}

pub(super) fn version(name: &str) -> PgVersion {
    PgVersion::named(name).unwrap_or_default()
}

/// Durable, and without what would strike one participant by chance, checkpoints in the middle of a turn.
/// Commit timestamps tell when a row was committed.
pub(super) fn postgres_options(options: &Options) -> PgOptions {
    let mut settings: Vec<(String, String)> = [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("max_wal_size", "16GB"),
        ("checkpoint_timeout", "30min"),
        ("track_commit_timestamp", "on"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    settings.extend(options.postgres_set.iter().filter_map(|setting| {
        let (name, value) = setting.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    }));
    PgOptions { version: version(&options.postgres), fsync: true, settings }
}

impl Ground {
    pub(super) fn prepare(options: &Options) -> Result<Ground> {
        let story = Story::begin();
        let binary = Tidegate::find()?;
        let kafka =
            Kafka::shared(&KafkaOptions { heap_mib: 1024, optimise: true, ..KafkaOptions::default() })?;
        let postgres = Postgres::shared(&postgres_options(options))?;
        let database = format!("tidegate_bench_{}", std::process::id());
        postgres.create_database(&database)?;
        Ok(Ground {
            story,
            options: options.clone(),
            binary,
            url: postgres.database_url(&database),
            superuser_url: postgres.superuser_database_url(&database),
            kafka,
            postgres,
            produced: Mutex::new(Vec::new()),
            numbers: AtomicU32::new(0),
            cold: AtomicBool::new(true),
        })
    }

    /// The servers' processes.
    pub(super) fn servers(&self) -> Servers {
        Servers { postgres: self.postgres.process(), kafka: self.kafka.process() }
    }

    /// A number that no other pipeline, topic or group of this run has.
    pub(super) fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// True at the first call: nothing was measured on these servers yet.
    pub(super) fn is_cold(&self) -> bool {
        self.cold.swap(false, Ordering::Relaxed)
    }

    /// A name for a topic, a pipeline or a group that nothing has had, on a given server either.
    pub(super) fn name(&self, what: &str) -> String {
        format!("bench-{}-{what}-{}", std::process::id(), self.number())
    }

    /// A table in the state in which each turn finds it, and no backlog of work for the server.
    pub(super) fn fresh_table(&self, table: &str, columns: &str) -> Result<()> {
        sql::query(&self.url, &format!("DROP TABLE IF EXISTS {table}; CREATE TABLE {table} {columns}"))?;
        self.checkpoint()
    }

    /// Nothing that an earlier turn left behind is written during the next one.
    pub(super) fn checkpoint(&self) -> Result<()> {
        sql::query(&self.superuser_url, "CHECKPOINT").map(drop)
    }

    /// The topic of this recipe, produced at the first call.
    pub(super) fn events(&self, recipe: Recipe) -> Result<Arc<Events>> {
        let mut produced = self.produced.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, events)) = produced.iter().find(|(made, _)| *made == recipe) {
            return Ok(Arc::clone(events));
        }
        let events = Arc::new(self.produce(recipe)?);
        produced.push((recipe, Arc::clone(&events)));
        Ok(events)
    }

    /// Deletes a topic that no other case works on.
    pub(super) fn forget(&self, events: &Events) -> Result<()> {
        let mut produced = self.produced.lock().unwrap_or_else(PoisonError::into_inner);
        produced.retain(|(_, other)| other.topic != events.topic);
        Topics::of(self.kafka.bootstrap()).delete(&events.topic)
    }

    pub(super) fn generator_options(&self) -> GeneratorOptions {
        let asked = self.options.compression.as_str();
        let compression = COMPRESSIONS.into_iter().find(|name| *name == asked).unwrap_or("none");
        GeneratorOptions { compression, earlier: Earlier::Any, ..GeneratorOptions::default() }
    }

    fn produce(&self, recipe: Recipe) -> Result<Events> {
        let topic = self.name("events");
        Topics::of(self.kafka.bootstrap()).create(&topic, recipe.partitions, &[])?;
        let options = GeneratorOptions { keys: recipe.keys, seed: recipe.seed, ..self.generator_options() };
        let mut generator = Generator::new(self.kafka.bootstrap(), &topic, &options)?;
        let begin = Instant::now();
        let Recipe { records, partitions, redelivered, poison, .. } = recipe;
        generator.send(&Plan { redelivered, poison, ..Plan::events(records) })?;
        self.story.tell(&format!(
            "produced {records} records into {partitions} partitions in {:.1?} ({:.0} % redelivered, {:.0} % that \
             don't fit, {:?} keys)",
            begin.elapsed(),
            redelivered * 100.0,
            poison * 100.0,
            recipe.keys
        ));
        Events::of(topic, recipe, generator.oracle().clone())
    }
}

impl Events {
    fn of(topic: String, recipe: Recipe, oracle: Oracle) -> Result<Events> {
        let mut ends = BTreeMap::new();
        for sent in &oracle.sent {
            let end = ends.entry(sent.partition).or_insert(0);
            *end = (*end).max(sent.offset + 1);
        }
        let held: i64 = ends.values().sum();
        if held.cast_unsigned() != oracle.committed() {
            bail!("the topic {topic} holds {held} records instead of {}", oracle.committed());
        }
        let mut events = Events {
            topic,
            recipe,
            rows: 0,
            unfit: oracle.quarantined(Rules::UPSERT).len() as u64,
            user_sum: 0,
            user_sum_of_all: 0,
            ends,
            oracle,
        };
        let (rows, user_sum) = events
            .arrivals(true)
            .fold((0, 0), |(rows, sum), event| (rows + 1, sum + i128::from(event.user_id)));
        (events.rows, events.user_sum) = (rows, user_sum);
        events.user_sum_of_all = events.arrivals(false).map(|event| i128::from(event.user_id)).sum();
        Ok(events)
    }

    /// Records of the topic.
    pub(super) fn records(&self) -> u64 {
        self.recipe.records
    }

    /// What a ledger must tell of it.
    pub(super) fn log(&self) -> Log<'_> {
        Log { topic: &self.topic, ends: &self.ends, records: self.recipe.records, unfit: self.unfit }
    }

    /// One line for people.
    pub(super) fn told(&self) -> String {
        let Recipe { records, partitions, redelivered, keys, .. } = self.recipe;
        let keys = match keys {
            Keys::Random => "v4",
            Keys::Ordered => "v7",
        };
        format!(
            "{} JSON events of 250 bytes, {partitions} partitions, {:.0} % redelivered at random ({} distinct rows), \
             uuid {keys} key, 7 columns.",
            super::table::number(records as f64, 0),
            redelivered * 100.0,
            super::table::number(self.rows as f64, 0)
        )
    }

    /// Every event as it was sent: its partition, and itself.
    pub(super) fn sent(&self) -> impl Iterator<Item = (i32, Event)> + '_ {
        self.oracle.sent.iter().filter_map(|sent| match sent.what {
            What::Event { number, revision } => Some((sent.partition, self.oracle.event(number, revision))),
            What::Tombstone { .. } | What::Poison(_) => None,
        })
    }

    /// The events in the order of their arrival; each once, or as often as it was sent.
    fn arrivals(&self, distinct: bool) -> impl Iterator<Item = Event> + '_ {
        let mut seen = BTreeSet::new();
        self.oracle.sent.iter().filter_map(move |sent| match sent.what {
            What::Event { number, revision } if !distinct || seen.insert(number) => {
                Some(self.oracle.event(number, revision))
            }
            What::Event { .. } | What::Tombstone { .. } | What::Poison(_) => None,
        })
    }

    /// One COPY for each connection: its share of the events in the order of their arrival.
    pub(super) fn streams(&self, connections: usize, distinct: bool) -> Vec<Vec<Vec<Bytes>>> {
        let share = |mine: usize| {
            let all = self.arrivals(distinct).enumerate();
            copy_stream(all.filter(|(index, _)| index % connections == mine).map(|(_, event)| event))
        };
        (0..connections).map(|mine| vec![share(mine)]).collect()
    }

    /// Many COPYs for each connection, one for each sorted batch.
    pub(super) fn sorted_batches(&self, connections: usize, rows: usize) -> Vec<Vec<Vec<Bytes>>> {
        self.sorted(connections, rows, |batch| {
            let mut stream = Stream::default();
            batch.iter().for_each(|event| stream.event(event));
            stream.finish()
        })
    }

    /// Many batches for each connection: its share of the distinct events, cut in the order of their arrival,
    /// each batch sorted by key and rendered.
    pub(super) fn sorted<T>(
        &self,
        connections: usize,
        rows: usize,
        render: impl Fn(&[Event]) -> T,
    ) -> Vec<Vec<T>> {
        let share = |mine: usize| {
            let all = self.arrivals(true).enumerate();
            let mut events: Vec<Event> =
                all.filter(|(index, _)| index % connections == mine).map(|(_, event)| event).collect();
            let batches = events.chunks_mut(rows).map(|batch| {
                batch.sort_by_key(|event| event.event_id);
                render(batch)
            });
            batches.collect()
        };
        (0..connections).map(share).collect()
    }
}

/// The single row that the query returns, each value as text.
pub(super) fn row(url: &str, query: &str) -> Result<Vec<String>> {
    let rows = sql::query(url, query)?;
    let row = rows.into_iter().next().with_context(|| format!("no row is returned by {query}"))?;
    Ok(row.into_iter().map(Option::unwrap_or_default).collect())
}
