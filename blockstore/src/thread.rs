//! The one file that starts threads: each has a name and hands back a handle that its owner joins.

use std::io;
use std::thread::{Builder, JoinHandle};

pub(crate) fn start<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(body)
}
