//! One node, wired: the only file that sees everything. It opens what lies on disk, joins the
//! network, starts the parts, binds the edges last and then says in `node.json` that it is ready.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use artdag_blockstore::{OpenError, Options, StateError, Store};
use artdag_core::{
    action::Toolset,
    identity::{Namespace, Origin},
    lease::arbiter::Start,
    records::{MemberRecord, Record},
};
use artdag_network::{Args as NetworkArgs, Event, Events, Network, StartError};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::watch};
use tracing::{info, warn};

use crate::{
    AGENT, clock,
    config::{Config, Discovery},
    executor::{self, Executor},
    fetch::Fetcher,
    http,
    lease::{Leases, LeasesArgs, origin_of},
    members::Directory,
    metrics::Metrics,
    records::{self, RecordsArgs, RecordsHandle, Unstarted},
    rpc::{
        channel::MemberChannels,
        edge::{self, BindError, EdgeArgs},
        members as member_edge,
    },
    scheduler::{
        Runs, RunsArgs,
        worker::{Worker, WorkerArgs},
    },
    secrets::{Secrets, SecretsError},
    task::{Tasks, blocking},
};

/// How long a member's word of itself counts; it is said again at half of this.
const MEMBER_TTL_MS: u64 = 6 * 60 * 60 * 1000;
/// How long to wait before an address that did not answer is dialled again.
const REDIAL_MS: u64 = 2000;
/// The network says goodbye within this.
const NETWORK_STOP_MS: u64 = 500;
/// The key rotates later; the first one has this epoch.
const FIRST_KEY_EPOCH: u32 = 1;

/// Why a node did not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data directory cannot be made or written.
    #[error("cannot use the data directory {path}: {source}; give another with --data-dir or free some space")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The state cannot be read.
    #[error("the node's state cannot be read: {0}; see the runbook, chapter repair")]
    State(#[from] StateError),
    /// An address to join is none.
    #[error("--join: `{0}` is no multiaddress and no invite; write for example /ip4/192.0.2.1/tcp/7700")]
    Join(String),
    /// The keys cannot be had.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The network cannot be started.
    #[error(transparent)]
    Network(#[from] StartError),
    /// A port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// What a running node says of itself in `<data>/node.json`, written when it is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Its peer id.
    pub peer_id: String,
    /// Its process.
    pub pid: u32,
    /// Multiaddresses, each with `/p2p/PEER_ID`.
    pub listen: Vec<String>,
    /// Where clients call.
    pub grpc: String,
    /// Metrics and health.
    pub http: String,
    /// Files for browsers.
    pub gateway: String,
    /// Tells one circle of members from another; says nothing of the key.
    pub circle: String,
}

impl Ready {
    /// Whether the process that wrote it is still there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let proc = Path::new("/proc");
        // Where there is no such place nothing can be said.
        !proc.join("self").exists() || proc.join(self.pid.to_string()).exists()
    }
}

/// A running node.
pub struct Node {
    tasks: Tasks,
    network: Network,
    data_dir: PathBuf,
    ready: Ready,
}

/// What can be run here, and by what.
type Executors = Vec<(Toolset, Arc<dyn Executor>)>;

/// The ports, bound when everything behind them runs; the one of the clients last.
struct Ports {
    http: TcpListener,
    gateway: TcpListener,
    grpc: TcpListener,
}

impl Ports {
    async fn bind(config: &Config) -> Result<Self, BindError> {
        Ok(Self {
            http: edge::bind("--http", config.http).await?,
            gateway: edge::bind("--gateway", config.gateway).await?,
            grpc: edge::bind("--grpc", config.grpc).await?,
        })
    }
}

/// What the parts are made from.
struct Parts {
    own: Origin,
    namespace: Namespace,
    circle: String,
    config: Config,
    store: Store,
    network: Network,
    records: RecordsHandle,
    metrics: Arc<Metrics>,
    tasks: Tasks,
}

