//! Answers that come as a stream. A stream that the node's stop cuts off ends with an error, since
//! an end without one would tell the caller that it has everything.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::task::Tasks;

/// Answers between their maker and the connection.
const QUEUE: usize = 16;
/// How long a stopping node waits for a caller to take its last word.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What a streaming call gives back.
pub type Answers<T> = ReceiverStream<Result<T, Status>>;
/// Where its answers go.
pub type Answer<T> = mpsc::Sender<Result<T, Status>>;

/// Runs what makes the answers, as a task of the node.
pub fn stream<T, F>(tasks: &Tasks, name: &'static str, make: impl FnOnce(Answer<T>) -> F) -> Answers<T>
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (answers, stream) = mpsc::channel(QUEUE);
    let stop = tasks.stopping();
    let making = make(answers.clone());
    tasks.spawn(name, async move {
        if stop.run_until_cancelled(making).await.is_none() {
            let last = Err(Status::unavailable("the node is stopping; ask again when it runs"));
            // A caller that does not listen is not waited for.
            let _ = answers.send_timeout(last, LAST_WORD).await;
        }
    });
    ReceiverStream::new(stream)
}

/// Sends lines that are there already.
pub fn lines<T: Send + 'static>(tasks: &Tasks, name: &'static str, lines: Vec<T>) -> Answers<T> {
    stream(tasks, name, |answers| async move {
        for line in lines {
            if answers.send(Ok(line)).await.is_err() {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_stream_that_is_cut_off_says_so() {
        let tasks = Tasks::new();
        let mut cut = stream(&tasks, "endless", |answers| async move {
            let _ = answers.send(Ok(1)).await;
            std::future::pending::<()>().await;
        });
        assert_eq!(cut.next().await.expect("an answer").expect("good"), 1);
        let mut whole = lines(&tasks, "lines", vec![1, 2]);
        assert_eq!((whole.next().await.is_some(), whole.next().await.is_some()), (true, true));
        assert!(whole.next().await.is_none(), "a whole stream ends without an error");
        assert!(tasks.stop().await);
        let last = cut.next().await.expect("a last word").expect_err("an error");
        assert_eq!(last.code(), tonic::Code::Unavailable);
        assert!(cut.next().await.is_none());
    }
}
