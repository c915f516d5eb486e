//! What happens to every call at the client edge before its service sees it: it is counted, its
//! token is checked where one is set, and its trace context is taken over or begun.

use std::sync::Arc;

use tonic::{Request, Status, service::Interceptor};
use tracing::debug;

use super::trace::TraceContext;
use crate::metrics::Metrics;

/// Checks and marks calls.
#[derive(Clone)]
pub struct Guard {
    token: Option<Arc<str>>,
    metrics: Arc<Metrics>,
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
        let trace = TraceContext::of(&request);
        debug!(trace_id = trace.trace_id, parent_id = trace.parent_id, "call");
        request.extensions_mut().insert(trace);
        Ok(request)
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
}
