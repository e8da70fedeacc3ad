//! A standby that follows a server by streaming replication, and its promotion.

use super::{Body, NOT_OURS, PgOptions, Postgres, START_DEADLINE};
use crate::keeper::keeper;
use crate::sql;
use anyhow::{Context, Result, bail};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

impl Postgres {
    /// A hot standby of this server on a port of its own. Its data is copied while this server is stopped,
    /// which is started again.
    pub fn standby(&self) -> Result<Postgres> {
        let Body::Local(local) = &self.body else { bail!(NOT_OURS) };
        let folder = keeper().folder("standby")?;
        if let Some((id, group)) = local.user {
            std::os::unix::fs::chown(&folder, Some(id), Some(group)).context("chown of the data folder")?;
        }
        self.stop()?;
        let mut copy = Command::new("cp");
        let copied = copy.arg("-a").arg(local.data()).arg(&folder).stdin(Stdio::null()).output();
        let copied = copied.context("running cp")?;
        if !copied.status.success() {
            bail!("copying the data failed: {}", String::from_utf8_lossy(&copied.stderr).trim());
        }
        let (host, port) = self.address.split_once(':').context("an address is host:port")?;
        let data = folder.join("data");
        fs::write(data.join("standby.signal"), "")?;
        let mut settings = OpenOptions::new().append(true).open(data.join("postgresql.auto.conf"))?;
        writeln!(settings, "primary_conninfo = 'host={host} port={port} user=postgres'")?;
        drop(settings);
        self.start_again()?;
        let standby = Postgres::serve(&local.bin, folder, local.user, &PgOptions::default())?;
        standby.await_answers()?;
        Ok(standby)
    }

    /// Makes a standby the primary of its own timeline.
    pub fn promote(&self) -> Result<()> {
        let promoted = sql::value(&self.superuser_url(), "SELECT pg_promote()")?;
        if promoted != "true" && promoted != "t" {
            bail!("the standby isn't promoted: pg_promote() answers {promoted}");
        }
        Ok(())
    }

    /// Has a standby receive nothing from here on; it stays as it is.
    pub fn cut_off(&self) -> Result<()> {
        for sql in ["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"] {
            sql::query(&self.superuser_url(), sql)?;
        }
        let receiving = "SELECT count(*) FROM pg_stat_wal_receiver";
        let until = Instant::now() + START_DEADLINE;
        while sql::number(&self.superuser_url(), receiving)? != 0 {
            if Instant::now() > until {
                bail!("the standby goes on receiving");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until a standby has replayed all that this server has written so far.
    pub fn await_replayed(&self, standby: &Postgres) -> Result<()> {
        let written = sql::value(&self.superuser_url(), "SELECT pg_current_wal_flush_lsn()::text")?;
        let replayed = format!("SELECT (pg_last_wal_replay_lsn() >= '{written}')::int");
        let until = Instant::now() + START_DEADLINE;
        while sql::number(&standby.superuser_url(), &replayed)? != 1 {
            if Instant::now() > until {
                bail!("the standby doesn't replay {written}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}
