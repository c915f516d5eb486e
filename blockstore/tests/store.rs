//! The store as its users see it: against a plain model, across reopening, damage, kill -9 and a full disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use artdag_blockstore::{
    AddError, Audience, Block, CHUNK_BYTES, Change, Cid, EntryKind, Ingest, OpenError, Options, PinKind, ReadError,
    Store, Table, Visibility, links, raw_cid,
};
use proptest::prelude::*;
use tempfile::TempDir;

/// Set in the environment of a child that should play its part; the value is the store's directory.
const CHILD_DIR: &str = "ARTDAG_BLOCKSTORE_TEST_DIR";

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a scratch directory")
}

fn options() -> Options {
    Options { reserve_bytes: 1 << 20, index_cache_bytes: 4 << 20, ..Options::default() }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, options()).expect("the store opens")
}

/// Bytes that depend on every bit of the seed and do not compress into equal chunks.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn add(store: &Store, bytes: &[u8]) -> Result<artdag_blockstore::Added, AddError> {
    let mut writer = store.file_writer()?;
    // The writer keeps the reason of a failed write and gives it on finish.
    let _ = writer.write_all(bytes);
    writer.finish()
}

fn read_all(store: &Store, cid: &Cid) -> Vec<u8> {
    let reader = store.open_file(cid).expect("the file opens");
    let mut bytes = vec![0; reader.len() as usize];
    let count = reader.read_at(0, &mut bytes).expect("the file reads");
    assert_eq!(count, bytes.len());
    bytes
}

fn closure(store: &Store, root: &Cid) -> BTreeSet<Cid> {
    let mut found = BTreeSet::new();
    let mut stack = vec![*root];
    while let Some(cid) = stack.pop() {
        if found.insert(cid) {
            let block = store.read(&cid, Audience::Local).expect("read");
            stack.extend(links(&block.expect("present")).expect("links"));
        }
    }
    found
}

fn file_names(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    names.sort();
    names
}

// ---- files ----

#[test]
fn a_file_has_the_cid_everybody_gives_it_and_its_two_other_names() {
    let dir = scratch();
    let store = open(dir.path());
    let added = add(&store, b"hello world").expect("add");
    assert_eq!(added.cid.to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    assert_eq!(
        hex::encode(added.content_hash.expect("hashed")),
        "644bcc7e564373040999aac89e7622f3ca71fba1d972fd94a31c3bfbf24e3938"
    );
    assert_eq!(
        hex::encode(added.blake3.expect("hashed")),
        "d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24"
    );
    assert_eq!((added.kind, added.size), (EntryKind::File, 11));
    assert_eq!(store.content_hash(&added.cid).expect("note"), added.content_hash);
}

#[test]
fn files_of_every_size_around_a_chunk_come_back_at_every_offset() {
    let dir = scratch();
    let store = open(dir.path());
    for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 17] {
        let bytes = content(length as u64, length);
        let added = add(&store, &bytes).expect("add");
        assert_eq!(read_all(&store, &added.cid), bytes);
        let reader = store.open_file(&added.cid).expect("open");
        for offset in [0, 1, CHUNK_BYTES - 2, CHUNK_BYTES, 2 * CHUNK_BYTES + 5] {
            let mut buffer = [0; 9];
            let count = reader.read_at(offset as u64, &mut buffer).expect("read");
            let expected = bytes.get(offset..).unwrap_or_default();
            let expected = &expected[..expected.len().min(9)];
            assert_eq!(&buffer[..count], expected);
        }
        let stat = store.stat(&added.cid).expect("stat");
        assert_eq!((stat.size, stat.local), (length as u64, true));
        assert_eq!(stat.cumulative_size, added.cumulative_size);
    }
}

#[test]
fn one_copy_of_the_bytes_lies_on_disk() {
    let dir = scratch();
    let store = open(dir.path());
    let bytes = content(1, 4 * CHUNK_BYTES);
    let first = add(&store, &bytes).expect("add");
    let again = add(&store, &bytes).expect("add again");
    assert_eq!(first, again);
    let usage = store.usage().expect("usage");
    assert_eq!((usage.blobs, usage.packs), (1, 0));
    assert_eq!(usage.bytes, bytes.len() as u64);
    let blake3 = hex::encode(first.blake3.expect("hashed"));
    let names = file_names(&dir.path().join("blobs").join(&blake3[..2]));
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(std::fs::read(&names[0]).expect("the blob"), bytes);
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let dir = scratch();
    let store = open(dir.path());
    let mut writer = store.file_writer().expect("writer");
    writer.write_all(&content(2, 3 * CHUNK_BYTES)).expect("write");
    assert!(!file_names(&dir.path().join("incoming")).is_empty());
    drop(writer);
    assert!(file_names(&dir.path().join("incoming")).is_empty());
    assert!(file_names(&dir.path().join("blobs")).is_empty());
}

