//! The way out: records wait a few milliseconds for company, become one signed batch, are made
//! durable, and only then are the writers answered and the others told.

use std::{collections::VecDeque, future::pending};

use artdag_core::records::{AppendError, Outbox, Record, VerifiedBatch, Write};
use artdag_network::Network;
use ed25519_dalek::SigningKey;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, warn};

use super::{Publication, RecordsHandle, begin_incarnation, changes};
use crate::{clock, task::blocking};

/// How long to wait before a batch that could not be stored is tried again.
const RETRY_MS: u64 = 500;

/// Publishes this node's records.
pub struct Driver {
    key: SigningKey,
    handle: RecordsHandle,
    network: Network,
    queue: mpsc::Receiver<Publication>,
    outbox: Outbox,
    waiting: VecDeque<oneshot::Sender<()>>,
}

impl Driver {
    /// With an empty outbox.
    pub fn new(key: SigningKey, handle: RecordsHandle, network: Network, queue: mpsc::Receiver<Publication>) -> Self {
        Self { key, handle, network, queue, outbox: Outbox::default(), waiting: VecDeque::new() }
    }

    /// Until every handle is gone or it is dropped. Records not yet durable were not answered.
    pub async fn run(mut self) {
        loop {
            let due_in = self.outbox.due_at().map(|at| at.saturating_sub(clock::unix_ms()));
            let due = async {
                match due_in {
                    Some(ms) => clock::sleep_ms(ms).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                publication = self.queue.recv() => match publication {
                    Some(publication) => self.take(publication).await,
                    None => return,
                },
                () = due => self.flush(false).await,
            }
        }
    }

    async fn take(&mut self, (record, done): Publication) {
        if self.outbox.push(clock::unix_ms(), record.clone()).is_err() {
            // Full: what is there goes out now, then there is room.
            self.flush(true).await;
            if let Err(why) = self.outbox.push(clock::unix_ms(), record) {
                warn!(%why, "a record was not taken");
                return;
            }
        }
        self.waiting.push_back(done);
    }

    async fn flush(&mut self, now: bool) {
        let batch = if now { Some(self.outbox.take()) } else { self.outbox.take_due(clock::unix_ms()) };
        let Some(records) = batch.filter(|records| !records.is_empty()) else { return };
        let answers: Vec<_> = self.waiting.drain(..records.len().min(self.waiting.len())).collect();
        let Some(batch) = self.append(records).await else { return };
        self.persist(&batch).await;
        for answer in answers {
            // A writer that gave up waiting is not owed an answer.
            let _ = answer.send(());
        }
        self.handle.inner.metrics.batches_published.inc();
        self.handle.inner.news.send_modify(|count| *count += 1);
        if let Err(error) = self.network.publish(batch.bytes().to_vec()).await {
            debug!(%error, "nobody heard the news, reconcile will bring it");
        }
    }

    async fn append(&self, records: Vec<Record>) -> Option<VerifiedBatch> {
        loop {
            let made = self.handle.lock().append(clock::unix_ms(), records.clone(), &self.key);
            match made {
                Ok(batch) => return Some(batch),
                Err(AppendError::ClockBehind { behind_ms }) => {
                    warn!(behind_ms, "this machine's clock is behind its own records, waiting for it");
                    clock::sleep_ms(behind_ms.clamp(RETRY_MS, 10 * RETRY_MS)).await;
                }
                Err(AppendError::NewIncarnation) => self.start_incarnation().await,
                Err(AppendError::Refused(why)) => {
                    error!(%why, "records cannot be published; this is a fault of the node");
                    return None;
                }
            }
        }
    }

    /// Our own log cannot go on: the others have more of it than our disk, or it was disowned. The
    /// number of the new one is durable before it is used.
    async fn start_incarnation(&self) {
        let store = self.handle.inner.store.clone();
        match blocking(move || begin_incarnation(store.state())).await {
            Ok(incarnation) => {
                warn!(incarnation, "our own log cannot be continued, a new incarnation begins");
                self.handle.lock().start_incarnation(incarnation);
            }
            Err(error) => {
                error!(%error, "a new incarnation is not durable yet, trying again");
                clock::sleep_ms(RETRY_MS).await;
            }
        }
    }

    /// Until it succeeds: the batch has its number, and no other may take it.
    async fn persist(&self, batch: &VerifiedBatch) {
        loop {
            let store = self.handle.inner.store.clone();
            let writes = changes(vec![Write { key: batch.key(), bytes: batch.bytes().to_vec() }]);
            match blocking(move || store.state().commit(writes)).await {
                Ok(()) => return,
                Err(error) => {
                    error!(%error, "a batch of records is not durable yet, trying again");
                    clock::sleep_ms(RETRY_MS).await;
                }
            }
        }
    }
}
