//! One connection to one node, and what goes with every call: the bearer token and the trace.
//!
//! A token leaves this machine in the clear only towards loopback: until the edge speaks TLS, a
//! URL beyond it with a token set is refused.

use std::{
    collections::hash_map::RandomState,
    env,
    hash::{BuildHasher, Hasher},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use artdag_proto::v1;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{Error, error::innermost};

/// Where a node listens unless told otherwise.
pub const DEFAULT_NODE: &str = "http://127.0.0.1:7701";
/// Names the node to speak to.
pub const NODE_VARIABLE: &str = "ARTDAG_NODE";
/// Holds the bearer token; an argument would show in the process list.
pub const TOKEN_VARIABLE: &str = "ARTDAG_TOKEN";
/// W3C trace context to continue, as other command line tools read it.
pub const TRACE_VARIABLE: &str = "TRACEPARENT";

/// Loopback answers at once; a node across a slow link within seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A watched run may be silent for minutes; this tells silence from a dead node.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The default of 64 KiB would hold `add` and `get` to a few hundred MB/s.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// A block is at most 2 MiB; a run with thousands of steps may be a few.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// Pause between two looks at a node that is starting.
const READY_POLL: Duration = Duration::from_millis(25);

pub(crate) type Service = InterceptedService<Channel, CallContext>;

/// A node to talk to. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Client {
    service: Service,
    url: Arc<str>,
}

impl Client {
    /// Connects, with the token and the trace of the environment.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let token = env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        Self::connect_with_token(url, token.as_deref()).await
    }

    /// Connects with this token, whatever the environment says.
    pub async fn connect_with_token(url: &str, token: Option<&str>) -> Result<Self, Error> {
        let endpoint = endpoint(url)?;
        if token.is_some() && !is_loopback(&endpoint) {
            return Err(Error::InvalidInput(format!(
                "{url} is not on this machine and http would show the token to the network; \
                 go through a tunnel (ssh -L 7701:127.0.0.1:7701 HOST) or unset {TOKEN_VARIABLE}"
            )));
        }
        let context = CallContext::new(token)?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| Error::NodeUnreachable { url: url.to_owned(), reason: innermost(&error) })?;
        Ok(Self { service: InterceptedService::new(channel, context), url: url.into() })
    }

    /// Connects as soon as the node answers calls; the last error when `limit` is over.
    pub async fn wait_ready(url: &str, limit: Duration) -> Result<Self, Error> {
        let deadline = Instant::now() + limit;
        loop {
            let answer = match Self::connect(url).await {
                Ok(client) => client.nodes().await.map(|_| client),
                Err(error) => Err(error),
            };
            match answer {
                Err(Error::NodeUnreachable { .. } | Error::TryLater(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(READY_POLL).await;
                }
                answer => return answer,
            }
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn url_shared(&self) -> Arc<str> {
        self.url.clone()
    }

    pub(crate) fn failed(&self, status: &Status) -> Error {
        Error::from_status(&self.url, status)
    }
}

/// One maker of generated clients per service, each with our bound on messages.
macro_rules! services {
    ($($method:ident: $module:ident::$client:ident,)*) => {
        impl Client {
            $(pub(crate) fn $method(&self) -> v1::$module::$client<Service> {
                v1::$module::$client::new(self.service.clone())
                    .max_decoding_message_size(MAX_MESSAGE)
                    .max_encoding_message_size(MAX_MESSAGE)
            })*
        }
    };
}

services! {
    content_service: content_client::ContentClient,
    pins_service: pins_client::PinsClient,
    runs_service: runs_client::RunsClient,
    records_service: records_client::RecordsClient,
    cluster_service: cluster_client::ClusterClient,
}

fn endpoint(url: &str) -> Result<Endpoint, Error> {
    let invalid = |why: &str| Error::InvalidInput(format!("{url:?} is no node's URL ({why}); write http://HOST:PORT"));
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|e| invalid(&innermost(&e)))?;
    match endpoint.uri().scheme_str() {
        Some("http") => {}
        Some("https") => return Err(invalid("https is not served yet")),
        _ => return Err(invalid("it does not start with http://")),
    }
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(invalid("it names no host"));
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW))
}

