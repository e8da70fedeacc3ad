//! The log of a partition as it is on the disk, kept and put back: what a broker that was restored, or a
//! leader that knew less, does to its readers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A copy of a partition's folder.
#[derive(Debug)]
pub struct KeptLog {
    place: PathBuf,
    copy: PathBuf,
}

impl KeptLog {
    /// Copies the folder of a partition; its broker is stopped.
    pub(super) fn of(data: &Path, partition: &str) -> Result<Self> {
        let kept =
            Self { place: data.join(partition), copy: data.with_extension(format!("kept-{partition}")) };
        copy(&kept.place, &kept.copy)?;
        Ok(kept)
    }

    /// Puts it back in the place of what has been written since; its broker is stopped.
    pub fn put_back(&self) -> Result<()> {
        fs::remove_dir_all(&self.place).with_context(|| format!("removing {}", self.place.display()))?;
        copy(&self.copy, &self.place)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("copying {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(doing)?;
    for entry in fs::read_dir(from).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        fs::copy(entry.path(), to.join(entry.file_name())).with_context(doing)?;
    }
    Ok(())
}