impl Node {
    /// Starts everything. When it returns, clients are answered.
    ///
    /// # Errors
    /// See [`NodeError`]; nothing keeps running then.
    pub async fn start(config: Config) -> Result<Self, NodeError> {
        if let Some(wrong) = config.join.iter().find(|address| !artdag_network::is_address(address)) {
            return Err(NodeError::Join(wrong.clone()));
        }
        let data_dir = config.data_dir.clone();
        let opened = {
            let config = config.clone();
            blocking(move || open(&config))
        };
        // Asking ffmpeg its version takes longer than opening an empty store, so both at once.
        let (opened, executors) = tokio::join!(opened, probe());
        let (secrets, store) = opened?;
        let tasks = Tasks::new();
        let started = Self::start_parts(config, &secrets, store, executors, &tasks).await;
        match started {
            Ok((network, ready)) => Ok(Self { tasks, network, data_dir, ready }),
            Err(error) => {
                tasks.stop().await;
                Err(error)
            }
        }
    }

    /// Where it is reached.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Ends everything: running steps are killed, leases given back, files closed.
    pub async fn stop(self) {
        // Gone first, so that nobody takes a stopping node for a running one.
        let _ = fs::remove_file(self.data_dir.join("node.json"));
        if !self.tasks.stop().await {
            warn!("some tasks did not end in time");
        }
        if clock::within_ms(NETWORK_STOP_MS, self.network.shutdown()).await.is_none() {
            warn!("the network did not end in time");
        }
    }

    async fn start_parts(
        config: Config,
        secrets: &Secrets,
        store: Store,
        executors: Executors,
        tasks: &Tasks,
    ) -> Result<(Network, Ready), NodeError> {
        let key = SigningKey::from_bytes(&secrets.identity);
        let own = Origin(key.verifying_key().to_bytes());
        let metrics = Arc::new(Metrics::default());
        let args = RecordsArgs { own, key, store: store.clone(), metrics: metrics.clone() };
        let (records, unstarted) = blocking(move || records::open(args)).await?;
        let (network, events) = artdag_network::start(network_args(&config, secrets, store.clone())).await?;
        let namespace = Namespace(secrets.namespace);
        let circle = secrets.circle();
        let (network_of_parts, tasks) = (network.clone(), tasks.clone());
        let parts = Parts { own, namespace, circle, config, store, network: network_of_parts, records, metrics, tasks };
        let ready = match parts.start(events, unstarted, executors).await {
            Ok(ready) => ready,
            Err(error) => {
                network.shutdown().await;
                return Err(error);
            }
        };
        Ok((network, ready))
    }
}

impl Parts {
    async fn start(self, events: Events, unstarted: Unstarted, executors: Executors) -> Result<Ready, NodeError> {
        let toolsets: Vec<String> = executors.iter().map(|(toolset, _)| toolset.to_string()).collect();
        let channels = Arc::new(MemberChannels::new(self.network.clone()));
        let fetcher = Fetcher::new(self.store.clone(), self.network.clone(), self.metrics.clone());
        let leases = Arc::new(Leases::new(LeasesArgs {
            own: self.own,
            life: clock::unix_ms(),
            start: if self.config.join.is_empty() { Start::Alone } else { Start::Joining },
            network: self.network.clone(),
            channels: channels.clone(),
            records: self.records.clone(),
            metrics: self.metrics.clone(),
        }));
        let worker = Arc::new(self.worker(executors, fetcher.clone(), leases.clone()).await?);
        let directory = Arc::new(Directory::new(self.own, self.network.clone(), self.records.clone(), worker.clone()));
        let (changed, membership) = watch::channel(0);
        let runs = Arc::new(Runs::new(RunsArgs {
            own: self.own,
            namespace: self.namespace,
            store: self.store.clone(),
            fetcher: fetcher.clone(),
            records: self.records.clone(),
            directory: directory.clone(),
            channels: channels.clone(),
            worker: worker.clone(),
            metrics: self.metrics.clone(),
            tasks: self.tasks.clone(),
            membership,
        }));
        unstarted.start(&self.network, &self.tasks);
        self.introduce(toolsets).await;
        self.follow(events, leases.clone(), channels, changed);
        self.tasks.spawn_until_stop("leases", {
            let leases = leases.clone();
            async move { leases.renew().await }
        });
        self.join_others();
        member_services(&self, worker, leases);
        runs.resume().await?;
        let ports = Ports::bind(&self.config).await?;
        let ready = self.ready(&ports).await;
        self.edges(ports, fetcher, directory, runs);
        write_ready(&self.config.data_dir, &ready)?;
        info!(peer_id = ready.peer_id, grpc = ready.grpc, gateway = ready.gateway, "ready");
        Ok(ready)
    }