#[test]
fn move_takes_the_file_itself_and_copy_leaves_it() {
    use std::os::unix::fs::MetadataExt;
    let dir = scratch();
    let store = open(&dir.path().join("store"));
    for length in [10, 2 * CHUNK_BYTES] {
        let bytes = content(length as u64, length);
        let path = dir.path().join("output");
        std::fs::write(&path, &bytes).expect("write");
        let copied = store.add_file(&path, Ingest::Copy).expect("copy");
        assert_eq!(std::fs::read(&path).expect("still there"), bytes);
        let moved = store.add_file(&path, Ingest::Move).expect("move");
        assert!(!path.exists());
        assert_eq!(copied, moved);
        assert_eq!(read_all(&store, &moved.cid), bytes);
    }
    let path = dir.path().join("fresh");
    std::fs::write(&path, content(9, 2 * CHUNK_BYTES)).expect("write");
    let inode = std::fs::metadata(&path).expect("metadata").ino();
    let added = store.add_file(&path, Ingest::Move).expect("move");
    let name = hex::encode(added.blake3.expect("hashed"));
    let blob = dir.path().join("store/blobs").join(&name[..2]).join(&name);
    let blob = std::fs::metadata(blob).expect("the blob");
    assert_eq!((blob.ino(), blob.mode() & 0o777), (inode, 0o444));
}

#[test]
fn a_file_with_two_names_is_copied_so_that_the_other_name_cannot_change_the_blob() {
    let dir = scratch();
    let store = open(&dir.path().join("store"));
    let (path, other) = (dir.path().join("a"), dir.path().join("b"));
    let bytes = content(3, 2 * CHUNK_BYTES);
    std::fs::write(&path, &bytes).expect("write");
    std::fs::hard_link(&path, &other).expect("link");
    let added = store.add_file(&path, Ingest::Move).expect("move");
    assert!(!path.exists());
    std::fs::write(&other, b"changed").expect("write through the other name");
    assert_eq!(read_all(&store, &added.cid), bytes);
}

#[test]
fn what_is_not_a_regular_file_is_refused_in_words() {
    let dir = scratch();
    let store = open(&dir.path().join("store"));
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).expect("symlink");
    for path in [dir.path().to_owned(), dir.path().join("link")] {
        let error = store.add_file(&path, Ingest::Copy).expect_err("refused");
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}

#[test]
fn export_writes_a_whole_file_or_nothing() {
    use std::os::unix::fs::MetadataExt;
    let dir = scratch();
    let store = open(&dir.path().join("store"));
    let to = dir.path().join("out");
    for length in [5, 3 * CHUNK_BYTES + 1] {
        let bytes = content(length as u64, length);
        let added = add(&store, &bytes).expect("add");
        assert_eq!(store.export_file(&added.cid, &to).expect("export"), length as u64);
        assert_eq!(std::fs::read(&to).expect("exported"), bytes);
        assert_eq!(std::fs::metadata(&to).expect("metadata").nlink(), 1);
    }
    let absent = raw_cid(b"nobody has this");
    let before = file_names(dir.path());
    assert!(matches!(store.export_file(&absent, &to), Err(ReadError::Missing(cid)) if cid == absent));
    assert_eq!(file_names(dir.path()), before);
}

// ---- directories ----

#[test]
fn a_tree_goes_in_and_is_found_by_path() {
    let dir = scratch();
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("sub/empty")).expect("mkdir");
    std::fs::write(tree.join("b.txt"), b"bee").expect("write");
    std::fs::write(tree.join("sub/a.txt"), b"ay").expect("write");
    std::fs::write(tree.join(".hidden"), b"no").expect("write");
    std::fs::write(tree.join("sub/big"), content(4, 2 * CHUNK_BYTES)).expect("write");
    std::os::unix::fs::symlink("b.txt", tree.join("z-link")).expect("symlink");
    let store = open(&dir.path().join("store"));
    let mut heard = Vec::new();
    let root = store
        .add_tree(&tree, &mut |path, added| {
            heard.push((path.to_owned(), added.cid));
        })
        .expect("add");
    let paths: Vec<&str> = heard.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["b.txt", "sub/a.txt", "sub/big", "sub/empty", "sub", "z-link", ""]);
    for (path, cid) in &heard {
        let full = format!("/ipfs/{}/{path}", root.cid);
        assert_eq!(store.resolve(&full).expect("resolve"), *cid);
    }
    let listed = store.list(&root.cid).expect("list");
    let rows: Vec<_> = listed.iter().map(|e| (e.name.as_str(), e.kind)).collect();
    assert_eq!(rows, [("b.txt", EntryKind::File), ("sub", EntryKind::Directory), ("z-link", EntryKind::Symlink)]);
    let stat = store.stat(&root.cid).expect("stat");
    assert_eq!((stat.kind, stat.local), (EntryKind::Directory, true));
    assert!(matches!(store.resolve(&format!("{}/nothing", root.cid)), Err(ReadError::NotThere(_))));
    assert!(matches!(store.list(&heard[0].1), Err(ReadError::NotThere(_))));
}

#[test]
fn a_directory_too_large_for_one_block_is_listed_and_resolved_all_the_same() {
    let dir = scratch();
    let store = open(dir.path());
    let leaf = add(&store, b"x").expect("add");
    let names: Vec<String> = (0..6000).map(|n| format!("entry number {n:05}")).collect();
    let entries = names.iter().map(|name| leaf.entry(name.as_str())).collect();
    let root = store.add_directory(entries).expect("add");
    let block = store.read(&root.cid, Audience::Local).expect("read");
    assert!(links(&block.expect("here")).expect("links").len() <= 256);
    let listed = store.list(&root.cid).expect("list");
    assert!(listed.iter().map(|entry| &entry.name).eq(names.iter()));
    for name in names.iter().step_by(997) {
        let path = format!("{}/{name}", root.cid);
        assert_eq!(store.resolve(&path).expect("resolve"), leaf.cid);
    }
    assert!(store.resolve(&format!("{}/absent", root.cid)).is_err());
}