fn is_loopback(endpoint: &Endpoint) -> bool {
    let host = endpoint.uri().host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Adds `authorization` and `traceparent` to every call.
#[derive(Clone)]
pub(crate) struct CallContext {
    authorization: Option<MetadataValue<Ascii>>,
    trace: Arc<Trace>,
}

impl CallContext {
    fn new(token: Option<&str>) -> Result<Self, Error> {
        let authorization = token
            .map(|token| {
                let mut value = MetadataValue::try_from(format!("Bearer {token}"))?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()
            .map_err(|_: tonic::metadata::errors::InvalidMetadataValue| {
                Error::InvalidInput(format!("{TOKEN_VARIABLE} holds more than one line of text"))
            })?;
        let inherited = env::var(TRACE_VARIABLE).ok();
        Ok(Self { authorization, trace: Arc::new(Trace::new(inherited.as_deref())) })
    }
}

impl Interceptor for CallContext {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.authorization {
            request.metadata_mut().insert("authorization", value.clone());
        }
        let value = MetadataValue::try_from(self.trace.next_span()).expect("a traceparent is hex digits and dashes");
        request.metadata_mut().insert("traceparent", value);
        Ok(request)
    }
}

/// One trace per client, one span per call (W3C Trace Context, version 00).
struct Trace {
    id: String,
    first_span: u64,
    spans: AtomicU64,
}

impl Trace {
    fn new(inherited: Option<&str>) -> Self {
        let id =
            inherited.and_then(inherited_trace).unwrap_or_else(|| format!("{:016x}{:016x}", arbitrary(), arbitrary()));
        Self { id, first_span: arbitrary(), spans: AtomicU64::new(0) }
    }

    fn next_span(&self) -> String {
        let count = self.spans.fetch_add(1, Ordering::Relaxed);
        // An all-zero span id is invalid.
        let span = self.first_span.wrapping_add(count).max(1);
        format!("00-{}-{span:016x}-01", self.id)
    }
}

fn inherited_trace(parent: &str) -> Option<String> {
    let id = parent.strip_prefix("00-")?.get(..32)?;
    let hex = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (hex && id.bytes().any(|byte| byte != b'0')).then(|| id.to_owned())
}

/// Trace ids need to differ, not to be secret; the standard library's hash keys are enough.
fn arbitrary() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_continued_and_each_call_is_its_own_span() {
        let trace = Trace::new(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        let (one, two) = (trace.next_span(), trace.next_span());
        assert!(one.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{one}");
        assert_ne!(one, two);
        assert_eq!(one.len(), 55);
    }

    #[test]
    fn a_broken_trace_is_replaced() {
        for parent in ["", "00-zz", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            assert_eq!(inherited_trace(parent), None, "{parent}");
        }
        assert_eq!(Trace::new(Some("nonsense")).id.len(), 32);
    }

    #[test]
    fn a_url_is_checked_before_anything_is_sent() {
        for url in ["", "127.0.0.1:7701", "ftp://h:1", "https://h:1", "http://"] {
            assert!(endpoint(url).is_err(), "{url:?}");
        }
        assert!(is_loopback(&endpoint("http://[::1]:7701").expect("valid")));
        assert!(is_loopback(&endpoint("http://localhost:7701").expect("valid")));
        assert!(!is_loopback(&endpoint("http://10.0.0.1:7701").expect("valid")));
        assert!(!is_loopback(&endpoint("http://localhost.evil.example").expect("valid")));
    }

    #[tokio::test]
    async fn a_token_does_not_cross_the_network_in_the_clear() {
        let refused = Client::connect_with_token("http://192.0.2.1:7701", Some("secret")).await;
        let Err(Error::InvalidInput(text)) = refused else { panic!("the token would be sent") };
        assert!(text.contains("ssh -L") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn every_call_carries_the_token_and_the_trace() {
        let mut context = CallContext::new(Some("t0ken")).expect("valid token");
        let request = context.call(Request::new(())).expect("never refuses");
        let read = |key| request.metadata().get(key).and_then(|v| v.to_str().ok());
        assert_eq!(read("authorization"), Some("Bearer t0ken"));
        assert!(read("traceparent").is_some_and(|value| value.starts_with("00-")));
        assert!(CallContext::new(Some("two\nlines")).is_err());
    }
}