    async fn worker(&self, executors: Executors, fetcher: Fetcher, leases: Arc<Leases>) -> Result<Worker, NodeError> {
        let workspaces = self.config.data_dir.join("work");
        let path = workspaces.clone();
        // Whatever lies here belongs to a process that is gone.
        let emptied = blocking(move || {
            if path.exists() {
                fs::remove_dir_all(&path)?;
            }
            fs::create_dir_all(&path)
        });
        emptied.await.map_err(|source| NodeError::DataDir { path: workspaces.clone(), source })?;
        Ok(Worker::new(WorkerArgs {
            own: self.own,
            namespace: self.namespace,
            store: self.store.clone(),
            fetcher,
            records: self.records.clone(),
            leases,
            executors,
            workspaces,
            slots: self.config.slots,
            metrics: self.metrics.clone(),
        }))
    }

    /// Says what this node offers, and says it again before it expires.
    async fn introduce(&self, toolsets: Vec<String>) {
        let (records, slots) = (self.records.clone(), self.config.slots);
        let addresses = self.network.listen_addresses().await;
        let store = self.store.clone();
        let say = move || {
            let (records, toolsets, addresses) = (records.clone(), toolsets.clone(), addresses.clone());
            let store = store.clone();
            async move {
                let free_disk = blocking(move || store.usage().map_or(0, |usage| usage.free_bytes)).await;
                let expires_ms = clock::unix_ms() + MEMBER_TTL_MS;
                let said = MemberRecord { toolsets, slots, running: 0, addresses, free_disk, expires_ms };
                if let Err(error) = records.publish(Record::Member(said)).await {
                    warn!(%error, "the others do not know what this node offers");
                }
            }
        };
        // Before clients are answered, so that a run submitted at once finds this node's tools.
        say().await;
        self.tasks.spawn_until_stop("introduce", async move {
            loop {
                clock::sleep_ms(MEMBER_TTL_MS / 2).await;
                say().await;
            }
        });
    }

    /// Takes in what the network says.
    fn follow(
        &self,
        mut events: Events,
        leases: Arc<Leases>,
        channels: Arc<MemberChannels>,
        changed: watch::Sender<u64>,
    ) {
        let records = self.records.clone();
        self.tasks.spawn_until_stop("network events", async move {
            let mut news = records.news();
            loop {
                let event = tokio::select! {
                    event = events.recv() => event,
                    Ok(()) = news.changed() => {
                        changed.send_modify(|count| *count += 1);
                        continue;
                    }
                };
                match event {
                    Some(Event::Gossip { from, data }) => {
                        if let Err(reject) = records.receive(data).await {
                            tracing::debug!(%from, %reject, "a batch was not taken");
                        }
                    }
                    Some(Event::MemberJoined(peer)) => {
                        info!(%peer, "member joined");
                        origin_of(&peer).into_iter().for_each(|origin| leases.member_joined(origin));
                        changed.send_modify(|count| *count += 1);
                    }
                    Some(Event::MemberLeft(peer)) => {
                        info!(%peer, "member left");
                        channels.forget(&peer);
                        origin_of(&peer).into_iter().for_each(|origin| leases.member_left(origin));
                        changed.send_modify(|count| *count += 1);
                    }
                    Some(Event::MemberRefused { peer, reason }) => {
                        warn!(%peer, %reason, "refused as a member; it is served as a public peer");
                    }
                    Some(Event::PeerConnected(_) | Event::PeerDisconnected(_)) => {}
                    None => return,
                }
            }
        });
    }

    /// Dials what it was told to join until each has answered once; the network keeps members.
    fn join_others(&self) {
        for address in self.config.join.clone() {
            let network = self.network.clone();
            self.tasks.spawn_until_stop("join", async move {
                while let Err(error) = network.dial(&address).await {
                    warn!(address, %error, "cannot join yet, trying again");
                    clock::sleep_ms(REDIAL_MS).await;
                }
            });
        }
    }