// ---- blocks ----

#[test]
fn a_file_that_arrives_block_by_block_says_what_is_missing() {
    let (from, to) = (scratch(), scratch());
    let (source, store) = (open(from.path()), open(to.path()));
    let bytes = content(5, 3 * CHUNK_BYTES + 100);
    let root = add(&source, &bytes).expect("add").cid;
    let fetch = |cid: &Cid| source.read(cid, Audience::Member).expect("read").expect("here");
    assert!(matches!(store.open_file(&root), Err(ReadError::Missing(cid)) if cid == root));
    store.put(&[fetch(&root)]).expect("put");
    let reader = store.open_file(&root).expect("its root is here");
    assert!(!store.stat(&root).expect("stat").local);
    let mut found = Vec::new();
    let mut buffer = vec![0; 70_000];
    while found.len() < bytes.len() {
        match reader.read_at(found.len() as u64, &mut buffer) {
            Ok(count) => found.extend_from_slice(&buffer[..count]),
            Err(ReadError::Missing(cid)) => store.put(&[fetch(&cid)]).expect("put"),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(found, bytes);
    assert!(store.stat(&root).expect("stat").local);
}

#[test]
fn a_file_node_that_lies_about_its_parts_is_damage_and_not_a_loop() {
    let dir = scratch();
    let store = open(dir.path());
    // A file that claims 5 bytes in its one child, which has 1.
    let leaf = Block::raw(*b"x").expect("block");
    let root = node(&[("", *leaf.cid())], &[0x08, 2, 0x18, 5, 0x20, 5]);
    store.put(&[leaf, root.clone()]).expect("put");
    let reader = store.open_file(root.cid()).expect("open");
    let error = reader.read_at(0, &mut [0; 5]).expect_err("damage");
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
}

/// A dag-pb node with these (name, child) links and this UnixFS message.
fn node(links: &[(&str, Cid)], data: &[u8]) -> Block {
    let mut bytes = Vec::new();
    for (name, cid) in links {
        let mut link = vec![0x0a, 36];
        link.extend_from_slice(&cid.to_bytes());
        link.extend_from_slice(&[0x12, name.len() as u8]);
        link.extend_from_slice(name.as_bytes());
        link.extend_from_slice(&[0x18, 1]);
        bytes.extend_from_slice(&[0x12, link.len() as u8]);
        bytes.extend_from_slice(&link);
    }
    bytes.extend_from_slice(&[0x0a, data.len() as u8]);
    bytes.extend_from_slice(data);
    Block::new(artdag_blockstore::dag_pb_cid(&bytes), bytes).expect("block")
}

#[test]
fn a_hamt_of_equal_empty_shards_ends_in_an_error() {
    // Eight levels of 256 links to one and the same child: 2^64 paths in nine small blocks.
    const SHARD: [u8; 7] = [0x08, 5, 0x28, 0x22, 0x30, 0x80, 0x02];
    let dir = scratch();
    let store = open(dir.path());
    let mut below = node(&[], &SHARD);
    store.put(std::slice::from_ref(&below)).expect("put");
    let names: Vec<String> = (0..256).map(|slot| format!("{slot:02X}")).collect();
    for _ in 0..8 {
        let links: Vec<_> = names.iter().map(|name| (name.as_str(), *below.cid())).collect();
        below = node(&links, &SHARD);
        store.put(std::slice::from_ref(&below)).expect("put");
    }
    let error = store.list(below.cid()).expect_err("too large");
    assert!(error.to_string().contains("too large"), "{error}");
    assert!(store.stat(below.cid()).expect("a walk visits each block once").local);
}

#[test]
fn an_identity_cid_carries_its_own_bytes() {
    let dir = scratch();
    let store = open(dir.path());
    let cid = Cid::try_from("bafkqaaa").expect("the probe CID of gateways");
    assert!(store.has(&cid, Audience::Public).expect("has"));
    let block = store.read(&cid, Audience::Public).expect("read");
    assert_eq!(block.expect("inline").bytes(), b"");
}

#[test]
fn many_threads_put_the_same_and_different_blocks() {
    let dir = scratch();
    let store = open(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..6u64 {
            let store = store.clone();
            scope.spawn(move || {
                for step in 0..20 {
                    let own = Block::raw(content(thread * 100 + step, 300)).expect("block");
                    let shared = Block::raw(content(9_000 + step, 300)).expect("block");
                    store.put(&[own.clone(), shared]).expect("put");
                    assert!(store.has(own.cid(), Audience::Local).expect("has"));
                }
            });
        }
    });
    drop(store);
    let store = open(dir.path());
    for seed in (0..6).flat_map(|t| (0..20).map(move |s| t * 100 + s)) {
        let block = Block::raw(content(seed, 300)).expect("block");
        let found = store.read(block.cid(), Audience::Local).expect("read");
        assert_eq!(found.expect("here"), block);
    }
}

#[test]
fn many_threads_add_the_same_large_file_and_all_are_told_the_truth() {
    let dir = scratch();
    let store = open(dir.path());
    let bytes = content(11, 2 * CHUNK_BYTES);
    let mut told: Vec<Cid> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| add(&store, &bytes).expect("add").cid)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    told.dedup();
    assert_eq!(told.len(), 1);
    assert_eq!(read_all(&store, &told[0]), bytes);
    let usage = store.usage().expect("usage");
    assert_eq!((usage.blobs, usage.bytes), (1, bytes.len() as u64));
    assert!(file_names(&dir.path().join("incoming")).is_empty());
}

