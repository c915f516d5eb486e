//! The built-in toolset: pictures (PNG and animated PNG), sound (WAV) and one web page that shows
//! and plays both, without any outside tool.
//!
//! What always holds: bytes depend on the job alone. Only whole numbers and the four operations
//! of f64 are used (`arithmetic` has what libm would give), and each format is written in one
//! place. Every step looks at its token and its deadline between pictures; what hostile files
//! claim about themselves is bounded before it is believed.

mod arithmetic;
mod file;
mod generate;
mod grade;
mod mixing;
mod page;
mod picture;
mod scaling;
mod sequence;
mod sound;
mod sounds;
#[cfg(test)]
mod tests;
mod timeline;
mod work;

use std::path::PathBuf;

use artdag_core::recipe::{ConfigError, NodeType, config};
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use self::file::Format;
use self::work::Work;
use super::{Executor, Failure, FailureClass, Job, Output, ProgressSender, Toolset, Unavailable, output};

/// Goes up whenever the same job comes to give other bytes, a new version of `png` included.
const VERSION: &str = "1";

/// Runs steps in this process.
#[derive(Debug, Clone, Copy)]
pub struct Builtin;

#[async_trait]
impl Executor for Builtin {
    fn name(&self) -> &str {
        "builtin"
    }

    async fn probe(&self) -> Result<Toolset, Unavailable> {
        Ok(Toolset { name: self.name().to_owned(), version: VERSION.to_owned() })
    }

    async fn execute(
        &self,
        job: &Job,
        progress: &ProgressSender,
        cancel: &CancellationToken,
    ) -> Result<Output, Failure> {
        let stop = cancel.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let work = Work::new(job.clone(), progress.clone(), stop);
        let done = tokio::task::spawn_blocking(move || run(&work)).await;
        let crashed = |_| Failure::new(FailureClass::Executor, "the built-in step crashed");
        let path = done.map_err(crashed)??;
        progress.send(1.0);
        Ok(Output {
            path,
            log: String::new(),
            build: concat!("artdag-", env!("CARGO_PKG_VERSION")).to_owned(),
            enforced: None,
        })
    }
}

fn run(work: &Work) -> Result<PathBuf, Failure> {
    let format = step(work)?;
    let job = &work.job;
    output::accept(&job.workspace, format.output_name(), job.disk_bytes)
}

/// Runs the step; the format of its output gives the file's name.
fn step(work: &Work) -> Result<Format, Failure> {
    let job = &work.job;
    let refused = |error: ConfigError| Failure::input(error.to_string());
    let ipld = &job.config;
    match job.kind {
        NodeType::Generate => {
            let config = config::Generate::from_ipld(ipld).map_err(refused)?;
            generate::run(&config, work)
        }
        NodeType::Segment => {
            let config = config::Segment::from_ipld(ipld).map_err(refused)?;
            sounds::segment(&config, work)
        }
        NodeType::Resize => {
            let config = config::Resize::from_ipld(ipld).map_err(refused)?;
            scaling::run(&config, work)
        }
        NodeType::Transform => {
            let config = config::Transform::from_ipld(ipld).map_err(refused)?;
            grade::run(&config, work)
        }
        NodeType::Sequence => {
            let config = config::Sequence::from_ipld(ipld).map_err(refused)?;
            sequence::run(&config, work)
        }
        NodeType::Layer => {
            let config = config::Layer::from_ipld(ipld).map_err(refused)?;
            mixing::layer(&config, work)
        }
        NodeType::Blend => {
            let config = config::Blend::from_ipld(ipld).map_err(refused)?;
            mixing::blend(&config, work)
        }
        NodeType::AudioMix => {
            let config = config::AudioMix::from_ipld(ipld).map_err(refused)?;
            sounds::mix(&config, work)
        }
        NodeType::Mux => {
            let config = config::Mux::from_ipld(ipld).map_err(refused)?;
            page::run(&config, work)
        }
        NodeType::Source => Err(Failure::input("a source is not a step")),
    }
}
