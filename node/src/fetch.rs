//! Brings content to this node: blocks from members and, where the user asked for it, from any
//! IPFS peer. What arrives is verified by the network, stored here, and only then used.
//!
//! It does not decide who is asked first; that is the network's session.

use std::{collections::HashSet, sync::Arc, time::Duration};

use artdag_blockstore::{AddError, Audience, Block, EntryKind, LinksError, ListEntry, RAW, ReadError, Store};
use artdag_network::{FetchError as WireError, Network, PeerId, Scope};
use cid::Cid;
use futures::{StreamExt, stream::FuturesUnordered};

use crate::{metrics::Metrics, task::blocking};

/// Blocks asked for at once: 32 of 1 MiB keep a fast link full and memory small.
const IN_FLIGHT_MAX: usize = 32;
/// Blocks are made durable in groups of this many bytes, one fsync each.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// CIDs seen but not yet asked for. A node links to at most 2 MiB / 40 bytes, so this is some
/// forty full nodes deep; a DAG beyond it is not one we made.
const PENDING_MAX: usize = 2_000_000;
/// How often one read may find another block missing before it gives up: a range of a file needs
/// its interior nodes and leaves one after the other.
const READ_RETRIES_MAX: usize = 100_000;
/// Want-have answers come within a round trip; nobody waits longer to learn that bytes are gone.
const AVAILABLE_TIMEOUT: Duration = Duration::from_millis(1500);

/// Why content could not be brought here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody who was asked has it.
    #[error("{0} could not be fetched: {1}; check that a node that has it is up and joined")]
    NotFound(Box<Cid>, Box<WireError>),
    /// It is here or arrived, but cannot be stored or read.
    #[error(transparent)]
    Store(#[from] AddError),
    /// It cannot be read as what it should be.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// One read found more blocks missing than any honest file has.
    #[error("the content keeps asking for further blocks, after {READ_RETRIES_MAX} of them this node gave up")]
    Endless,
    /// A block that was fetched is not what its codec says.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// More links than any honest DAG has.
    #[error("the content under {0} has more links than this node follows at once ({PENDING_MAX})")]
    TooWide(Box<Cid>),
}

/// Fetches through one network into one store.
#[derive(Clone)]
pub struct Fetcher {
    store: Store,
    network: Network,
    metrics: Arc<Metrics>,
}

impl Fetcher {
    /// Over this network and into this store.
    #[must_use]
    pub fn new(store: Store, network: Network, metrics: Arc<Metrics>) -> Self {
        Self { store, network, metrics }
    }