#[test]
fn an_add_that_fails_at_its_rename_leaves_nothing_and_works_the_next_time() {
    let dir = scratch();
    let store = open(dir.path());
    let (first, second) = (content(12, 2 * CHUNK_BYTES), content(13, 2 * CHUNK_BYTES));
    let kept = add(&store, &first).expect("add");
    // A directory in the way of the second blob's name: its rename fails after everything was hashed.
    let name = hex::encode(blake3::hash(&second).as_bytes());
    let blob = dir.path().join("blobs").join(&name[..2]).join(&name);
    std::fs::create_dir_all(blob.join("in the way")).expect("mkdir");
    assert!(matches!(add(&store, &second), Err(AddError::Io { .. })));
    assert!(file_names(&dir.path().join("incoming")).is_empty());
    assert_eq!(read_all(&store, &kept.cid), first);
    std::fs::remove_dir_all(&blob).expect("clear the way");
    let added = add(&store, &second).expect("add");
    assert_eq!(read_all(&store, &added.cid), second);
}

// ---- audiences ----

#[test]
fn strangers_see_the_closure_of_public_roots_and_nothing_else() {
    let dir = scratch();
    let store = open(dir.path());
    let shared = content(6, 2 * CHUNK_BYTES);
    let (a, b) = (add(&store, &shared).expect("a"), add(&store, b"b").expect("b"));
    let private = add(&store, b"private").expect("add");
    let one = store.add_directory(vec![a.entry("a"), b.entry("b")]).expect("dir");
    let two = store.add_directory(vec![a.entry("a")]).expect("dir");
    let sees = |cid: &Cid| {
        let had = store.has(cid, Audience::Public).expect("has");
        let read = store.read(cid, Audience::Public).expect("read").is_some();
        let sized = store.block_size(cid, Audience::Public).expect("size").is_some();
        assert!(had == read && had == sized);
        had
    };
    assert!(!sees(&one.cid) && !sees(&a.cid));
    let all = closure(&store, &one.cid);
    let count = store.set_public(&one.cid, Visibility::Public).expect("publish");
    assert_eq!(count, all.len() as u64);
    assert!(all.iter().all(&sees));
    assert!(!sees(&private.cid) && !sees(&two.cid));
    store.set_public(&two.cid, Visibility::Public).expect("publish");
    store.set_public(&one.cid, Visibility::Private).expect("withdraw");
    assert!(!sees(&one.cid) && !sees(&b.cid));
    assert!(closure(&store, &two.cid).iter().all(&sees), "still public by the other root");
    assert!(store.has(&private.cid, Audience::Member).expect("has"));
    let roots = store.public_roots().expect("roots");
    assert_eq!(roots.len(), 1);
    assert_eq!(roots[0].cid, two.cid);
}

#[test]
fn a_root_with_a_missing_block_does_not_become_public() {
    let dir = scratch();
    let store = open(dir.path());
    let absent = artdag_blockstore::DirectoryEntry {
        name: "gone".into(),
        cid: raw_cid(b"gone"),
        size: 4,
        kind: EntryKind::File,
    };
    let root = store.add_directory(vec![absent]).expect("dir");
    let error = store.set_public(&root.cid, Visibility::Public);
    assert!(matches!(error, Err(ReadError::Missing(cid)) if cid == raw_cid(b"gone")));
    assert!(!store.has(&root.cid, Audience::Public).expect("has"));
    assert!(store.public_roots().expect("roots").is_empty());
}

// ---- opening ----

#[test]
fn a_second_open_is_refused_in_words_and_the_first_goes_on() {
    let dir = scratch();
    let store = open(dir.path());
    let error = Store::open(dir.path(), options()).err().expect("refused");
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains("already in use"), "{error}");
    add(&store, b"still here").expect("add");
    drop(store);
    open(dir.path());
}

#[test]
fn everything_survives_closing_and_opening() {
    let dir = scratch();
    let store = open(dir.path());
    let small = add(&store, b"small").expect("add");
    let large = add(&store, &content(7, 3 * CHUNK_BYTES)).expect("add");
    store.pin(&large.cid, PinKind::Recursive, "film").expect("pin");
    store.set_public(&small.cid, Visibility::Public).expect("publish");
    let change = Change::Put { table: Table::Names, key: b"k".to_vec(), value: b"v".to_vec() };
    store.state().commit(vec![change]).expect("commit");
    let usage = store.usage().expect("usage");
    drop(store);
    let store = open(dir.path());
    assert_eq!(read_all(&store, &small.cid), b"small");
    assert_eq!(read_all(&store, &large.cid), content(7, 3 * CHUNK_BYTES));
    assert_eq!(store.content_hash(&large.cid).expect("note"), large.content_hash);
    let pins = store.pins(None, 10).expect("pins");
    assert_eq!((pins.len(), pins[0].name.as_str()), (1, "film"));
    assert!(store.pins(Some(&large.cid), 10).expect("page").is_empty());
    assert!(store.has(&small.cid, Audience::Public).expect("has"));
    assert!(!store.has(&large.cid, Audience::Public).expect("has"));
    let value = store.state().get(Table::Names, b"k").expect("get");
    assert_eq!(value.as_deref(), Some(&b"v"[..]));
    let after = store.usage().expect("usage");
    assert_eq!((after.blobs, after.packs, after.bytes), (usage.blobs, usage.packs, usage.bytes));
}

