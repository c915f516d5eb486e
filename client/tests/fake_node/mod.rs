//! A node that says what a test tells it to, over a real connection on loopback.
//!
//! It knows the Content service only. It runs beside the test's own future and ends with it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use artdag_proto::v1::{self, add_request, content_server};
use futures::{Stream, stream};
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// What the node says.
#[derive(Clone, Default)]
pub struct Script {
    /// Fails an add after so many messages.
    pub fail_add_after: Option<(usize, Status)>,
    pub get: Vec<Result<v1::GetResponse, Status>>,
    /// Repeated without end by `cat`.
    pub cat: Vec<u8>,
}

/// How an add ended, as the node saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    #[default]
    NotYet,
    /// The caller ended the stream in good order.
    Whole,
    /// A message that says nothing, which a node refuses.
    Spoiled,
    /// The call went away.
    Broken,
    /// The node itself failed it.
    Refused,
}

/// What the node saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub options: Option<v1::AddOptions>,
    pub entries: Vec<v1::Entry>,
    pub bytes: u64,
    pub largest: usize,
    pub authorization: Option<String>,
    pub traceparent: Option<String>,
}

#[derive(Clone)]
pub struct FakeNode {
    script: Script,
    pub seen: Arc<Mutex<Seen>>,
    ended: watch::Sender<Ended>,
}

impl FakeNode {
    pub fn new(script: Script) -> Self {
        Self { script, seen: Arc::default(), ended: watch::Sender::new(Ended::NotYet) }
    }

    /// Serves while `test` runs, and gives it the URL.
    pub async fn serve<F: Future>(&self, test: impl FnOnce(String) -> F) -> F::Output {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("loopback has a port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let service = content_server::ContentServer::new(self.clone());
        let server = Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        tokio::select! {
            output = test(url) => output,
            ended = server => panic!("the node stopped by itself: {ended:?}"),
        }
    }

    /// Waits until an add has ended and says how.
    pub async fn add_ended(&self) -> Ended {
        let mut ended = self.ended.subscribe();
        *ended.wait_for(|ended| *ended != Ended::NotYet).await.expect("the sender lives in self")
    }

    pub fn saw(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Reads an add to its end, in whatever way it ends.
    async fn take(&self, mut parts: Streaming<v1::AddRequest>) -> Result<(), Status> {
        // If the server drops this future, the call went away.
        let mut outcome = Outcome { node: self, ended: Ended::Broken };
        let mut count = 0;
        loop {
            let Some(request) = parts.message().await? else {
                outcome.ended = Ended::Whole;
                return Ok(());
            };
            count += 1;
            if let Some((limit, status)) = &self.script.fail_add_after
                && count > *limit
            {
                outcome.ended = Ended::Refused;
                return Err(status.clone());
            }
            match request.part {
                Some(add_request::Part::Options(options)) => self.note(|seen| seen.options = Some(options)),
                Some(add_request::Part::Entry(entry)) => self.note(|seen| seen.entries.push(entry)),
                Some(add_request::Part::Data(data)) => self.note(|seen| {
                    seen.bytes += data.len() as u64;
                    seen.largest = seen.largest.max(data.len());
                }),
                None => {
                    outcome.ended = Ended::Spoiled;
                    return Err(Status::invalid_argument("an empty message"));
                }
            }
        }
    }
}

struct Outcome<'a> {
    node: &'a FakeNode,
    ended: Ended,
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        self.node.ended.send_replace(self.ended);
    }
}

type Answers<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The CID of the empty raw block: any valid one will do.
pub const CID: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

fn not_told<T>() -> Result<T, Status> {
    Err(Status::unimplemented("the fake node was not told"))
}

#[tonic::async_trait]
impl content_server::Content for FakeNode {
    type AddStream = Answers<v1::AddResponse>;
    type GetStream = Answers<v1::GetResponse>;
    type CatStream = Answers<v1::CatResponse>;
    type LsStream = Answers<v1::LsResponse>;
    type ListPublicStream = Answers<v1::ListPublicResponse>;

    /// As the real node: a line for each file, the root last.
    async fn add(&self, request: Request<Streaming<v1::AddRequest>>) -> Result<Response<Self::AddStream>, Status> {
        let read = |key| request.metadata().get(key).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (authorization, traceparent) = (read("authorization"), read("traceparent"));
        self.note(|seen| (seen.authorization, seen.traceparent) = (authorization, traceparent));
        let node = self.clone();
        let answers = stream::once(async move {
            if let Err(status) = node.take(request.into_inner()).await {
                return vec![Err(status)];
            }
            let files = node.saw().entries.into_iter().filter(|entry| entry.kind() == v1::EntryKind::File);
            let line = |path, root| v1::AddResponse { path, cid: CID.to_owned(), root, ..Default::default() };
            let mut lines: Vec<_> = files.map(|entry| Ok(line(entry.path, false))).collect();
            lines.push(Ok(line(String::new(), true)));
            lines
        });
        Ok(Response::new(Box::pin(futures::StreamExt::flat_map(answers, stream::iter))))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        Ok(Response::new(Box::pin(stream::iter(self.script.get.clone()))))
    }

    async fn cat(&self, _: Request<v1::CatRequest>) -> Result<Response<Self::CatStream>, Status> {
        let data = self.script.cat.clone();
        Ok(Response::new(Box::pin(stream::repeat_with(move || Ok(v1::CatResponse { data: data.clone() })))))
    }

    async fn ls(&self, _: Request<v1::LsRequest>) -> Result<Response<Self::LsStream>, Status> {
        not_told()
    }

    async fn stat(&self, _: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        not_told()
    }

    async fn put_block(&self, _: Request<v1::PutBlockRequest>) -> Result<Response<v1::PutBlockResponse>, Status> {
        not_told()
    }

    async fn get_block(&self, _: Request<v1::GetBlockRequest>) -> Result<Response<v1::GetBlockResponse>, Status> {
        not_told()
    }

    async fn set_public(&self, _: Request<v1::SetPublicRequest>) -> Result<Response<v1::SetPublicResponse>, Status> {
        not_told()
    }

    async fn list_public(&self, _: Request<v1::ListPublicRequest>) -> Result<Response<Self::ListPublicStream>, Status> {
        not_told()
    }
}
