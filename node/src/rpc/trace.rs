//! Trace context (W3C Trace Context): what a client calls its trace goes with the run it submits to
//! every node that runs a step of it, and stands in their logs.

use tonic::Request;

use crate::entropy;

const HEADER: &str = "traceparent";

/// The trace a call belongs to, as W3C Trace Context names it (32 and 16 hex digits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Shared by all calls of one cause.
    pub trace_id: String,
    /// The caller's span; empty when the trace begins here.
    pub parent_id: String,
}

impl TraceContext {
    /// That of a call: as it was taken over at the edge, as it was sent, or a new one.
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Self {
        let sent = || request.metadata().get(HEADER).and_then(|value| value.to_str().ok()).and_then(Self::parse);
        request.extensions().get::<Self>().cloned().or_else(sent).unwrap_or_else(Self::begin)
    }

    /// Marks a call that we make as part of a trace.
    pub fn mark<T>(trace_id: &str, request: &mut Request<T>) {
        let header = format!("00-{trace_id}-{}-01", hex::encode(entropy::random::<8>()));
        if let Ok(value) = header.parse() {
            request.metadata_mut().insert(HEADER, value);
        }
    }

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

    /// A trace that begins here.
    #[must_use]
    pub fn begin() -> Self {
        Self { trace_id: hex::encode(entropy::random::<16>()), parent_id: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_or_begins() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceContext::parse(header).expect("a good header");
        assert_eq!(trace.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in ["", "00-0-0-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "x-y"] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_marked_call_is_of_the_trace() {
        let trace = TraceContext::begin();
        let mut request = Request::new(());
        TraceContext::mark(&trace.trace_id, &mut request);
        let heard = TraceContext::of(&request);
        assert_eq!(heard.trace_id, trace.trace_id);
        assert_eq!(heard.parent_id.len(), 16);
        TraceContext::mark("not a trace id\n", &mut request);
    }
}