/// Fills a store, lets `hurt` at its directory while it is closed, and checks that all is there again.
fn survives(hurt: impl FnOnce(&Path)) {
    let dir = scratch();
    let store = open(dir.path());
    let large = content(8, 2 * CHUNK_BYTES + 5);
    let root = add(&store, &large).expect("add").cid;
    let blocks: Vec<Block> = (0..300).map(|seed| Block::raw(content(seed, 1000)).expect("block")).collect();
    store.put(&blocks).expect("put");
    drop(store);
    hurt(dir.path());
    let store = open(dir.path());
    for block in &blocks {
        let found = store.read(block.cid(), Audience::Local).expect("read");
        assert_eq!(found.as_ref(), Some(block));
    }
    assert_eq!(read_all(&store, &root), large);
    for cid in closure(&store, &root) {
        assert!(store.has(&cid, Audience::Local).expect("has"));
    }
    let more = add(&store, b"and it goes on").expect("add");
    assert_eq!(read_all(&store, &more.cid), b"and it goes on");
}

#[test]
fn a_deleted_index_is_built_anew() {
    survives(|dir| std::fs::remove_dir_all(dir.join("index")).expect("remove"));
}

#[test]
fn an_index_with_garbage_in_it_is_built_anew() {
    survives(|dir| {
        let database = dir.join("index/db");
        let length = std::fs::metadata(&database).expect("sled's file").len();
        let noise = content(99, length as usize);
        std::fs::write(database, noise).expect("damage");
    });
}

#[test]
fn an_index_cut_short_is_filled_up_again() {
    survives(|dir| {
        let database = dir.join("index/db");
        let file = std::fs::File::options().write(true).open(&database);
        let file = file.expect("sled's file");
        let length = file.metadata().expect("metadata").len();
        file.set_len(length / 3).expect("cut");
    });
}

#[test]
fn a_file_where_the_index_should_be_is_replaced() {
    survives(|dir| {
        std::fs::remove_dir_all(dir.join("index")).expect("remove");
        std::fs::write(dir.join("index"), b"not a directory").expect("write");
    });
}

#[test]
fn a_torn_pack_tail_is_cut_and_what_stood_before_it_stays() {
    survives(|dir| {
        let mut pack = std::fs::File::options().append(true).open(dir.join("packs/1.car")).expect("the pack");
        // The beginning of a section whose block never reached the disk.
        let torn = raw_cid(b"torn").to_bytes();
        pack.write_all(&[0xff, 0x07]).expect("write");
        pack.write_all(&torn).expect("write");
        pack.write_all(&[0; 50]).expect("write");
    });
}

#[test]
fn a_torn_tail_whose_hash_is_wrong_is_cut_too() {
    let dir = scratch();
    let store = open(dir.path());
    let good = Block::raw(*b"good").expect("block");
    store.put(std::slice::from_ref(&good)).expect("put");
    drop(store);
    let path = dir.path().join("packs/1.car");
    let whole = std::fs::metadata(&path).expect("metadata").len();
    let bad = raw_cid(b"bad!");
    let mut pack = std::fs::File::options().append(true).open(&path).expect("pack");
    pack.write_all(&[40]).expect("write");
    pack.write_all(&bad.to_bytes()).expect("write");
    pack.write_all(b"BAD!").expect("write");
    drop(pack);
    let store = open(dir.path());
    assert!(!store.has(&bad, Audience::Local).expect("has"));
    assert!(store.has(good.cid(), Audience::Local).expect("has"));
    assert_eq!(std::fs::metadata(&path).expect("metadata").len(), whole);
}

#[test]
fn a_full_pack_is_sealed_with_an_index_and_the_next_begins() {
    let dir = scratch();
    let small = Options { pack_bytes: 50_000, ..options() };
    let store = Store::open(dir.path(), small.clone()).expect("open");
    let blocks: Vec<Block> = (0..120).map(|seed| Block::raw(content(seed, 1000)).expect("block")).collect();
    for part in blocks.chunks(10) {
        store.put(part).expect("put");
    }
    assert_eq!(store.usage().expect("usage").packs, 3);
    drop(store);
    let sealed = std::fs::read(dir.path().join("packs/1.car")).expect("the pack");
    let word = |at: usize| u64::from_le_bytes(sealed[at..at + 8].try_into().expect("8 bytes"));
    let (offset, size, index) = (word(27), word(35), word(43));
    assert_eq!((offset, index), (51, 51 + size));
    assert_eq!(sealed[index as usize..][..2], [0x81, 0x08]);
    std::fs::remove_dir_all(dir.path().join("index")).expect("remove");
    let store = Store::open(dir.path(), small).expect("open");
    for block in &blocks {
        assert!(store.has(block.cid(), Audience::Local).expect("has"));
    }
}

#[test]
fn a_state_file_of_garbage_is_an_error_and_not_a_panic() {
    let dir = scratch();
    drop(open(dir.path()));
    let path = dir.path().join("state.redb");
    std::fs::write(&path, content(1, 100_000)).expect("damage");
    let error = Store::open(dir.path(), options()).err().expect("refused");
    assert!(error.to_string().contains("state.redb"), "{error}");
}

