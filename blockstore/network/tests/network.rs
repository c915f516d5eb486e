//! Networks on loopback, in one process: what two or three real nodes do with each other.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use artdag_blockstore::{Options, Store, Visibility};
use artdag_network::{
    Args, Block, Discovery, Event, Events, FetchError, Network, OpenError, PeerId, Plane, Scope, StartError, start,
};
use futures::stream::{FuturesUnordered, StreamExt};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Nothing here may take longer; it only turns a hang into a failure.
const LONGEST: Duration = Duration::from_secs(60);

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

struct Node {
    network: Network,
    events: Events,
    store: Store,
    _directory: TempDir,
}

/// A node of the cluster with this key.
async fn node(seed: u8, key: u8, listen: &str) -> Node {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path(), Options::default()).expect("a store");
    let args = args(seed, key, listen, store.clone());
    let (network, events) = start(args).await.expect("a network");
    Node { network, events, store, _directory: directory }
}

fn args(seed: u8, key: u8, listen: &str, store: Store) -> Args {
    Args {
        identity: [seed; 32],
        listen: vec![listen.to_owned()],
        namespace: [1; 32],
        membership: [key; 32],
        gossip: [key; 32],
        key_epoch: 1,
        discovery: Discovery::Off,
        agent: "artdag/test".to_owned(),
        store,
    }
}

impl Node {
    fn peer(&self) -> PeerId {
        self.network.local_peer()
    }

    async fn address(&self) -> String {
        self.network.listen_addresses().await.remove(0)
    }

    async fn dial(&self, other: &Node) {
        let peer = self.network.dial(&other.address().await).await;
        assert_eq!(peer.expect("connected"), other.peer());
    }

    /// Waits for an event.
    async fn wait<T>(&mut self, test: impl Fn(&Event) -> Option<T>) -> T {
        soon(async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if let Some(found) = test(&event) {
                    return found;
                }
            }
        })
        .await
    }

    async fn joined(&mut self, other: PeerId) {
        self.wait(|event| (*event == Event::MemberJoined(other)).then_some(())).await;
    }
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(LONGEST, work).await.expect("in time")
}

async fn members(a: u8, b: u8, listen: &str) -> (Node, Node) {
    let (mut a, mut b) = (node(a, 1, listen).await, node(b, 1, listen).await);
    a.dial(&b).await;
    let (peer_a, peer_b) = (a.peer(), b.peer());
    a.joined(peer_b).await;
    b.joined(peer_a).await;
    (a, b)
}

/// A file of that many bytes that does not repeat, in the store; its root.
fn add(store: &Store, bytes: usize) -> artdag_network::Cid {
    let mut writer = store.file_writer().expect("a writer");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let data: Vec<u8> = words.take(bytes / 8).flatten().collect();
    std::io::Write::write_all(&mut writer, &data).expect("written");
    writer.finish().expect("added").cid
}

/// Fetches everything below a root, 64 blocks at a time; the bytes of its leaves and the count of blocks.
async fn fetch_all(from: &Network, root: artdag_network::Cid, hint: PeerId) -> (usize, usize) {
    let mut wanted = vec![root];
    let mut running = FuturesUnordered::new();
    let (mut bytes, mut blocks) = (0, 0);
    loop {
        while running.len() < 64
            && let Some(cid) = wanted.pop()
        {
            running.push(async move { from.fetch(&cid, Scope::Members, &[hint]).await });
        }
        let Some(block) = running.next().await else {
            return (bytes, blocks);
        };
        let block = block.expect("fetched");
        let links = artdag_blockstore::links(&block).expect("a block we understand");
        blocks += 1;
        bytes += if links.is_empty() { block.bytes().len() } else { 0 };
        wanted.extend(links);
    }
}

