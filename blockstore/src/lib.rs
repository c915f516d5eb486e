//! Content and its proofs: blocks, whole files, directories, and where on this disk they lie.
//!
//! What always holds: a block leaves this crate only under a CID its bytes hash to (packs and blobs are
//! immutable and were hashed on the way in; containers a user may edit are hashed again on every read), and
//! what was acknowledged is on the disk, after a power cut too.
//!
//! What it deliberately does not do: no network, no async runtime, no policy about who may read what beyond
//! the one question "which audience asks".
//!
//! A map: `block` (verification), `cid` (the CIDs we make), `location` and `stored` (where a block lies, and
//! its bytes on disk), `state` (redb: what may not be lost), `index` (sled: what may), `pack`, `blob`, `car`,
//! `dag` and `unixfs` (formats), `add`, `tree` (the way in), `read`, `export` (the way out), `pins`, `public`,
//! `recover` (closing a lost tail, repair), `store` (holds them together).

mod add;
mod blob;
mod block;
mod car;
mod cid;
mod dag;
mod disk;
mod error;
mod export;
mod files;
mod hash;
mod index;
mod journal;
mod location;
mod pack;
mod pins;
mod public;
mod read;
mod recover;
mod state;
mod store;
mod stored;
mod thread;
mod tree;
mod unixfs;

pub use ::cid::Cid;

pub use add::{Added, FileWriter, Ingest};
pub use block::{Block, BlockError, MAX_BLOCK_BYTES, NameError};
pub use cid::{DAG_CBOR, DAG_PB, RAW, dag_cbor_cid, dag_pb_cid, raw_cid};
pub use dag::{LinksError, links};
pub use error::{AddError, OpenError, ReadError};
pub use pins::{Pin, PinKind};
pub use public::{PublicRoot, Visibility};
pub use read::{FileReader, ListEntry, Stat};
pub use recover::{Progress, RepairReport};
pub use state::{Change, Row, State, StateError, Table};
pub use store::{Audience, Options, Store, Usage};
pub use unixfs::{CHUNK_BYTES, DirectoryEntry, EntryKind};