// ---- repair ----

#[test]
fn repair_takes_in_what_the_journal_lost_and_moves_aside_what_is_damaged() {
    let dir = scratch();
    let store = open(dir.path());
    let (keep, hurt) = (content(1, 2 * CHUNK_BYTES), content(2, 2 * CHUNK_BYTES));
    let kept = add(&store, &keep).expect("add");
    let damaged = add(&store, &hurt).expect("add");
    let loose = Block::raw(*b"loose").expect("block");
    store.put(std::slice::from_ref(&loose)).expect("put");
    drop(store);
    std::fs::remove_file(dir.path().join("state.redb")).expect("lose the journal");
    let name = hex::encode(damaged.blake3.expect("hashed"));
    let blob = dir.path().join("blobs").join(&name[..2]).join(&name);
    std::fs::remove_file(&blob).expect("replace");
    std::fs::write(&blob, content(3, 2 * CHUNK_BYTES)).expect("with other bytes");
    let kept_name = hex::encode(kept.blake3.expect("hashed"));
    let kept_dir = dir.path().join("blobs").join(&kept_name[..2]);
    let lost_dag = kept_dir.join(format!("{kept_name}.{}.dag", kept.cid));
    std::fs::remove_file(lost_dag).expect("lose a .dag");

    let mut steps = 0;
    let report = Store::repair(dir.path(), options(), &mut |_| steps += 1).expect("repair");
    assert_eq!((report.blobs, report.packs, report.adopted), (1, 1, 1));
    assert_eq!(report.damaged.len(), 1, "{:?}", report.damaged);
    assert!(steps >= 4);
    let store = open(dir.path());
    assert_eq!(read_all(&store, &kept.cid), keep);
    assert_eq!(store.content_hash(&kept.cid).expect("note"), kept.content_hash);
    assert!(store.has(loose.cid(), Audience::Local).expect("has"));
    let again = add(&store, &hurt).expect("add again");
    assert_eq!(again.cid, damaged.cid);
    assert_eq!(read_all(&store, &again.cid), hurt);
}

/// The journal still names the blob: its blocks must be missing, not "here and damaged", or nobody would
/// fetch them again.
#[test]
fn what_repair_moved_aside_can_be_put_again() {
    let dir = scratch();
    let store = open(dir.path());
    let bytes = content(21, 2 * CHUNK_BYTES);
    let added = add(&store, &bytes).expect("add");
    drop(store);
    let name = hex::encode(added.blake3.expect("hashed"));
    let blob = dir.path().join("blobs").join(&name[..2]).join(&name);
    std::fs::remove_file(&blob).expect("replace");
    std::fs::write(&blob, content(22, 2 * CHUNK_BYTES)).expect("with other bytes");
    let report = Store::repair(dir.path(), options(), &mut |_| ()).expect("repair");
    assert_eq!(report.damaged.len(), 1, "{:?}", report.damaged);

    let store = open(dir.path());
    let leaves: Vec<Block> = bytes.chunks(CHUNK_BYTES).map(|leaf| Block::raw(leaf).expect("block")).collect();
    assert!(!store.has(leaves[0].cid(), Audience::Local).expect("has"), "its bytes are gone");
    store.put(&leaves).expect("put what was fetched again");
    for leaf in &leaves {
        let read = store.read(leaf.cid(), Audience::Local).expect("read").expect("here");
        assert_eq!(read.bytes(), leaf.bytes());
    }
}

// ---- the model ----

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u16),
    AddFile(u8, usize),
    AddDirectory(Vec<u8>),
    Pin(u8),
    Unpin(u8),
    Publish(u8),
    Withdraw(u8),
    Reopen,
    LoseIndex,
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![
        5 => 0usize..3000,
        1 => Just(CHUNK_BYTES),
        1 => CHUNK_BYTES + 1..3 * CHUNK_BYTES
    ];
    prop_oneof![
        4 => (any::<u8>(), any::<u16>()).prop_map(|(seed, length)| Op::Put(seed, length)),
        4 => (any::<u8>(), size).prop_map(|(seed, size)| Op::AddFile(seed, size)),
        2 => proptest::collection::vec(any::<u8>(), 0..5).prop_map(Op::AddDirectory),
        2 => any::<u8>().prop_map(Op::Pin),
        1 => any::<u8>().prop_map(Op::Unpin),
        2 => any::<u8>().prop_map(Op::Publish),
        1 => any::<u8>().prop_map(Op::Withdraw),
        1 => Just(Op::Reopen),
        1 => Just(Op::LoseIndex),
    ]
}

/// What the store should hold, in plain maps.
#[derive(Default)]
struct Model {
    files: Vec<(Cid, Vec<u8>)>,
    roots: Vec<artdag_blockstore::Added>,
    blocks: BTreeMap<Cid, Vec<u8>>,
    pins: BTreeSet<Cid>,
    public: BTreeMap<Cid, BTreeSet<Cid>>,
}

impl Model {
    fn pick(&self, at: u8) -> Option<Cid> {
        let count = self.roots.len().max(1);
        self.roots.get(usize::from(at) % count).map(|added| added.cid)
    }

