//! What happens to every call at the client edge before its service sees it: it is counted, its
//! token is checked where one is set, and its trace context is taken over or begun.

use std::sync::Arc;

use tonic::{Request, Status, service::Interceptor};
use tracing::debug;

use crate::{entropy, metrics::Metrics};

/// Checks and marks calls.
#[derive(Clone)]
pub struct Guard {
    token: Option<Arc<str>>,
    metrics: Arc<Metrics>,
}

/// The trace a call belongs to, as W3C Trace Context names it (32 and 16 hex digits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Shared by all calls of one cause.
    pub trace_id: String,
    /// The caller's span; empty when the trace begins here.
    pub parent_id: String,
}

impl Guard {
    /// With the token every caller must send, if any.
    #[must_use]
    pub fn new(token: Option<&str>, metrics: Arc<Metrics>) -> Self {
        Self { token: token.map(Arc::from), metrics }
    }

    fn authorise(&self, request: &Request<()>) -> Result<(), Status> {
        let Some(token) = &self.token else { return Ok(()) };
        let sent = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if same(sent.as_bytes(), token.as_bytes()) {
            return Ok(());
        }
        self.metrics.calls_refused.inc();
        Err(Status::unauthenticated("this node wants a token; put it in ARTDAG_TOKEN"))
    }
}

impl Interceptor for Guard {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.metrics.calls.inc();
        self.authorise(&request)?;
        let sent = request.metadata().get("traceparent").and_then(|value| value.to_str().ok());
        let trace = sent.and_then(TraceContext::parse).unwrap_or_else(TraceContext::begin);
        debug!(trace_id = trace.trace_id, parent_id = trace.parent_id, "call");
        request.extensions_mut().insert(trace);
        Ok(request)
    }
}

impl TraceContext {
    /// Reads a `traceparent` header: version 00, Trace Context §3.2. Anything else begins anew.
    fn parse(header: &str) -> Option<Self> {
        let parts: Vec<&str> = header.split('-').collect();
        let [_, trace_id, parent_id, _] = parts.as_slice() else { return None };
        let hex = |text: &str, length| {
            text.len() == length
                && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
                && text.bytes().any(|byte| byte != b'0')
        };
        (hex(trace_id, 32) && hex(parent_id, 16))
            .then(|| Self { trace_id: (*trace_id).to_owned(), parent_id: (*parent_id).to_owned() })
    }

    fn begin() -> Self {
        Self { trace_id: hex::encode(entropy::random::<16>()), parent_id: String::new() }
    }
}

/// Compares in a time that depends on the lengths only.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differences, (x, y)| differences | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens() {
        let mut guard = Guard::new(Some("a-long-enough-token"), Arc::default());
        let with = |value: &str| {
            let mut request = Request::new(());
            request.metadata_mut().insert("authorization", value.parse().expect("ascii"));
            request
        };
        assert!(guard.call(Request::new(())).is_err());
        assert!(guard.call(with("Bearer a-long-enough-tokem")).is_err());
        assert!(guard.call(with("Bearer a-long-enough-token")).is_ok());
        assert!(Guard::new(None, Arc::default()).call(Request::new(())).is_ok());
    }

    #[test]
    fn a_trace_goes_on_or_begins() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceContext::parse(header).expect("a good header");
        assert_eq!(trace.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in ["", "00-0-0-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "x-y"] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
