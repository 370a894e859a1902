//! What a sink is told: where its files go and when they are closed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use model::stream;

use crate::format;
use crate::time::SECOND_US;

/// The default of [`Config::size_max`].
const SIZE_MAX: u64 = 1 << 30;
/// What the default of [`Config::age_max_ms`] adds to the interval: rows of an hour are then on disk
/// a minute after it by the wall clock, even where nothing follows them.
const AGE_GRACE_MS: i64 = 60_000;
/// The default of [`Config::buffered_max`]: Parquet encodes a row group in memory; this leaves it some dozen streams at
/// full size.
const BUFFERED_MAX: usize = 256 << 20;
/// A refusal names at most so many of the files that are in the way.
const NAMED_MAX: usize = 3;

/// Which columns TSV has. Parquet and JSON have all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Columns {
    /// Zeek's and those of its policies that are on.
    #[default]
    Zeek,
    /// weir's own too.
    Weir,
}

/// What a sink is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder.
    pub dir: PathBuf,
    /// The format's name.
    pub format: String,
    /// The node, which is in the names of rotated files.
    pub node: String,
    /// Length of the intervals of `_write_ts` that rotated files hold, microseconds, whole seconds.
    /// `None`: one file a stream, closed when the run ends.
    pub rotate: Option<i64>,
    /// A rotated file is closed when it has grown to so many bytes.
    pub size_max: u64,
    /// Rotated files are closed when their first row was read so long ago by the wall clock, also
    /// where packet time stands still. `None`: the interval and a minute.
    pub age_max_ms: Option<i64>,
    /// All files of a sink hold up to so many bytes in memory, the largest give way first.
    pub buffered_max: usize,
    /// Which columns TSV has.
    pub columns: Columns,
    /// Files of unrotated names may be replaced.
    pub force: bool,
    /// Where the disk is full the sink waits for room and reads again what it gave up. Not where the bus lets go
    /// of what was read: there is no way back.
    pub waits_for_room: bool,
    /// Prefix of topics on the broker; dead letters say where they came from by the whole name.
    pub prefix: String,
}

impl Config {
    /// Without rotation.
    pub fn new(dir: impl Into<PathBuf>, format: &str, node: &str) -> Config {
        Config {
            dir: dir.into(),
            format: format.to_owned(),
            node: node.to_owned(),
            rotate: None,
            size_max: SIZE_MAX,
            age_max_ms: None,
            buffered_max: BUFFERED_MAX,
            columns: Columns::Zeek,
            force: false,
            waits_for_room: true,
            prefix: "weir".to_owned(),
        }
    }

    /// The age that closes a file, if there is one.
    pub(crate) fn age_ms(&self) -> Option<i64> {
        let rotate = self.rotate?;
        Some(self.age_max_ms.unwrap_or(rotate / 1000 + AGE_GRACE_MS))
    }

    pub(crate) fn check(&self) -> Result<()> {
        known_format(&self.format)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        ensure!(
            !self.node.is_empty() && self.node.chars().all(is_plain),
            "node name `{}` cannot be part of file names: use letters, digits, `_`, `-` and `.`",
            self.node
        );
        if let Some(rotate) = self.rotate {
            ensure!(
                rotate >= SECOND_US && rotate % SECOND_US == 0,
                "rotation interval of {rotate} us: it must be whole seconds, at least one"
            );
        }
        Ok(())
    }
}

/// The format of this name, or an error that names those there are.
pub(crate) fn known_format(name: &str) -> Result<&'static dyn format::Format> {
    let known = || format::ALL.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ");
    format::find(name).with_context(|| format!("no output format `{name}`: there are {}", known()))
}

/// Makes the folder ready for the files of some formats, before anything runs. Where rotation is off
/// and it holds such files already, it is refused, or with `force` they are removed.
pub fn check_dir(dir: &Path, formats: &[&str], rotate: Option<i64>, force: bool) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    if rotate.is_some() {
        return Ok(());
    }
    let mut found = Vec::new();
    for name in formats {
        found.extend(logs_in(dir, known_format(name)?.extension())?);
    }
    refuse(dir, found, force)
}

/// The same for the files of one format that the catalog does not know: a cluster's sink goes on beside
/// those that it wrote before.
pub(crate) fn check_strangers(
    dir: &Path,
    format: &dyn format::Format,
    known: &BTreeSet<String>,
    force: bool,
) -> Result<()> {
    let mut found = logs_in(dir, format.extension())?;
    found.retain(|path| !known.contains(&file_name(path)));
    refuse(dir, found, force)
}

/// Refuses the files that were found, or removes them.
fn refuse(dir: &Path, mut found: Vec<PathBuf>, force: bool) -> Result<()> {
    found.sort();
    if !found.is_empty() && !force {
        let names: Vec<_> = found.iter().take(NAMED_MAX).map(|path| file_name(path)).collect();
        let more = if found.len() > NAMED_MAX { ", …" } else { "" };
        bail!(
            "{} already holds {}{more}: choose another folder, or replace them with --force",
            dir.display(),
            names.join(", ")
        );
    }
    for path in found {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Files of unrotated names, such as `conn.log` and `conn-2.log`.
fn logs_in(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", dir.display()))?.path();
        if path.is_file() && is_log(&file_name(&path), extension) {
            found.push(path);
        }
    }
    Ok(found)
}

fn is_log(name: &str, extension: &str) -> bool {
    let Some((stem, found)) = name.rsplit_once('.') else { return false };
    let stream = match stem.rsplit_once('-') {
        Some((stream, number)) if number.parse::<u32>().is_ok() => stream,
        _ => stem,
    };
    found == extension && stream::ALL.iter().any(|def| def.name == stream)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_such_files_is_refused_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("new");
        check_dir(&at, &["tsv"], None, false).unwrap();
        for name in ["conn.log", "dns-2.log", "conn.parquet", "other.log", "conn-x.log"] {
            fs::write(at.join(name), "x").unwrap();
        }
        let error = check_dir(&at, &["tsv"], None, false).unwrap_err().to_string();
        assert!(error.contains("conn.log, dns-2.log: choose"), "{error}");
        assert!(error.contains("--force"), "{error}");
        check_dir(&at, &["json"], None, false).unwrap();
        check_dir(&at, &["tsv"], Some(SECOND_US), false).unwrap();
        check_dir(&at, &["tsv"], None, true).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(&at).unwrap().map(|e| file_name(&e.unwrap().path())).collect();
        left.sort();
        assert_eq!(left, ["conn-x.log", "conn.parquet", "other.log"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fails = |change: fn(&mut Config)| {
            let mut config = Config::new("out", "tsv", "n1");
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(fails(|c| c.format = "csv".into()).contains("`csv`: there are tsv, parquet, json"));
        assert!(fails(|c| c.node = "a/b".into()).contains("`a/b`"));
        assert!(fails(|c| c.rotate = Some(1_500_000)).contains("1500000 us"));
        assert!(check_dir(Path::new("."), &["csv"], None, false).is_err());
    }
}