    fn apply(&mut self, store: &Store, op: &Op) {
        match op {
            Op::Put(seed, length) => {
                let block = Block::raw(content((*seed).into(), (*length).into())).expect("block");
                store.put(std::slice::from_ref(&block)).expect("put");
                self.blocks.insert(*block.cid(), block.bytes().to_vec());
            }
            Op::AddFile(seed, size) => {
                let bytes = content((*seed).into(), *size);
                let added = add(store, &bytes).expect("add");
                self.files.push((added.cid, bytes));
                self.roots.push(added);
            }
            Op::AddDirectory(picks) => {
                let chosen = picks.iter().enumerate().filter_map(|(n, at)| {
                    let count = self.roots.len().max(1);
                    let added = self.roots.get(usize::from(*at) % count)?;
                    Some(added.entry(format!("entry {n}")))
                });
                let added = store.add_directory(chosen.collect()).expect("directory");
                self.roots.push(added);
            }
            Op::Pin(at) => {
                if let Some(cid) = self.pick(*at) {
                    store.pin(&cid, PinKind::Direct, "p").expect("pin");
                    self.pins.insert(cid);
                }
            }
            Op::Unpin(at) => {
                if let Some(cid) = self.pick(*at) {
                    let held = store.unpin(&cid).expect("unpin");
                    assert_eq!(held, self.pins.remove(&cid));
                }
            }
            Op::Publish(at) => {
                if let Some(cid) = self.pick(*at) {
                    store.set_public(&cid, Visibility::Public).expect("publish");
                    self.public.insert(cid, closure(store, &cid));
                }
            }
            Op::Withdraw(at) => {
                if let Some(cid) = self.pick(*at) {
                    store.set_public(&cid, Visibility::Private).expect("withdraw");
                    self.public.remove(&cid);
                }
            }
            Op::Reopen | Op::LoseIndex => unreachable!("handled by the driver"),
        }
    }

