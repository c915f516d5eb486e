//! Where a demo lives: one new folder among the temporary files, gone again unless told otherwise.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// Clip, intermediates and film on three nodes come to some hundred MB.
const FREE_BYTES_MIN: u64 = 1_000_000_000;

/// Dropping it removes the folder.
pub(super) struct Home(TempDir);

impl Home {
    pub(super) fn make() -> anyhow::Result<Self> {
        let parent = std::env::temp_dir();
        let said = || format!("{}: set TMPDIR to a folder that can be written", parent.display());
        let home = tempfile::Builder::new().prefix("artdag-demo-").tempdir_in(&parent).with_context(said)?;
        let space = rustix::fs::statvfs(home.path()).with_context(said)?;
        check_space(&parent, space.f_bavail.saturating_mul(space.f_frsize))?;
        Ok(Self(home))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn keep_all(self) -> PathBuf {
        self.0.keep()
    }

    /// Removes all but `film`; all of it if the film lies elsewhere.
    pub(super) fn keep_only(self, film: &Path) -> anyhow::Result<()> {
        if film.parent() != Some(self.path()) {
            return Ok(());
        }
        for entry in fs::read_dir(self.path())? {
            let path = entry?.path();
            if path == film {
                continue;
            }
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("removing {}", path.display()))?;
        }
        // Only the folder itself is kept now; its path is known from the film's.
        let _ = self.0.keep();
        Ok(())
    }
}

fn check_space(folder: &Path, free_bytes: u64) -> anyhow::Result<()> {
    if free_bytes < FREE_BYTES_MIN {
        bail!(
            "{} has {} of space left and the demo wants {}; free some, or set TMPDIR to a folder on another disk",
            folder.display(),
            artdag_client::size_text(free_bytes),
            artdag_client::size_text(FREE_BYTES_MIN)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_film_stays() {
        let home = Home(tempfile::tempdir().expect("a scratch folder"));
        let root = home.path().to_owned();
        let film = root.join("film.mp4");
        fs::create_dir_all(root.join("a/blobs")).expect("created");
        fs::write(root.join("clip.mp4"), "clip").expect("written");
        fs::write(&film, "film").expect("written");
        home.keep_only(&film).expect("removed the rest");
        let left: Vec<_> = fs::read_dir(&root).expect("still there").flatten().map(|e| e.path()).collect();
        assert_eq!(left, [film]);
        fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn nothing_stays_when_the_film_lies_elsewhere_or_there_is_none() {
        let home = Home(tempfile::tempdir().expect("a scratch folder"));
        let root = home.path().to_owned();
        home.keep_only(Path::new("/elsewhere/film.mp4")).expect("removed");
        assert!(!root.exists());
    }

    #[test]
    fn a_full_disk_is_named_with_a_way_out() {
        check_space(Path::new("/tmp"), FREE_BYTES_MIN).expect("enough");
        let error = check_space(Path::new("/tmp"), 5_000_000).expect_err("too little").to_string();
        assert!(error.contains("5.0 MB") && error.contains("TMPDIR"), "{error}");
    }
}
