//! A disk of a few megabytes under a tablespace, which can be full and have room again.

use super::{Body, NOT_OURS, Postgres};
use crate::keeper::keeper;
use crate::sql;
use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;
use std::path::{Path, PathBuf};

/// A file system in memory that a tablespace of a server lies on. Dropped, it is taken away.
///
/// PostgreSQL's own data, its log of changes above all, lies elsewhere: a server whose log finds no room
/// ends, and what is to be seen here is one that goes on and refuses.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    size: u64,
    tablespace: String,
}

impl Postgres {
    /// A disk of so many MiB with a tablespace on it. Fails where this process may not mount.
    pub fn small_disk(&self, mib: u64) -> Result<SmallDisk> {
        let Body::Local(local) = &self.body else { bail!(NOT_OURS) };
        let folder = keeper().folder("disk")?;
        let owner = local.user.map_or(String::new(), |(user, group)| format!(",uid={user},gid={group}"));
        let size = mib * 1024 * 1024;
        let options = format!("size={size},mode=0700{owner}");
        let kind = Some("tmpfs");
        mount(Some("tmpfs"), &folder, kind, MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("mounting a tmpfs at {}", folder.display()))?;
        keeper().guard_mount(&folder)?;
        let tablespace = "small_disk".to_owned();
        let disk = SmallDisk { folder, size, tablespace };
        let create = format!("CREATE TABLESPACE {} LOCATION '{}'", disk.tablespace, disk.folder.display());
        sql::query(&self.superuser_url(), &create)?;
        Ok(disk)
    }

    /// Creates a database that belongs to the role `app` and lies on a small disk, its catalogue too.
    pub fn create_database_on(&self, name: &str, disk: &SmallDisk) -> Result<()> {
        let sql = format!("CREATE DATABASE \"{name}\" OWNER app TABLESPACE {}", disk.tablespace);
        sql::query(&self.superuser_url(), &sql).map(drop)
    }
}

impl SmallDisk {
    /// Takes all room that is left.
    pub fn fill(&self) -> Result<()> {
        // What is written between the look and the change makes it fail; then it is looked at again.
        let mut last = Ok(());
        for _ in 0..50 {
            let used = self.used()?;
            last = self.resize(used);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// Gives the room back.
    pub fn free(&self) -> Result<()> {
        self.resize(self.size)
    }

    /// Bytes in use.
    pub fn used(&self) -> Result<u64> {
        let told = statvfs(&self.folder).with_context(|| format!("asking for {}", self.folder.display()))?;
        Ok((told.blocks() - told.blocks_free()) * told.fragment_size())
    }

    fn resize(&self, size: u64) -> Result<()> {
        let options = format!("size={size}");
        mount(None::<&Path>, &self.folder, None::<&str>, MsFlags::MS_REMOUNT, Some(options.as_str()))
            .with_context(|| format!("changing the size of {} to {size}", self.folder.display()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What a process of the server still holds open goes with it; the keeper tries again at the end.
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::PgOptions;

    #[test]
    fn a_full_disk_refuses_rows_and_takes_them_when_there_is_room() {
        let postgres = Postgres::start(&PgOptions::default()).unwrap();
        let Ok(disk) = postgres.small_disk(64) else {
            return eprintln!("left out: this process may not mount");
        };
        postgres.create_database_on("small", &disk).unwrap();
        let url = postgres.database_url("small");
        sql::query(&url, "CREATE TABLE t (a text)").unwrap();
        disk.fill().unwrap();
        let insert = "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 1000)";
        let refused = format!("{:?}", sql::query(&url, insert).unwrap_err());
        assert!(refused.contains("No space left on device"), "{refused}");
        disk.free().unwrap();
        sql::query(&url, insert).unwrap();
        assert_eq!(sql::number(&url, "SELECT count(*) FROM t").unwrap(), 1000);
    }
}