    fn check(&self, store: &Store) {
        for (cid, bytes) in &self.files {
            assert_eq!(&read_all(store, cid), bytes);
            let block = store.read(cid, Audience::Local).expect("read").expect("here");
            Block::new(*cid, block.bytes()).expect("it hashes to its CID");
        }
        for (cid, bytes) in &self.blocks {
            let block = store.read(cid, Audience::Member).expect("read").expect("here");
            assert_eq!(block.bytes(), bytes);
        }
        let pins: BTreeSet<Cid> = (store.pins(None, 1000).expect("pins").into_iter()).map(|pin| pin.cid).collect();
        assert_eq!(pins, self.pins);
        let public: BTreeSet<Cid> = self.public.values().flatten().copied().collect();
        for root in &self.roots {
            for cid in closure(store, &root.cid) {
                let sees = store.has(&cid, Audience::Public).expect("has");
                assert_eq!(sees, public.contains(&cid), "{cid}");
            }
        }
        let absent = raw_cid(b"nobody put this");
        assert!(!store.has(&absent, Audience::Local).expect("has"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_store_and_a_plain_model_agree(ops in proptest::collection::vec(op(), 1..30)) {
        let dir = scratch();
        let mut store = open(dir.path());
        let mut model = Model::default();
        for op in &ops {
            match op {
                Op::Reopen | Op::LoseIndex => {
                    drop(store);
                    if matches!(op, Op::LoseIndex) {
                        std::fs::remove_dir_all(dir.path().join("index")).expect("remove");
                    }
                    store = open(dir.path());
                }
                other => model.apply(&store, other),
            }
        }
        model.check(&store);
        drop(store);
        model.check(&open(dir.path()));
    }
}

// ---- kill -9 ----

/// How many times the child is killed, and after how many acknowledgements at the latest.
const KILLS: u64 = 5;
const ACKS_BEFORE_KILL: u64 = 24;

/// The child's part: adds without end and says what was acknowledged.
#[test]
fn crash_child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return; // only meant for `what_was_acknowledged_survives_kill_9`
    };
    let Some(first) = std::env::var("ARTDAG_BLOCKSTORE_TEST_SEED").ok() else {
        return;
    };
    let first: u64 = first.parse().expect("a number");
    let store = open(Path::new(&dir));
    for seed in first.. {
        crash_step(&store, seed);
        println!("ACK {seed}");
        std::io::stdout().flush().expect("the parent listens");
    }
}

fn crash_length(seed: u64) -> usize {
    match seed % 4 {
        0 => 2 * CHUNK_BYTES + seed as usize,
        1 => 5000,
        _ => 100,
    }
}

fn crash_step(store: &Store, seed: u64) {
    let bytes = content(seed, crash_length(seed));
    if seed % 4 == 3 {
        let block = Block::raw(bytes).expect("block");
        store.put(&[block]).expect("put");
    } else {
        add(store, &bytes).expect("add");
    }
    let change = Change::Put { table: Table::Runs, key: seed.to_be_bytes().to_vec(), value: b"done".to_vec() };
    store.state().commit(vec![change]).expect("commit");
}

fn kill_after(dir: &Path, first: u64, acks: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["crash_child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .env("ARTDAG_BLOCKSTORE_TEST_SEED", first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = first;
    let heard = lines.map_while(Result::ok).filter_map(|line| {
        let (_, seed) = line.split_once("ACK ")?;
        seed.trim().parse::<u64>().ok()
    });
    for seed in heard {
        next = seed + 1;
        if next - first == acks {
            // SIGKILL at once: the child is in the middle of its next add.
            child.kill().expect("kill");
        }
    }
    child.wait().expect("reap");
    next
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = scratch();
    let mut next = 0;
    for kill in 0..KILLS {
        let acks = 1 + (kill * 7) % ACKS_BEFORE_KILL;
        let reached = kill_after(dir.path(), next, acks);
        assert!(reached >= next + acks, "the child ended early");
        next = reached;
        let store = open(dir.path());
        for seed in 0..next {
            let bytes = content(seed, crash_length(seed));
            let key = seed.to_be_bytes();
            assert!(store.state().get(Table::Runs, &key).expect("get").is_some());
            if bytes.len() <= CHUNK_BYTES {
                let block = store.read(&raw_cid(&bytes), Audience::Local).expect("read");
                assert_eq!(block.expect("acknowledged").bytes(), bytes);
            } else {
                // Adding it again must find it: the same CID, and no new bytes on disk.
                let before = store.usage().expect("usage").bytes;
                let added = add(&store, &bytes).expect("add");
                assert_eq!(store.usage().expect("usage").bytes, before);
                assert_eq!(read_all(&store, &added.cid), bytes);
            }
        }
        assert!(file_names(&dir.path().join("incoming")).is_empty());
        // The seed that was under way when the child died may be half known; it is done again next time.
    }
}

// ---- a full disk ----

#[test]
fn an_add_that_would_eat_the_reserve_is_refused_with_advice() {
    let dir = scratch();
    let greedy = Options { reserve_bytes: u64::MAX / 2, ..options() };
    let store = Store::open(dir.path(), greedy).expect("open");
    let block = Block::raw(*b"x").expect("block");
    let errors = [
        add(&store, b"x").expect_err("full"),
        store.put(&[block]).expect_err("full"),
        store.add_directory(vec![]).expect_err("full"),
    ];
    for error in errors {
        assert!(matches!(error, AddError::NoSpace { .. }));
        assert!(error.to_string().contains("free some disk"), "{error}");
    }
    let change = Change::Delete { table: Table::Node, key: vec![1] };
    store.state().commit(vec![change]).expect("state still works");
}

/// The child's part: a store on a file system of 40 MiB, filled to the brim.
#[test]
fn full_disk_child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return; // only meant for `a_full_disk_is_an_error_and_the_store_goes_on`
    };
    if std::env::var_os("ARTDAG_BLOCKSTORE_TEST_FULL").is_none() {
        return;
    }
    let disk = PathBuf::from(dir);
    let dir = disk.join("store");
    let tight = Options { reserve_bytes: 0, ..options() };
    let store = Store::open(&dir, tight.clone()).expect("open");
    let filler = disk.join("filler");
    std::fs::write(&filler, vec![1; 12 << 20]).expect("filler");
    let mut kept = Vec::new();
    let refusal = (0..100).find_map(|seed| {
        let bytes = content(seed, 3 * CHUNK_BYTES / 2 + seed as usize);
        match add(&store, &bytes) {
            Ok(added) => {
                kept.push((added.cid, bytes));
                None
            }
            Err(error) => Some(error),
        }
    });
    let refusal = refusal.expect("the disk fills up");
    assert!(matches!(refusal, AddError::NoSpace { .. }), "{refusal:?}");
    assert!(!kept.is_empty());
    assert!(file_names(&dir.join("incoming")).is_empty(), "half a file was left");
    // Small things until not even they fit.
    let small = (1000..100_000).find_map(|seed| {
        let block = Block::raw(content(seed, 100_000)).expect("block");
        store.put(&[block]).err()
    });
    let small = small.expect("the disk fills up");
    assert!(matches!(small, AddError::NoSpace { .. }), "{small:?}");
    std::fs::remove_file(&filler).expect("make room");
    for (cid, bytes) in &kept {
        assert_eq!(&read_all(&store, cid), bytes);
    }
    let after = content(7777, 2 * CHUNK_BYTES);
    let added = add(&store, &after).expect("there is room again");
    assert_eq!(read_all(&store, &added.cid), after);
    drop(store);
    let store = Store::open(&dir, tight).expect("reopen");
    for (cid, bytes) in kept.iter().chain([&(added.cid, after)]) {
        assert_eq!(&read_all(&store, cid), bytes);
    }
    println!("FULL DISK SURVIVED");
}

#[test]
fn a_full_disk_is_an_error_and_the_store_goes_on() {
    let dir = scratch();
    let script = "mount -t tmpfs -o size=40m tmpfs \"$0\" && exec \"$@\"";
    let run = |unshare: &[&str]| {
        Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", script])
            .arg(dir.path())
            .arg(std::env::current_exe().expect("this binary"))
            .args(["full_disk_child", "--exact", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .env("ARTDAG_BLOCKSTORE_TEST_FULL", "1")
            .output()
    };
    let may_mount = |unshare: &[&str]| {
        let probe =
            Command::new("unshare").args(unshare).args(["mount", "-t", "tmpfs", "tmpfs"]).arg(dir.path()).output();
        probe.is_ok_and(|done| done.status.success())
    };
    let ways: [&[&str]; 2] = [&["-m"], &["-Urm"]];
    let Some(way) = ways.into_iter().find(|way| may_mount(way)) else {
        eprintln!("skipped: this machine gives us no mount namespace");
        return;
    };
    let done = run(way).expect("unshare runs");
    let said = String::from_utf8_lossy(&done.stdout);
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{complaint}");
    assert!(said.contains("FULL DISK SURVIVED"), "{said}");
}
