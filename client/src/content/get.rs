//! Fetches a file or folder to a path on this machine.
//!
//! The call feeds a thread that owns the disk; if either fails, or the future is dropped, the
//! thread removes what it had begun.

use std::path::Path;

use artdag_proto::v1;
use tokio::sync::mpsc;

use super::landing::{Fetched, Landing};
use crate::{Client, ContentPath, Error, task::blocking};

/// Messages between the call and the disk; a node sends at most a block in each.
const QUEUE: usize = 16;

/// What the call hands to the disk.
enum Incoming {
    Part(v1::get_response::Part),
    /// The node has said all; only this makes the target appear.
    End,
}

impl Client {
    /// Puts `path` at `to`: a file, or a folder whose root becomes `to`. `on_bytes` hears how
    /// many bytes of files have arrived.
    pub async fn get(
        &self,
        path: &ContentPath,
        to: &Path,
        on_bytes: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Fetched, Error> {
        let request = v1::GetRequest { path: path.to_string() };
        let answer = self.content_service().get(request).await;
        let mut parts = answer.map_err(|status| self.failed(&status))?.into_inner();
        let (queue, received) = mpsc::channel(QUEUE);
        let landing = Landing::new(to)?;
        let landed = blocking(move || land(landing, received));
        let (landed, received) = tokio::join!(landed, self.receive(&mut parts, queue, on_bytes));
        // A disk that failed closed the queue, so its error is the cause and comes first.
        match (landed, received) {
            (Ok(Some(fetched)), Ok(())) => Ok(fetched),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(None), Ok(())) => Err(Error::Answer("it stopped midway".to_owned())),
        }
    }

    async fn receive(
        &self,
        parts: &mut tonic::Streaming<v1::GetResponse>,
        queue: mpsc::Sender<Incoming>,
        on_bytes: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), Error> {
        let mut bytes = 0;
        while let Some(answer) = parts.message().await.map_err(|status| self.failed(&status))? {
            let part = answer.part.ok_or_else(|| Error::Answer("an empty part".to_owned()))?;
            if let v1::get_response::Part::Data(data) = &part {
                bytes += data.len() as u64;
                on_bytes(bytes);
            }
            if queue.send(Incoming::Part(part)).await.is_err() {
                return Ok(());
            }
        }
        // If the disk has failed meanwhile, it says so itself.
        let _ = queue.send(Incoming::End).await;
        Ok(())
    }
}

/// `None` when the call ended before the node had said all.
fn land(mut landing: Landing, mut received: mpsc::Receiver<Incoming>) -> Result<Option<Fetched>, Error> {
    while let Some(incoming) = received.blocking_recv() {
        match incoming {
            Incoming::Part(v1::get_response::Part::Entry(entry)) => landing.entry(&entry)?,
            Incoming::Part(v1::get_response::Part::Data(data)) => landing.data(&data)?,
            Incoming::End => return landing.finish().map(Some),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_stops_midway_leaves_nothing() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let target = scratch.path().join("film");
        let (queue, received) = mpsc::channel(QUEUE);
        let kind = v1::EntryKind::File.into();
        let entry = v1::Entry { path: String::new(), kind, size: 3, target: String::new() };
        let parts = [v1::get_response::Part::Entry(entry), v1::get_response::Part::Data(vec![1; 3])];
        for part in parts {
            queue.blocking_send(Incoming::Part(part)).expect("room");
        }
        drop(queue);
        let landing = Landing::new(&target).expect("begun");
        assert_eq!(land(landing, received).expect("no fault of the disk"), None);
        assert_eq!(std::fs::read_dir(scratch.path()).expect("readable").count(), 0);
    }
}
