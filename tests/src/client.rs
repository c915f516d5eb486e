//! A blocking gRPC client for tests, made from the wire contract alone, so that it judges the node by what any
//! other language would see.

use std::collections::BTreeMap;
use std::path::Path;

use artdag_proto::v1;
use artdag_proto::v1::cluster_client::ClusterClient;
use artdag_proto::v1::records_client::RecordsClient;
use artdag_proto::v1::runs_client::RunsClient;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

pub use artdag_proto::v1::{Run, RunEvent, RunState, StepState, StepStatus, run_event::Event};

/// One connection to one node.
pub struct Client {
    // Dropped after the channel that lives on it.
    channel: Channel,
    runtime: Runtime,
}

/// A recipe with its inputs, ready to submit.
#[derive(Clone, Debug)]
pub struct Submission {
    pub recipe: String,
    pub inputs: BTreeMap<String, String>,
    pub seed: u64,
}

impl Submission {
    pub fn new(recipe: &str, inputs: &[(&str, &str)]) -> Submission {
        let inputs = inputs.iter().map(|(name, cid)| ((*name).to_string(), (*cid).to_string())).collect();
        Submission { recipe: recipe.to_string(), inputs, seed: 0 }
    }
}

impl Client {
    /// Connects when first used.
    pub fn connect(url: &str) -> Client {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let endpoint = Endpoint::from_shared(url.to_string()).expect("node.json holds an address");
        let channel = runtime.block_on(async { endpoint.connect_lazy() });
        Client { channel, runtime }
    }

    /// The nodes this node knows, itself among them.
    ///
    /// # Errors
    /// What the node answered, or that it did not.
    pub fn nodes(&self) -> Result<Vec<v1::Node>, Status> {
        let mut cluster = ClusterClient::new(self.channel.clone());
        let answer = self.runtime.block_on(cluster.list_nodes(v1::ListNodesRequest {}))?;
        Ok(answer.into_inner().nodes)
    }

    /// How many members it knows, itself among them; none when it does not answer.
    pub fn members(&self) -> usize {
        self.nodes().map_or(0, |nodes| nodes.iter().filter(|node| node.member || node.self_).count())
    }

    /// How many results it knows, its own and those of others.
    #[track_caller]
    pub fn results(&self) -> usize {
        let mut records = RecordsClient::new(self.channel.clone());
        let count = async {
            let mut stream = records.list_records(v1::ListRecordsRequest { limit: 0 }).await?.into_inner();
            let mut count = 0;
            while stream.message().await?.is_some() {
                count += 1;
            }
            Ok::<usize, Status>(count)
        };
        self.runtime.block_on(count).expect("results can be listed")
    }

    /// # Errors
    /// What the node answered.
    pub fn submit(&self, submission: &Submission) -> Result<v1::SubmitRunResponse, Status> {
        let mut runs = RunsClient::new(self.channel.clone());
        let request = v1::SubmitRunRequest {
            recipe: submission.recipe.clone().into_bytes(),
            recipe_name: "film.yaml".into(),
            inputs: submission.inputs.clone().into_iter().collect(),
            parameters: Default::default(),
            seed: submission.seed,
        };
        Ok(self.runtime.block_on(runs.submit_run(request))?.into_inner())
    }

    /// # Errors
    /// What the node answered.
    pub fn watch(&self, execution_id: &str) -> Result<Watch<'_>, Status> {
        let mut runs = RunsClient::new(self.channel.clone());
        let request = v1::WatchRunRequest { execution_id: execution_id.into() };
        let stream = self.runtime.block_on(runs.watch_run(request))?.into_inner();
        Ok(Watch { client: self, stream })
    }

    /// # Errors
    /// What the node answered.
    pub fn cancel(&self, execution_id: &str) -> Result<RunState, Status> {
        let mut runs = RunsClient::new(self.channel.clone());
        let request = v1::CancelRunRequest { execution_id: execution_id.into() };
        Ok(self.runtime.block_on(runs.cancel_run(request))?.into_inner().state())
    }

    /// # Errors
    /// What the node answered.
    pub fn run(&self, execution_id: &str) -> Result<Run, Status> {
        let mut runs = RunsClient::new(self.channel.clone());
        let request = v1::GetRunRequest { execution_id: execution_id.into() };
        Ok(self.runtime.block_on(runs.get_run(request))?.into_inner())
    }

    /// Submits and watches to the end; panics unless it succeeds.
    #[track_caller]
    pub fn render(&self, submission: &Submission) -> Run {
        let run = self.finish(submission);
        assert_eq!(run.state(), RunState::Succeeded, "{}: {:#?}", run.message, run.steps);
        run
    }

    /// Submits and watches to the end, whatever it is.
    #[track_caller]
    pub fn finish(&self, submission: &Submission) -> Run {
        let accepted = self.submit(submission).unwrap_or_else(|status| panic!("not accepted: {status}"));
        let mut watch = self.watch(&accepted.execution_id).expect("an accepted run can be watched");
        while watch.next().is_some() {}
        self.run(&accepted.execution_id).expect("an accepted run can be looked up")
    }
}

/// The events of a run, from its start to its end.
pub struct Watch<'a> {
    client: &'a Client,
    stream: Streaming<RunEvent>,
}

impl Watch<'_> {
    /// Reads on until a step is in the state.
    pub fn until_step(&mut self, is: impl Fn(&StepStatus) -> bool) -> Option<StepStatus> {
        self.find_map(|event| match event.event {
            Some(Event::Step(step)) if is(&step) => Some(step),
            _ => None,
        })
    }
}

impl Iterator for Watch<'_> {
    type Item = RunEvent;

    fn next(&mut self) -> Option<RunEvent> {
        let message = self.client.runtime.block_on(self.stream.message());
        message.unwrap_or_else(|status| panic!("the events of a run broke off: {status}"))
    }
}

/// SHA3-256 of a file, in hex.
pub fn content_hash(path: &Path) -> String {
    use sha3::{Digest, Sha3_256};
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    hex::encode(Sha3_256::digest(bytes))
}
