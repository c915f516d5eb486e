//! One configuration, built once from the command line, the environment and a file, checked once.
//! The command line wins over the file; the file wins over the defaults.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    invite::{Invite, InviteError},
    secrets::KeySource,
};

/// More would be a mistake in a script.
const LISTEN_MAX: usize = 16;
const JOIN_MAX: usize = 64;
/// A node that runs more steps at once than this runs all of them badly.
const SLOTS_MAX: u32 = 256;
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Options of `artdag-node run`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RunArgs {
    /// Where everything of this node lies
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Multiaddress for other peers; may be repeated
    #[arg(long, value_name = "MULTIADDR", num_args = 1..)]
    pub listen: Vec<String>,
    /// Multiaddress of a node, or an invite; may be repeated
    #[arg(long, value_name = "MULTIADDR|INVITE", num_args = 1..)]
    pub join: Vec<String>,
    /// Where clients call, `HOST:PORT`
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc: Option<String>,
    /// Metrics and health, `HOST:PORT`
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// Files for browsers, `HOST:PORT`
    #[arg(long, value_name = "HOST:PORT")]
    pub gateway: Option<String>,
    /// TOML file with the same keys
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Do not look for nodes on the local network
    #[arg(long)]
    pub no_mdns: bool,
    /// File that holds the cluster key (else ARTDAG_CLUSTER_KEY, else one is made and kept)
    #[arg(long, value_name = "FILE")]
    pub cluster_key_file: Option<PathBuf>,
    /// Steps run at once
    #[arg(long, value_name = "N")]
    pub slots: Option<u32>,
    /// File that holds the token every client must send
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// The file; the same names as the options.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    data_dir: Option<PathBuf>,
    listen: Vec<String>,
    join: Vec<String>,
    grpc: Option<String>,
    http: Option<String>,
    gateway: Option<String>,
    no_mdns: Option<bool>,
    cluster_key_file: Option<PathBuf>,
    slots: Option<u32>,
    token_file: Option<PathBuf>,
}

/// Whether the node looks for others on the local network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// Multicast DNS.
    Mdns,
    /// Only the addresses it was given.
    Off,
}

/// What a node was told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything of this node lies.
    pub data_dir: PathBuf,
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Multiaddresses to dial.
    pub join: Vec<String>,
    /// Where clients call.
    pub grpc: SocketAddr,
    /// Metrics and health.
    pub http: SocketAddr,
    /// Files for browsers.
    pub gateway: SocketAddr,
    /// Looking for nodes on the local network.
    pub discovery: Discovery,
    /// Where the cluster key comes from.
    pub key: KeySource,
    /// Steps run at once.
    pub slots: u32,
    /// What every client must send, when set.
    pub token: Option<String>,
}

/// A configuration that cannot be used. Each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no valid TOML or has a key that is not known.
    #[error("the config file {path} is not usable: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// A value is out of bounds.
    #[error("{option}: {message}")]
    Value {
        /// The option or key.
        option: &'static str,
        /// What is wrong and what to write.
        message: String,
    },
    /// A `--join` that looks like an invite is none.
    #[error("--join: {0}")]
    Invite(#[from] InviteError),
}

impl Config {
    /// Merges and checks.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(args: &RunArgs, environment_key: Option<Vec<u8>>) -> Result<Self, ConfigError> {
        let file = match &args.config {
            Some(path) => read_file(path)?,
            None => ConfigFile::default(),
        };
        let or = |cli: &Vec<String>, file: Vec<String>| if cli.is_empty() { file } else { cli.clone() };
        let listen = bounded("--listen", or(&args.listen, file.listen), LISTEN_MAX)?;
        let (join, invite) = split_invite(bounded("--join", or(&args.join, file.join), JOIN_MAX)?)?;
        let key_file = args.cluster_key_file.clone().or(file.cluster_key_file);
        let token = args.token_file.clone().or(file.token_file).map(|path| read_token(&path)).transpose()?;
        Ok(Self {
            data_dir: args.data_dir.clone().or(file.data_dir).unwrap_or_else(default_data_dir),
            listen: if listen.is_empty() { default_listen() } else { listen },
            join,
            grpc: loopback("--grpc", args.grpc.clone().or(file.grpc), 7701)?,
            http: loopback("--http", args.http.clone().or(file.http), 7702)?,
            gateway: loopback("--gateway", args.gateway.clone().or(file.gateway), 7703)?,
            discovery: if args.no_mdns || file.no_mdns == Some(true) { Discovery::Off } else { Discovery::Mdns },
            key: key_source(environment_key, key_file, invite),
            slots: slots(args.slots.or(file.slots))?,
            token,
        })
    }
}

/// Where a node keeps its data unless told otherwise.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("artdag-data"), |home| PathBuf::from(home).join(".artdag"))
}

