//! A stream of answers, parsed one by one.

use std::sync::Arc;

use tonic::Streaming;

use crate::Error;

/// What a node sends until it has said all. Dropping it ends the call; `next` may be dropped
/// and called again without losing an answer.
pub struct Answers<T> {
    source: Box<dyn Source<T>>,
}

impl<T: Send + 'static> Answers<T> {
    pub(crate) fn new<M: Send + 'static>(url: Arc<str>, inner: Streaming<M>, parse: fn(M) -> Result<T, Error>) -> Self {
        Self { source: Box::new(Parsed { url, inner, parse }) }
    }

    /// The next answer; `None` when the node has said all.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        std::future::poll_fn(|context| self.source.poll(context)).await
    }

    /// All of them, in memory: for answers that a person reads.
    pub async fn all(mut self) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        while let Some(answer) = self.next().await? {
            all.push(answer);
        }
        Ok(all)
    }
}

type Polled<T> = std::task::Poll<Result<Option<T>, Error>>;

/// Hides the wire's message type from the caller.
trait Source<T>: Send {
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Polled<T>;
}

struct Parsed<M, T> {
    url: Arc<str>,
    inner: Streaming<M>,
    parse: fn(M) -> Result<T, Error>,
}

impl<M: Send + 'static, T> Source<T> for Parsed<M, T> {
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Polled<T> {
        use futures::Stream;
        std::pin::Pin::new(&mut self.inner).poll_next(context).map(|next| match next {
            Some(Ok(message)) => (self.parse)(message).map(Some),
            Some(Err(status)) => Err(Error::from_status(&self.url, &status)),
            None => Ok(None),
        })
    }
}
