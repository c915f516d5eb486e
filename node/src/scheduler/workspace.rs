//! The directory of one attempt at a step. It is gone when the attempt is, however that ends; what
//! a killed node left behind is swept at the next start.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use artdag_core::identity::ActionId;
use tracing::warn;

use crate::{entropy, task::blocking};

/// The directory of one attempt, removed when dropped.
pub struct Workspace(PathBuf);

impl Workspace {
    /// A new one, empty, named after the action.
    pub async fn create(parent: &Path, id: &ActionId) -> io::Result<Self> {
        let name = format!("{}-{}", &id.to_string()[..16], hex::encode(entropy::random::<4>()));
        let path = parent.join(name);
        let workspace = Self(path.clone());
        let made = blocking(move || {
            fs::create_dir_all(path.join("inputs"))?;
            fs::create_dir(path.join("scratch"))
        });
        made.await.map(|()| workspace)
    }

    /// Where inputs are laid; the step may read it.
    pub fn inputs(&self) -> PathBuf {
        self.0.join("inputs")
    }

    /// Where the step works.
    pub fn scratch(&self) -> PathBuf {
        self.0.join("scratch")
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            warn!(path = %self.0.display(), %error, "a workspace was left behind");
        }
    }
}