fn default_listen() -> Vec<String> {
    vec!["/ip4/127.0.0.1/tcp/7700".into(), "/ip4/127.0.0.1/udp/7700/quic-v1".into()]
}

fn read_file(path: &Path) -> Result<ConfigFile, ConfigError> {
    let broken = |source| ConfigError::Read { path: path.to_owned(), source };
    let parse = |message: String| ConfigError::Parse { path: path.to_owned(), message };
    if std::fs::metadata(path).map_err(broken)?.len() > CONFIG_BYTES_MAX {
        return Err(parse("it is larger than 1 MiB".into()));
    }
    let text = std::fs::read_to_string(path).map_err(broken)?;
    toml::from_str(&text).map_err(|error| parse(error.to_string()))
}

fn read_token(path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let token = text.trim().to_owned();
    if token.len() < 16 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "the file must hold at least 16 printable characters".into();
        return Err(ConfigError::Value { option: "--token-file", message });
    }
    Ok(token)
}

fn bounded(option: &'static str, values: Vec<String>, max: usize) -> Result<Vec<String>, ConfigError> {
    if values.len() > max {
        return Err(ConfigError::Value { option, message: format!("{} given, at most {max}", values.len()) });
    }
    Ok(values)
}

fn split_invite(join: Vec<String>) -> Result<(Vec<String>, Option<Invite>), ConfigError> {
    let mut addresses = Vec::new();
    let mut invite: Option<Invite> = None;
    for value in join {
        if Invite::looks_like(&value) {
            let parsed = Invite::parse(&value)?;
            addresses.extend(parsed.addresses.iter().cloned());
            invite = Some(parsed);
        } else {
            addresses.push(value);
        }
    }
    Ok((addresses, invite))
}

fn key_source(environment: Option<Vec<u8>>, file: Option<PathBuf>, invite: Option<Invite>) -> KeySource {
    match (environment, file, invite) {
        (_, Some(path), _) => KeySource::File(path),
        (Some(key), None, _) => KeySource::Bytes(key),
        (None, None, Some(invite)) => {
            let namespace = invite.namespace.as_slice().try_into().expect("the invite was checked to hold 32 bytes");
            KeySource::Invite { key: invite.key, namespace }
        }
        (None, None, None) => KeySource::Kept,
    }
}

/// Edges stay on loopback: beyond it they would need TLS and a token, which this version has not.
fn loopback(option: &'static str, value: Option<String>, port: u16) -> Result<SocketAddr, ConfigError> {
    let text = value.unwrap_or_else(|| format!("127.0.0.1:{port}"));
    let wrong = |message| ConfigError::Value { option, message };
    let address = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| wrong(format!("`{text}` is no HOST:PORT; write for example 127.0.0.1:{port}")))?;
    if !is_loopback(address.ip()) {
        return Err(wrong(format!(
            "{text} is beyond loopback, where this port would be open to everyone; \
             bind 127.0.0.1:{port} and reach it through ssh -L or a TLS proxy"
        )));
    }
    Ok(address)
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback()
}

/// Half the cores: a step is pinned to two threads.
fn slots(given: Option<u32>) -> Result<u32, ConfigError> {
    match given {
        Some(slots) if slots > SLOTS_MAX => {
            Err(ConfigError::Value { option: "--slots", message: format!("{slots} is too many, at most {SLOTS_MAX}") })
        }
        Some(slots) => Ok(slots),
        None => {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            Ok(u32::try_from(cores / 2).unwrap_or(1).clamp(1, SLOTS_MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, args: RunArgs) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), toml).expect("written");
        Config::load(&RunArgs { config: Some(file.path().to_owned()), ..args }, None)
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let args = RunArgs { grpc: Some("127.0.0.1:0".into()), ..RunArgs::default() };
        let config = load("grpc = \"127.0.0.1:9\"\nslots = 3", args).expect("a good config");
        assert_eq!((config.grpc.port(), config.slots), (0, 3));
        assert_eq!(config.discovery, Discovery::Mdns);
    }

    #[test]
    fn a_wrong_key_a_wrong_type_and_an_open_port_are_named() {
        let unknown = load("gprc = \"x\"", RunArgs::default()).expect_err("unknown key").to_string();
        assert!(unknown.contains("gprc"), "{unknown}");
        let kind = load("slots = \"many\"", RunArgs::default()).expect_err("wrong type").to_string();
        assert!(kind.contains("slots"), "{kind}");
        let open = load("grpc = \"0.0.0.0:7701\"", RunArgs::default()).expect_err("open port").to_string();
        assert!(open.contains("beyond loopback"), "{open}");
    }

    #[test]
    fn too_many_of_a_thing_are_refused() {
        let listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned(); LISTEN_MAX + 1];
        assert!(load("", RunArgs { listen, ..RunArgs::default() }).is_err());
        assert!(load("", RunArgs { slots: Some(SLOTS_MAX + 1), ..RunArgs::default() }).is_err());
    }
}
