//! What is kept of a run that failed: logs, the ledger, and what to type to have it again.

use super::stage::Stage;
use crate::sql;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What the ledger has, table by table; entries of the quarantine without their bytes.
const DUMPS: [(&str, &str); 6] = [
    ("progress", "SELECT p::text FROM tidegate.progress p ORDER BY topic, partition"),
    ("spans", "SELECT s::text FROM tidegate.spans s ORDER BY decision_id"),
    ("decisions", "SELECT d::text FROM tidegate.decisions d ORDER BY id"),
    ("pauses", "SELECT p::text FROM tidegate.pauses p"),
    ("processes", "SELECT p::text FROM tidegate.processes p"),
    (
        "quarantine",
        "SELECT concat_ws(' ', topic, partition, record_offset, code, sqlstate, column_name, attempts, \
         first_at, resolved_at, resolution) FROM tidegate.quarantine ORDER BY topic, partition, record_offset",
    ),
];

/// Writes everything into a new folder below `into` and gives its path.
pub(super) fn keep(stage: &Stage, into: &Path, name: &str, story: &str) -> Result<PathBuf> {
    let folder = into.join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::write(folder.join("story"), story)?;
    for worker in &stage.workers {
        for (number, log) in worker.logs.iter().enumerate() {
            let to = folder.join(format!("{}-{}.log", worker.name.replace(' ', "-"), number + 1));
            fs::copy(log, to).with_context(|| format!("copying {}", log.display()))?;
        }
    }
    for (server, log) in [("postgresql", stage.postgres.log()), ("kafka", stage.kafka.log())] {
        let Some(log) = log else { continue };
        fs::copy(&log, folder.join(format!("{server}.log")))
            .with_context(|| format!("copying {}", log.display()))?;
    }
    for (table, query) in DUMPS {
        let text = match sql::query(&stage.superuser_url, query) {
            Ok(rows) => rows.into_iter().flatten().flatten().map(|row| row + "\n").collect(),
            Err(error) => format!("{error:#}\n"),
        };
        fs::write(folder.join(format!("ledger-{table}")), text)?;
    }
    Ok(folder)
}