    /// Every block under `root` is here and durable when this returns. Dropping it keeps what has
    /// been stored so far, so that the next try goes on from there. The root is stored last: a root
    /// that is here by this way has everything below it.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn dag(&self, root: &Cid, scope: Scope, hints: &[PeerId]) -> Result<(), FetchError> {
        let mut walk = Walk::new(*root);
        let mut flying = FuturesUnordered::new();
        let mut group = Vec::new();
        let mut group_bytes = 0;
        let mut last = None;
        loop {
            while flying.len() < IN_FLIGHT_MAX {
                let Some(cid) = walk.next() else { break };
                if let Some(links) = self.local_links(cid).await? {
                    walk.push(links)?;
                } else {
                    flying.push(self.one(cid, scope, hints));
                }
            }
            let Some(block) = flying.next().await else { break };
            let block = block?;
            walk.push(artdag_blockstore::links(&block)?)?;
            if block.cid() == root {
                last = Some(block);
                continue;
            }
            group_bytes += block.bytes().len();
            group.push(block);
            if group_bytes >= GROUP_BYTES {
                self.keep(std::mem::take(&mut group)).await?;
                group_bytes = 0;
            }
        }
        self.keep(group).await?;
        self.keep(last.into_iter().collect()).await
    }

    /// One block, stored here.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn block(&self, cid: &Cid, scope: Scope) -> Result<Block, FetchError> {
        let (store, wanted) = (self.store.clone(), *cid);
        if let Some(block) = blocking(move || store.read(&wanted, Audience::Local)).await? {
            return Ok(block);
        }
        let block = self.one(*cid, scope, &[]).await?;
        self.keep(vec![block.clone()]).await?;
        Ok(block)
    }

    /// Runs a read of the store, fetching each block it finds missing and trying again.
    ///
    /// # Errors
    /// What the read says, apart from missing blocks that could be fetched.
    pub async fn reading<T: Send + 'static>(
        &self,
        scope: Scope,
        read: impl Fn(&Store) -> Result<T, ReadError> + Clone + Send + 'static,
    ) -> Result<T, FetchError> {
        for _ in 0..READ_RETRIES_MAX {
            let (store, read) = (self.store.clone(), read.clone());
            match blocking(move || read(&store)).await {
                Err(ReadError::Missing(cid)) => drop(self.block(&cid, scope).await?),
                other => return Ok(other?),
            }
        }
        Err(FetchError::Endless)
    }

    /// The entries of a folder, each told for what it is: what is not here is fetched.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn list(&self, folder: Cid) -> Result<Vec<ListEntry>, FetchError> {
        let mut entries = self.reading(Scope::Anyone, move |store| store.list(&folder)).await?;
        for entry in entries.iter_mut().filter(|entry| entry.kind == EntryKind::Unfetched) {
            let cid = entry.cid;
            (entry.kind, entry.size) = self.reading(Scope::Anyone, move |store| store.kind(&cid)).await?;
        }
        Ok(entries)
    }

    /// Whether this node has all of it, or some other member has the root. Asked, never remembered
    /// in a record: bytes come and go. A member that has the root and not the rest is found out
    /// when its blocks are asked for.
    pub async fn available(&self, cid: &Cid) -> bool {
        let (store, wanted) = (self.store.clone(), *cid);
        if blocking(move || store.stat(&wanted)).await.is_ok_and(|stat| stat.local) {
            return true;
        }
        !self.network.who_has(cid, Scope::Members, AVAILABLE_TIMEOUT).await.is_empty()
    }

    async fn one(&self, cid: Cid, scope: Scope, hints: &[PeerId]) -> Result<Block, FetchError> {
        let block = self
            .network
            .fetch(&cid, scope, hints)
            .await
            .map_err(|why| FetchError::NotFound(Box::new(cid), Box::new(why)))?;
        self.metrics.fetched(block.bytes().len());
        Ok(block)
    }

    /// The links of a block that is here, `None` when it is not.
    async fn local_links(&self, cid: Cid) -> Result<Option<Vec<Cid>>, FetchError> {
        let store = self.store.clone();
        let found = blocking(move || -> Result<_, FetchError> {
            if cid.codec() == RAW {
                return Ok(store.has(&cid, Audience::Local)?.then(Vec::new));
            }
            match store.read(&cid, Audience::Local)? {
                Some(block) => Ok(Some(artdag_blockstore::links(&block)?)),
                None => Ok(None),
            }
        });
        found.await
    }

    async fn keep(&self, blocks: Vec<Block>) -> Result<(), FetchError> {
        if blocks.is_empty() {
            return Ok(());
        }
        let store = self.store.clone();
        let cids: Vec<Cid> = blocks.iter().map(|block| *block.cid()).collect();
        blocking(move || store.put(&blocks)).await?;
        self.network.notify_stored(&cids).await;
        Ok(())
    }
}

/// What is still to be looked at, depth first, each CID once.
struct Walk {
    root: Cid,
    pending: Vec<Cid>,
    seen: HashSet<Cid>,
}

impl Walk {
    fn new(root: Cid) -> Self {
        Self { root, pending: vec![root], seen: HashSet::from([root]) }
    }

    fn next(&mut self) -> Option<Cid> {
        self.pending.pop()
    }

    fn push(&mut self, links: Vec<Cid>) -> Result<(), FetchError> {
        // Reversed, so that the first link of a file is fetched first.
        self.pending.extend(links.into_iter().rev().filter(|link| self.seen.insert(*link)));
        if self.pending.len() > PENDING_MAX { Err(FetchError::TooWide(Box::new(self.root))) } else { Ok(()) }
    }
}