async fn a_big_file_travels_over(listen: &str) {
    const BYTES: usize = 20 << 20;
    let (a, b) = members(1, 2, listen).await;
    let root = add(&a.store, BYTES);
    let (bytes, blocks) = soon(fetch_all(&b.network, root, a.peer())).await;
    assert_eq!(bytes, BYTES);
    let metrics = b.network.metrics();
    assert_eq!(metrics.blocks_received as usize, blocks);
    assert_eq!(metrics.duplicate_blocks, 0);
    assert_eq!((metrics.members, metrics.peers), (1, 1));
    soon(a.network.shutdown()).await;
    soon(b.network.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_mebibytes_travel_over_tcp() {
    a_big_file_travels_over(TCP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_mebibytes_travel_over_quic() {
    a_big_file_travels_over(QUIC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused_with_a_reason_and_stays_a_public_peer() {
    let (mut a, mut b) = (node(1, 1, TCP).await, node(2, 9, TCP).await);
    let private = add(&a.store, 4096);
    let public = add(&a.store, 8192);
    a.store.set_public(&public, Visibility::Public).expect("marked");
    a.dial(&b).await;
    for (node, other) in [(&mut a, PeerId::from_seed(&[2; 32])), (&mut b, PeerId::from_seed(&[1; 32]))] {
        let reason = node
            .wait(|event| match event {
                Event::MemberRefused { peer, reason } if *peer == other => Some(reason.clone()),
                _ => None,
            })
            .await;
        assert!(reason.contains("cluster key"), "{reason}");
        assert!(node.network.members().is_empty());
    }
    let fetched = soon(b.network.fetch(&public, Scope::Anyone, &[])).await;
    assert_eq!(*fetched.expect("public").cid(), public);
    let fetched = soon(b.network.fetch(&private, Scope::Anyone, &[a.peer()])).await;
    assert_eq!(fetched, Err(FetchError::NotFound(private)));
    let holders = b.network.who_has(&private, Scope::Anyone, Duration::from_secs(5));
    assert!(soon(holders).await.is_empty(), "not even HAVE is told");
    let fetched = soon(b.network.fetch(&public, Scope::Members, &[a.peer()])).await;
    assert_eq!(fetched, Err(FetchError::NotFound(public)), "a stranger is not asked");
    let opened = b.network.open(&a.peer(), Plane::Grpc).await;
    assert!(matches!(opened, Err(OpenError::NotMember)));
    let peers = a.network.peers().await;
    assert!(peers.len() == 1 && !peers[0].member && peers[0].peer == b.peer());
    soon(a.network.shutdown()).await;
    soon(b.network.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dialled_may_fetch_at_once() {
    let a = node(20, 1, TCP).await;
    let public = add(&a.store, 8192);
    a.store.set_public(&public, Visibility::Public).expect("marked");
    for seed in 21..31 {
        let b = node(seed, 9, TCP).await;
        b.dial(&a).await;
        let fetched = soon(b.network.fetch(&public, Scope::Anyone, &[])).await;
        assert_eq!(*fetched.expect("public").cid(), public);
        soon(b.network.shutdown()).await;
    }
    soon(a.network.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_see_private_blocks_and_who_has_them() {
    let (a, b) = members(3, 4, TCP).await;
    let root = add(&a.store, 4096);
    let block = soon(b.network.fetch(&root, Scope::Members, &[])).await.expect("fetched");
    assert_eq!(*block.cid(), root);
    let patience = Duration::from_secs(10);
    let holders = soon(b.network.who_has(&root, Scope::Members, patience)).await;
    assert_eq!(holders, [a.peer()]);
    let missing = *Block::raw(*b"nobody has this").expect("small").cid();
    let fetched = soon(b.network.fetch(&missing, Scope::Members, &[a.peer()])).await;
    assert_eq!(fetched, Err(FetchError::NotFound(missing)));
    assert!(soon(b.network.who_has(&missing, Scope::Members, patience)).await.is_empty());
    soon(a.network.shutdown()).await;
    assert_eq!(soon(b.network.fetch(&missing, Scope::Members, &[])).await, Err(FetchError::NotFound(missing)));
    soon(b.network.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cid_that_holds_its_own_bytes_needs_no_peer() {
    let a = node(5, 1, TCP).await;
    let cid: artdag_network::Cid = "bafkqaaa".parse().expect("the empty identity cid");
    let block = a.network.fetch(&cid, Scope::Members, &[]).await.expect("inline");
    assert!(block.bytes().is_empty());
    soon(a.network.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_reaches_members_and_nobody_else() {
    let (mut a, mut b) = members(6, 7, TCP).await;
    let mut outsider = node(8, 9, TCP).await;
    outsider.dial(&a).await;
    let refused = |event: &Event| matches!(event, Event::MemberRefused { .. }).then_some(());
    outsider.wait(refused).await;

    let gossip = |event: &Event| match event {
        Event::Gossip { from, data } => Some((*from, data.clone())),
        _ => None,
    };
    // The subscription of a new member may still be under way: publish until it is heard.
    let publisher = a.network.clone();
    let publishing = tokio::spawn(async move {
        let mut clock = tokio::time::interval(Duration::from_millis(50));
        loop {
            clock.tick().await;
            publisher.publish(b"news".to_vec()).await.expect("published");
        }
    });
    assert_eq!(b.wait(gossip).await, (a.peer(), b"news".to_vec()));
    publishing.abort();

    b.network.publish(vec![5; artdag_network::GOSSIP_BYTES]).await.expect("the bound itself");
    let (from, data) = a.wait(gossip).await;
    assert_eq!((from, data.len()), (b.peer(), artdag_network::GOSSIP_BYTES));
    assert!(b.network.publish(vec![5; artdag_network::GOSSIP_BYTES + 1]).await.is_err());

    // What the outsider publishes reaches nobody, and it has heard nothing.
    outsider.network.publish(b"rumour".to_vec()).await.expect("it has nobody to tell");
    soon(outsider.network.shutdown()).await;
    while let Some(event) = outsider.events.recv().await {
        assert!(gossip(&event).is_none(), "an outsider heard {event:?}");
    }
    let (peer, metrics) = (a.peer(), a.network.metrics());
    assert_eq!(metrics.gossip_rejected, 0, "{peer} was never even offered it");
    soon(a.network.shutdown()).await;
    soon(b.network.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn planes_carry_streams_between_members() {
    let (a, b) = members(9, 10, TCP).await;
    let mut incoming = b.network.accept(Plane::Reconcile);
    let echo = tokio::spawn(async move {
        let mut served = 0;
        while served < 16 {
            let (peer, stream) = incoming.next().await.expect("a stream");
            let (mut reader, mut writer) = tokio::io::split(stream);
            tokio::io::copy(&mut reader, &mut writer).await.expect("echoed");
            writer.shutdown().await.expect("closed");
            assert_eq!(peer, PeerId::from_seed(&[9; 32]));
            served += 1;
        }
        incoming
    });
    let peer = b.peer();
    let call = |number: u8| {
        let network = a.network.clone();
        async move {
            let mut stream = network.open(&peer, Plane::Reconcile).await.expect("opened");
            stream.write_all(&[number; 1000]).await.expect("written");
            stream.shutdown().await.expect("closed");
            let mut back = Vec::new();
            stream.read_to_end(&mut back).await.expect("read");
            assert_eq!(back, [number; 1000]);
        }
    };
    // All at once: none may be lost on the way to the acceptor.
    soon(futures::future::join_all((0..16).map(call))).await;
    let _incoming = soon(echo).await.expect("echo ended");
    // Nobody accepts gRPC there: the stream is reset, not left hanging.
    if let Ok(mut stream) = a.network.open(&peer, Plane::Grpc).await {
        let mut back = Vec::new();
        let ended = soon(stream.read_to_end(&mut back)).await;
        assert!(ended.is_err() || back.is_empty());
    }
    soon(a.network.shutdown()).await;
    soon(b.network.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_member_find_each_other_and_a_lost_one_comes_back() {
    let (mut a, mut b, mut c) = (node(11, 1, TCP).await, node(12, 1, TCP).await, node(13, 1, TCP).await);
    b.dial(&a).await;
    c.dial(&a).await;
    let (peer_b, peer_c) = (b.peer(), c.peer());
    b.joined(peer_c).await;
    c.joined(peer_b).await;
    let all = BTreeSet::from([peer_b, peer_c]);
    let joined = |event: &Event| match event {
        Event::MemberJoined(peer) => Some(*peer),
        _ => None,
    };
    let seen = BTreeSet::from([a.wait(joined).await, a.wait(joined).await]);
    assert_eq!(seen, all);

    // C goes and comes back at the same place; nobody tells the others to dial.
    let address = c.address().await;
    let listen = address.split("/p2p/").next().expect("an address").to_owned();
    let Node { network, events, store, _directory } = c;
    soon(network.shutdown()).await;
    drop(events);
    b.wait(|event| (*event == Event::MemberLeft(peer_c)).then_some(())).await;
    let (network, events) = start(args(13, 1, &listen, store.clone())).await.expect("again");
    c = Node { network, events, store, _directory };
    b.joined(peer_c).await;
    c.joined(peer_b).await;
    for node in [a, b, c] {
        soon(node.network.shutdown()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_stored_later_reaches_who_waits_for_it() {
    let (a, b) = members(14, 15, TCP).await;
    let late = Block::raw(vec![3; 70_000]).expect("within the bound");
    let wanted = *late.cid();
    let fetched = soon(b.network.fetch(&wanted, Scope::Members, &[])).await;
    assert_eq!(fetched, Err(FetchError::NotFound(wanted)));
    a.store.put(std::slice::from_ref(&late)).expect("stored");
    a.network.notify_stored(&[wanted]).await;
    assert_eq!(soon(b.network.fetch(&wanted, Scope::Members, &[])).await, Ok(late));
    soon(a.network.shutdown()).await;
    soon(b.network.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_a_bad_address_are_named() {
    let a = node(16, 1, TCP).await;
    let b = node(17, 1, QUIC).await;
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path(), Options::default()).expect("a store");
    for taken in [a.address().await, b.address().await] {
        let listen = taken.split("/p2p/").next().expect("an address").to_owned();
        match start(args(18, 1, &listen, store.clone())).await {
            Err(StartError::AddressInUse { address }) => assert_eq!(address, listen),
            other => panic!("{listen} was taken twice: {:?}", other.err()),
        }
    }
    for bad in ["nonsense", "/ip4/127.0.0.1/sctp/5"] {
        let started = start(args(18, 1, bad, store.clone())).await;
        assert!(matches!(started, Err(StartError::BadAddress { .. })), "{bad}");
    }
    let dialled = a.network.dial("/ip4/127.0.0.1/tcp/1").await;
    assert!(dialled.expect_err("nobody is there").to_string().contains("cannot reach"));
    soon(a.network.shutdown()).await;
    soon(b.network.shutdown()).await;
}
