//! The Content service: files, folders and what is public.

mod add;
mod get;
mod landing;
mod walk;

use artdag_proto::v1;
use cid::Cid;
use serde::Serialize;

pub use add::{AddEvent, AddOptions, Added, Folders, Hidden, Pinning};
pub use landing::Fetched;

use crate::{
    Answers, Client, ContentPath, Digest, Error,
    names::{answered_cid, cid_text},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    File,
    Directory,
    Symlink,
    /// IPLD data that is no file or folder, such as a plan.
    Data,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListEntry {
    pub name: String,
    #[serde(serialize_with = "cid_text")]
    pub cid: Cid,
    pub kind: EntryKind,
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stat {
    #[serde(serialize_with = "cid_text")]
    pub cid: Cid,
    pub kind: EntryKind,
    /// Bytes of the file; 0 for a folder.
    pub size: u64,
    /// Bytes of all blocks that UnixFS accounts for.
    pub cumulative_size: u64,
    pub blocks: u64,
    /// Every block is on the node.
    pub local: bool,
    pub content_hash: Option<Digest>,
}

impl Client {
    /// The bytes of a file from `offset` on; `length` of them, or all that follow.
    pub async fn cat(&self, path: &ContentPath, offset: u64, length: Option<u64>) -> Result<Answers<Vec<u8>>, Error> {
        let request = v1::CatRequest { path: path.to_string(), offset, length };
        let answer = self.content_service().cat(request).await;
        let stream = answer.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Answers::new(self.url_shared(), stream, |chunk| Ok(chunk.data)))
    }

    pub async fn ls(&self, path: &ContentPath) -> Result<Answers<ListEntry>, Error> {
        let answer = self.content_service().ls(v1::LsRequest { path: path.to_string() }).await;
        let stream = answer.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Answers::new(self.url_shared(), stream, parse_list_entry))
    }

    pub async fn stat(&self, path: &ContentPath) -> Result<Stat, Error> {
        let answer = self.content_service().stat(v1::StatRequest { path: path.to_string() }).await;
        let stat = answer.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Stat {
            cid: answered_cid(&stat.cid)?,
            kind: parse_kind(stat.kind())?,
            size: stat.size,
            cumulative_size: stat.cumulative_size,
            blocks: stat.blocks,
            local: stat.local,
            content_hash: Digest::parse(&stat.content_hash)?,
        })
    }

    /// Lets any IPFS peer read a root and all it links to; how many blocks that is.
    pub async fn publish_root(&self, cid: &Cid) -> Result<u64, Error> {
        self.set_public(cid, true).await
    }

    /// Takes a root back; how many blocks that is. What peers fetched they keep.
    pub async fn withdraw_root(&self, cid: &Cid) -> Result<u64, Error> {
        self.set_public(cid, false).await
    }

    async fn set_public(&self, cid: &Cid, public: bool) -> Result<u64, Error> {
        let request = v1::SetPublicRequest { cid: cid.to_string(), public };
        let answer = self.content_service().set_public(request).await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner().blocks)
    }

    pub async fn public_roots(&self) -> Result<Answers<Cid>, Error> {
        let answer = self.content_service().list_public(v1::ListPublicRequest {}).await;
        let stream = answer.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Answers::new(self.url_shared(), stream, |root| answered_cid(&root.cid)))
    }
}

fn parse_list_entry(entry: v1::LsResponse) -> Result<ListEntry, Error> {
    Ok(ListEntry {
        cid: answered_cid(&entry.cid)?,
        kind: parse_kind(entry.kind())?,
        name: entry.name,
        size: entry.size,
    })
}

fn parse_kind(kind: v1::EntryKind) -> Result<EntryKind, Error> {
    match kind {
        v1::EntryKind::File => Ok(EntryKind::File),
        v1::EntryKind::Directory => Ok(EntryKind::Directory),
        v1::EntryKind::Symlink => Ok(EntryKind::Symlink),
        v1::EntryKind::Data => Ok(EntryKind::Data),
        v1::EntryKind::Unspecified => Err(Error::Answer("an entry of no kind".to_owned())),
    }
}
