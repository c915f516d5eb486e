//! One Kubo daemon on loopback, with no way out: no bootstrap peers, no DHT, ports 0.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::command::{self, Finished};
use crate::wait;

/// A daemon starts in a second or two.
const READY: Duration = Duration::from_secs(60);

/// The one transport a daemon listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Quic,
}

impl Transport {
    /// The part of a multiaddress that names it.
    pub fn mark(self) -> &'static str {
        match self {
            Transport::Tcp => "/tcp/",
            Transport::Quic => "/quic-v1",
        }
    }

    fn listen(self) -> &'static str {
        match self {
            Transport::Tcp => "/ip4/127.0.0.1/tcp/0",
            Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        }
    }
}

/// A running daemon; gone, with its repository, when dropped.
pub struct Kubo {
    /// From the start of the daemon to its first answer.
    pub started_in: Duration,
    program: PathBuf,
    repo: TempDir,
    child: Child,
}

/// The `ipfs` program: on PATH, or where tests/tools.sh keeps it.
pub fn program() -> Option<PathBuf> {
    let cache = std::env::var_os("ARTDAG_CACHE").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/artdag"));
    let built = cache.or(home).map(|cache| cache.join("bin/ipfs"));
    let mut candidates = vec![PathBuf::from("ipfs")];
    candidates.extend(built);
    candidates.into_iter().find(|program| crate::process::succeeds(&program.to_string_lossy(), &["version"]))
}

impl Kubo {
    /// Starts a daemon that speaks one transport and imports as IPIP-499 `unixfs-v1-2025` says.
    #[track_caller]
    pub fn start(program: &Path, transport: Transport) -> Kubo {
        let repo = tempfile::Builder::new().prefix("artdag-kubo-").tempdir().expect("a scratch folder");
        let ipfs = |arguments: &[&str]| command::finish(ipfs(program, repo.path()).args(arguments)).ok();
        ipfs(&["init", "--profile=test", "--empty-repo"]);
        ipfs(&["bootstrap", "rm", "--all"]);
        ipfs(&["config", "profile", "apply", "unixfs-v1-2025"]);
        for (key, value) in [
            ("Addresses.Swarm", json!([transport.listen()])),
            ("Addresses.API", json!("/ip4/127.0.0.1/tcp/0")),
            ("Addresses.Gateway", json!("/ip4/127.0.0.1/tcp/0")),
            ("Routing.Type", json!("none")),
            ("AutoTLS.Enabled", json!(false)),
            ("AutoConf.Enabled", json!(false)),
            ("Swarm.Transports.Network.Websocket", json!(false)),
        ] {
            ipfs(&["config", "--json", key, &value.to_string()]);
        }
        let log = std::fs::File::create(repo.path().join("daemon.log")).expect("the log can be made");
        let err = log.try_clone().expect("a file can be shared");
        let began = Instant::now();
        let mut command = self::ipfs(program, repo.path());
        let child = command.arg("daemon").stdin(Stdio::null()).stdout(log).stderr(err).spawn();
        let child = child.expect("ipfs was run before");
        let mut kubo = Kubo { started_in: Duration::ZERO, program: program.to_path_buf(), repo, child };
        kubo.wait_until_ready();
        kubo.started_in = began.elapsed();
        kubo
    }

    fn wait_until_ready(&self) {
        let answered = wait::within(READY, || {
            // The file `api` appears when the API listens.
            self.repo.path().join("api").exists().then_some(())?;
            self.ipfs(&["swarm", "addrs", "local"]).status.success().then_some(())
        });
        let log = || std::fs::read_to_string(self.repo.path().join("daemon.log")).unwrap_or_default();
        assert!(answered.is_some(), "kubo was not ready in {READY:?}:\n{}", log());
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs `ipfs …` against the daemon.
    #[track_caller]
    pub fn ipfs(&self, arguments: &[&str]) -> Finished {
        command::finish(ipfs(&self.program, self.repo.path()).args(arguments))
    }

    /// `ipfs add -r`: the root's CID.
    #[track_caller]
    pub fn add(&self, path: &Path) -> String {
        let path = path.to_str().expect("test paths are text");
        self.ipfs(&["add", "--recursive", "--quieter", "--pin=false", path]).ok().text().trim().to_string()
    }

    #[track_caller]
    pub fn connect(&self, address: &str) {
        self.ipfs(&["swarm", "connect", address]).ok();
    }
}

fn ipfs(program: &Path, repo: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("IPFS_PATH", repo).env("IPFS_TELEMETRY", "off");
    command
}

impl Drop for Kubo {
    fn drop(&mut self) {
        command::end(&mut self.child);
    }
}
