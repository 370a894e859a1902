//! The folder: temporary names, final names, and the way from one to the other.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::entry::Entry;

/// The folder of an output and its corner for temporary files.
#[derive(Debug, Clone)]
pub struct Place {
    dir: PathBuf,
    /// Name of the corner below the folder.
    corner: String,
    /// Sets this process's temporary names apart from those of one that should be dead and is not:
    /// the bus shuts it out, the folder cannot.
    nonce: u64,
    /// Whether a file of the same name may be replaced.
    force: bool,
}

impl Place {
    /// The place of one format and node; makes the folder. Its path is the real one, so that entries of
    /// the catalog say the same however the folder was spelt.
    pub fn new(dir: &Path, node: &str, format: &str, force: bool) -> Result<Place> {
        let made = fs::create_dir_all(dir).and_then(|()| fs::canonicalize(dir));
        let dir = made.with_context(|| format!("cannot make the folder {}", dir.display()))?;
        let nonce = RandomState::new().build_hasher().finish();
        Ok(Place { dir, corner: format!(".tmp-{node}-{format}"), nonce, force })
    }

    /// Makes the folders.
    pub fn make(&self) -> Result<()> {
        let corner = self.dir.join(&self.corner);
        fs::create_dir_all(&corner)
            .with_context(|| format!("cannot make the folder {}", corner.display()))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.dir
    }

    /// The folder, as entries name it.
    pub fn dir(&self) -> String {
        self.dir.to_string_lossy().into_owned()
    }

    /// A name below the folder as a path.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The temporary name of a file.
    pub fn temp(&self, name: &str) -> String {
        let last = name.rsplit('/').next().unwrap_or(name);
        format!("{}/{last}.{:016x}", self.corner, self.nonce)
    }

    /// Begins a temporary file.
    pub fn create(&self, temp: &str) -> Result<File> {
        self.make()?;
        let path = self.path(temp);
        File::create(&path).with_context(|| format!("cannot begin the file {}", path.display()))
    }

    /// Makes the names of temporary files lasting.
    pub fn sync_temps(&self) -> Result<()> {
        let corner = self.dir.join(&self.corner);
        sync_dir(&corner).map_err(|error| self.swept(error))?;
        sync_dir(&self.dir)
    }

    /// Temporary files that are gone were taken for what an earlier run left.
    fn swept(&self, error: anyhow::Error) -> anyhow::Error {
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        if !error.downcast_ref().is_some_and(is_gone) {
            return error;
        }
        error.context(format!(
            "{} was swept while its files were written: is another sink running with this folder and node name? \
             Two must not share a node name",
            self.dir.join(&self.corner).display()
        ))
    }

    /// Takes the corner away where it is empty, so that a run leaves only its logs.
    pub fn tidy(&self) {
        // Not empty, or gone already: both are fine.
        let _ = fs::remove_dir(self.dir.join(&self.corner));
    }

    /// Renames committed files to their names, and makes that lasting.
    pub fn publish<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> Result<()> {
        let mut dirs = BTreeSet::new();
        for entry in entries {
            self.rename(entry, &mut dirs)?;
        }
        for dir in &dirs {
            sync_dir(dir)?;
        }
        Ok(())
    }

    fn rename(&self, entry: &Entry, dirs: &mut BTreeSet<PathBuf>) -> Result<()> {
        let (temp, path) = (self.path(&entry.temp), self.path(&entry.name));
        // Names carry writer and counter: nobody takes one between the look and the rename.
        ensure!(
            self.force || !path.exists(),
            "{} exists and is not ours: its rows wait, committed, in {}; move the stranger away and \
             start again",
            path.display(),
            temp.display()
        );
        for dir in path.ancestors().skip(1) {
            dirs.insert(dir.to_owned());
            if dir == self.dir {
                break;
            }
        }
        let make = path.parent().map_or(Ok(()), fs::create_dir_all);
        let renamed = make.and_then(|()| fs::rename(&temp, &path));
        renamed.map_err(|error| self.swept(error.into())).with_context(|| {
            format!(
                "cannot rename {} to {}: its rows are committed and safe there; mend the folder and \
                 start again",
                temp.display(),
                path.display()
            )
        })
    }

    /// Deletes what an earlier run left under temporary names. What was committed has been published:
    /// by its temporary name, wherever the folder was when that was written.
    pub fn sweep(&self) -> Result<()> {
        let corner = self.dir.join(&self.corner);
        let looked = || format!("cannot read {}", corner.display());
        let entries = match fs::read_dir(&corner) {
            // Taken away with its last file, and on a disk that is full it cannot be made anew.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.with_context(looked)?,
        };
        for entry in entries {
            let path = entry.with_context(looked)?.path();
            if !path.is_dir() {
                remove(&path)?;
            }
        }
        self.tidy();
        Ok(())
    }

    /// Bytes of the temporary files.
    pub fn held(&self) -> u64 {
        let Ok(entries) = fs::read_dir(self.dir.join(&self.corner)) else { return 0 };
        let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
        sizes.map(|metadata| metadata.len()).sum()
    }

    /// Bytes that this user may still write, as far as the file system tells.
    pub fn room(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.dir).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Deletes a temporary file that was not committed.
    pub fn discard(&self, temp: &str) -> Result<()> {
        remove(&self.path(temp))
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.with_context(|| format!("cannot make the names in {} lasting", dir.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn who_is_swept_says_what_to_look_for() {
        let dir = tempfile::tempdir().unwrap();
        let [one, twin] =
            [(); 2].map(|()| Place::new(dir.path(), "s1", "tsv", false).expect("a folder"));
        let temp = one.temp("conn.log");
        one.create(&temp).unwrap().write_all(b"rows").unwrap();
        one.sync_temps().unwrap();
        twin.sweep().unwrap();
        let error = format!("{:#}", one.sync_temps().unwrap_err());
        assert!(error.contains("must not share a node name"), "{error}");
        let error = one.swept(io::Error::from(io::ErrorKind::PermissionDenied).into());
        assert!(!format!("{error:#}").contains("share"), "{error:#}");
    }
}