    fn edges(&self, ports: Ports, fetcher: Fetcher, directory: Arc<Directory>, runs: Arc<Runs>) {
        let observed =
            http::Observed { metrics: self.metrics.clone(), network: self.network.clone(), store: self.store.clone() };
        self.tasks.spawn("http edge", http::serve(ports.http, http::observe_router(observed), self.tasks.clone()));
        let gateway = http::gateway::router(fetcher.clone());
        self.tasks.spawn("gateway edge", http::serve(ports.gateway, gateway, self.tasks.clone()));
        let services = edge::Services::new(edge::Behind {
            store: self.store.clone(),
            records: self.records.clone(),
            tasks: self.tasks.clone(),
            fetcher,
            directory,
            runs,
        });
        let args = EdgeArgs {
            listener: ports.grpc,
            token: self.config.token.clone(),
            metrics: self.metrics.clone(),
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn("client edge", edge::serve(args, services));
    }

    async fn ready(&self, ports: &Ports) -> Ready {
        let text = |listener: &TcpListener| listener.local_addr().map(|at| at.to_string()).unwrap_or_default();
        Ready {
            peer_id: self.network.local_peer().to_string(),
            pid: std::process::id(),
            listen: self.network.listen_addresses().await,
            grpc: text(&ports.grpc),
            http: text(&ports.http),
            gateway: text(&ports.gateway),
            circle: self.circle.clone(),
        }
    }
}

fn member_services(parts: &Parts, worker: Arc<Worker>, leases: Arc<Leases>) {
    let incoming = parts.network.accept(artdag_network::Plane::Grpc);
    let services = member_edge::Services::new(worker, leases, parts.tasks.clone());
    parts.tasks.spawn("member edge", member_edge::serve(incoming, services, parts.tasks.clone()));
}

/// Which executors work here. One that does not is said, not fatal.
async fn probe() -> Executors {
    let mut found = Vec::new();
    for body in executor::all() {
        match body.probe().await {
            Ok(toolset) => found.push((toolset, body)),
            Err(unavailable) => warn!("{unavailable}"),
        }
    }
    found
}

fn open(config: &Config) -> Result<(Secrets, Store), NodeError> {
    let broken = |source| NodeError::DataDir { path: config.data_dir.clone(), source };
    fs::create_dir_all(&config.data_dir).map_err(broken)?;
    // The store's lock comes first: two nodes must not both make keys.
    let store = Store::open(&config.data_dir, Options::default())?;
    // Of a node that was killed here: nobody may take it for this one.
    if let Err(source) = fs::remove_file(config.data_dir.join("node.json"))
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(broken(source));
    }
    let secrets = Secrets::open(&config.data_dir, &config.key)?;
    Ok((secrets, store))
}

fn network_args(config: &Config, secrets: &Secrets, store: Store) -> NetworkArgs {
    NetworkArgs {
        identity: secrets.identity,
        listen: config.listen.clone(),
        namespace: secrets.namespace,
        membership: secrets.membership,
        gossip: secrets.gossip,
        key_epoch: FIRST_KEY_EPOCH,
        discovery: match config.discovery {
            Discovery::Mdns => artdag_network::Discovery::Mdns,
            Discovery::Off => artdag_network::Discovery::Off,
        },
        agent: AGENT.to_owned(),
        store,
    }
}

/// Whole or absent: others poll for it.
fn write_ready(data_dir: &Path, ready: &Ready) -> Result<(), NodeError> {
    let path = data_dir.join("node.json");
    let text = serde_json::to_vec_pretty(ready).expect("strings and numbers have a JSON form");
    let temporary = data_dir.join("node.json.tmp");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(|source| NodeError::DataDir { path, source })
}

/// Reads what a running node said of itself.
///
/// # Errors
/// When no node runs there, or it was killed while writing.
pub fn read_ready(data_dir: &Path) -> io::Result<Ready> {
    let text = fs::read(data_dir.join("node.json"))?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}
