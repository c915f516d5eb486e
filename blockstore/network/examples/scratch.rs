use artdag_blockstore::*;
use artdag_network::*;
use std::io::Write;
use futures::stream::{FuturesUnordered, StreamExt};
#[tokio::main]
async fn main() {
    let mode = std::env::args().nth(1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let mk = |seed: u8, listen: &str, store: Store| Args { identity: [seed; 32], listen: vec![listen.into(), listen.replace("tcp/0", "udp/0/quic-v1")], namespace: [1; 32], membership: [1; 32], gossip: [1; 32], key_epoch: 1, discovery: Discovery::Off, agent: "scratch".into(), store };
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let add = |store: &Store, n: usize| { let mut w = store.file_writer().unwrap(); let mut s = 1u64; let data: Vec<u8> = (0..n / 8).flat_map(|_| { s ^= s << 13; s ^= s >> 7; s ^= s << 17; s.to_le_bytes() }).collect(); w.write_all(&data).unwrap(); w.finish().unwrap().cid };
    let (net, _ev) = start(mk(rand::random(), "/ip4/127.0.0.1/tcp/0", store.clone())).await.unwrap();
    match mode.as_str() {
        "serve" => {
            let cid = add(&store, 20 << 20);
            store.set_public(&cid, Visibility::Public).unwrap();
            println!("{cid}");
            for a in net.listen_addresses().await { println!("{a}"); }
            tokio::signal::ctrl_c().await.unwrap();
            eprintln!("{:?}", net.metrics());
            net.shutdown().await;
        }
        "get" => {
            let root: Cid = std::env::args().nth(2).unwrap().parse().unwrap();
            let addr = std::env::args().nth(3).unwrap();
            let peer = net.dial(&addr).await.unwrap();
            let t = std::time::Instant::now();
            let r = all(&net, root, peer, Scope::Anyone).await;
            println!("{r:?} {:?} {:?}", t.elapsed(), net.metrics());
            let missing = *Block::raw(b"qqqq".to_vec()).unwrap().cid();
            let t = std::time::Instant::now();
            println!("{:?} {:?}", net.fetch(&missing, Scope::Anyone, &[]).await, t.elapsed());
            println!("{:?}", net.who_has(&root, Scope::Anyone, std::time::Duration::from_secs(3)).await.len());
            println!("{:?}", net.peers().await);
            net.shutdown().await;
        }
        "speed" => {
            let listen = std::env::args().nth(2).unwrap();
            let n: usize = std::env::args().nth(3).unwrap().parse().unwrap();
            let dir2 = tempfile::tempdir().unwrap();
            let s2 = Store::open(dir2.path(), Options::default()).unwrap();
            let mut a2 = mk(2, "/ip4/127.0.0.1/tcp/0", s2); a2.listen = vec![listen];
            let (net2, mut ev2) = start(a2).await.unwrap();
            let cid = add(&store, n << 20);
            let peer = net.dial(&net2.listen_addresses().await[0]).await.unwrap(); let _ = peer;
            loop { if let Some(Event::MemberJoined(_)) = ev2.recv().await { break } }
            let t = std::time::Instant::now();
            let r = all(&net2, cid, net.local_peer(), Scope::Members).await;
            println!("{r:?} {:?} {:.0} MB/s", t.elapsed(), r.0 as f64 / 1e6 / t.elapsed().as_secs_f64());
            net.shutdown().await; net2.shutdown().await;
        }
        _ => {}
    }
}
async fn all(from: &Network, root: Cid, hint: PeerId, scope: Scope) -> (usize, usize) {
    let mut wanted = vec![root];
    let mut running = FuturesUnordered::new();
    let (mut bytes, mut blocks) = (0, 0);
    loop {
        while running.len() < 64 && let Some(cid) = wanted.pop() {
            running.push(async move { from.fetch(&cid, scope, &[hint]).await });
        }
        let Some(block) = running.next().await else { return (bytes, blocks) };
        let block = block.expect("fetched");
        let links = artdag_blockstore::links(&block).unwrap();
        blocks += 1;
        bytes += if links.is_empty() { block.bytes().len() } else { 0 };
        wanted.extend(links);
    }
}
