//! Files that are fetched or built once and kept for all labs of this user.
//!
//! A folder appears in the cache by one rename, complete; a file lock lets one process work while others
//! wait.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// `$TIDEGATE_CACHE`, else `~/.cache/tidegate`; for root `/var/cache/tidegate`, since the unprivileged user
/// that runs PostgreSQL may not enter root's home.
fn root() -> Result<PathBuf> {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = given("TIDEGATE_CACHE") {
        return Ok(folder);
    }
    if nix::unistd::geteuid().is_root() {
        return Ok(PathBuf::from("/var/cache/tidegate"));
    }
    given("XDG_CACHE_HOME")
        .or_else(|| given("HOME").map(|home| home.join(".cache")))
        .map(|folder| folder.join("tidegate"))
        .context("neither TIDEGATE_CACHE nor HOME is set: there is no folder for the lab's files")
}

/// The folder of this name; `fill` is handed an empty one that becomes it, where it isn't there yet.
pub fn fetched(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = root()?;
    let ready = cache.join(name);
    if ready.is_dir() {
        return Ok(ready);
    }
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    let lock = File::create(cache.join(format!("{name}.lock"))).context("creating a lock in the cache")?;
    lock.lock().context("locking the cache")?;
    if ready.is_dir() {
        return Ok(ready);
    }
    eprintln!("lab: fetching {name} into {} (once)", cache.display());
    let partial = tempfile::Builder::new().prefix(&format!("{name}.partial-")).tempdir_in(&cache)?;
    fill(partial.path())?;
    open_to_all(partial.path())?;
    fs::rename(partial.path(), &ready).with_context(|| format!("moving {name} to its place"))?;
    // The folder has its final name; there is nothing left to remove under the temporary one.
    let _ = partial.keep();
    Ok(ready)
}

/// Temporary folders are private; what the cache holds is not secret and read by other users.
fn open_to_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?)
}
