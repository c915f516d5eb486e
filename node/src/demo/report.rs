//! What the demo says at its end.
//!
//! With `--json` the last line of stdout: `{output_cid, content_hash, file, url, nodes, steps:
//! [{id, type, node, cid, attempt, ms}], second_run: {steps, hits, ms}}`. `node` is a peer id,
//! `url` that of the film at the gateway of node A, `second_run.steps` the steps that were looked
//! up and `hits` those found.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use artdag_client::{Cid, Digest, Run, duration_text};
use serde::Serialize;
use sha3::{Digest as _, Sha3_256};

use crate::task::blocking;

/// Bytes read at a time while hashing.
const CHUNK: usize = 256 * 1024;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) output_cid: String,
    content_hash: Digest,
    pub(super) file: PathBuf,
    pub(super) url: String,
    nodes: usize,
    steps: Vec<StepLine>,
    second_run: SecondRun,
}

#[derive(Debug, Serialize)]
struct StepLine {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    node: String,
    cid: Option<String>,
    attempt: u32,
    ms: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct SecondRun {
    pub(super) steps: usize,
    pub(super) hits: usize,
    pub(super) ms: u64,
}

impl Report {
    pub(super) fn new(
        run: &Run,
        output: Cid,
        content_hash: Digest,
        file: PathBuf,
        url: String,
        second_run: SecondRun,
    ) -> Self {
        let line = |step: &artdag_client::StepStatus| StepLine {
            id: step.id.clone(),
            kind: step.kind.clone(),
            node: step.node.clone(),
            cid: step.cid.map(|cid| cid.to_string()),
            attempt: step.attempt,
            ms: step.ms,
        };
        let steps = run.steps.iter().map(line).collect();
        Self { output_cid: output.to_string(), content_hash, file, url, nodes: 3, steps, second_run }
    }

    /// Peer ids of the nodes that ran a step.
    pub(super) fn busy_nodes(&self) -> Vec<&str> {
        self.steps.iter().map(|step| step.node.as_str()).collect()
    }

    pub(super) fn text(&self) -> String {
        let SecondRun { steps, hits, ms } = self.second_run;
        let worked: u64 = self.steps.iter().map(|step| step.ms).sum();
        format!(
            "film         {}\ncid          {}\ncontent hash {}\nsteps        {} on {} nodes, {} of work\n\
             second run   {hits} of {steps} were hits, {}",
            self.file.display(),
            self.output_cid,
            self.content_hash,
            self.steps.len(),
            self.nodes,
            duration_text(worked),
            duration_text(ms)
        )
    }
}

/// The SHA3-256 of the file as it lies here, which must be the one the run promised.
pub(super) async fn verified_hash(file: &Path, promised: Option<Digest>) -> anyhow::Result<Digest> {
    let named = file.display().to_string();
    let file = file.to_owned();
    let found = blocking(move || hash(&file)).await.context(named.clone())?;
    match promised {
        Some(promised) if promised != found => bail!("{named} has the hash {found} and the run promised {promised}"),
        _ => Ok(found),
    }
}

fn hash(file: &Path) -> std::io::Result<Digest> {
    let mut file = std::fs::File::open(file)?;
    let (mut hasher, mut chunk) = (Sha3_256::new(), vec![0; CHUNK]);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(Digest(hasher.finalize().into()));
        }
        hasher.update(&chunk[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::film::tests::{CID, run_of, step};
    use super::*;
    use artdag_client::{StepState, parse_cid};

    fn report() -> Report {
        let run = run_of(vec![step("film", StepState::Succeeded)]);
        let second_run = SecondRun { steps: 1, hits: 1, ms: 42 };
        let output = parse_cid(CID).expect("valid");
        let url = format!("http://127.0.0.1:3/ipfs/{CID}");
        Report::new(&run, output, Digest([0xab; 32]), "/tmp/film.mp4".into(), url, second_run)
    }

    #[test]
    fn the_last_line_has_the_promised_shape() {
        let hash = "ab".repeat(32);
        let expected = format!(
            "{{\"output_cid\":\"{CID}\",\"content_hash\":\"{hash}\",\"file\":\"/tmp/film.mp4\",\
             \"url\":\"http://127.0.0.1:3/ipfs/{CID}\",\"nodes\":3,\"steps\":[{{\"id\":\"film\",\"type\":\"MUX\",\
             \"node\":\"12D3KooWx\",\"cid\":\"{CID}\",\"attempt\":1,\"ms\":7}}],\
             \"second_run\":{{\"steps\":1,\"hits\":1,\"ms\":42}}}}"
        );
        assert_eq!(serde_json::to_string(&report()).expect("serialises"), expected);
    }

    #[test]
    fn the_text_says_where_the_film_is() {
        let text = report().text();
        assert!(text.contains("/tmp/film.mp4") && text.contains("1 of 1 were hits, 42 ms"), "{text}");
        assert_eq!(report().busy_nodes(), ["12D3KooWx"]);
    }

    #[tokio::test]
    async fn a_film_that_is_not_the_promised_one_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        // SHA3-256 of the empty message, from FIPS 202's example values.
        let empty = "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a";
        let found = verified_hash(file.path(), None).await.expect("hashed");
        assert_eq!(found.to_string(), empty);
        verified_hash(file.path(), Some(found)).await.expect("as promised");
        verified_hash(file.path(), Some(Digest([0; 32]))).await.expect_err("not as promised");
    }
}
