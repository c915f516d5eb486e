//! The built-in toolset: pictures and sound without any outside tool.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{Executor, Failure, FailureClass, Job, Output, ProgressSender, Toolset, Unavailable};

/// Runs steps in this process.
#[derive(Debug, Clone, Copy)]
pub struct Builtin;

#[async_trait]
impl Executor for Builtin {
    fn name(&self) -> &str {
        "builtin"
    }

    async fn probe(&self) -> Result<Toolset, Unavailable> {
        Ok(Toolset { name: "builtin".to_owned(), version: "1".to_owned() })
    }

    async fn execute(
        &self,
        _job: &Job,
        _progress: &ProgressSender,
        _cancel: &CancellationToken,
    ) -> Result<Output, Failure> {
        Err(Failure::new(FailureClass::Executor, "not there yet"))
    }
}
