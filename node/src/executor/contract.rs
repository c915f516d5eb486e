//! What every executor must do, whatever it runs. Each body brings a [`Bench`] with its own media
//! and passes the whole suite: `contract_suite!(bench)`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use artdag_core::recipe::NodeType;
use ipld_core::ipld::Ipld;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{Executor, Failure, FailureClass, Job, Output, progress};

/// One executor and the media it works on.
pub(super) struct Bench {
    pub executor: Arc<dyn Executor>,
    pub scratch: tempfile::TempDir,
    /// One job at least of every node type that the toolset can do.
    pub cases: Vec<Case>,
    /// Takes many seconds when nothing stops it, and writes more than 64 KiB.
    pub endless: Case,
}

/// A job without its directory.
#[derive(Clone)]
pub(super) struct Case {
    pub name: &'static str,
    pub kind: NodeType,
    pub config: serde_json::Value,
    pub inputs: Vec<PathBuf>,
}

impl Case {
    pub(super) fn new(name: &'static str, kind: NodeType, config: serde_json::Value, inputs: &[&PathBuf]) -> Self {
        Self { name, kind, config, inputs: inputs.iter().map(|input| (*input).clone()).collect() }
    }
}

/// Text as the data model has it: whole numbers stay whole.
pub(super) fn ipld(value: &serde_json::Value) -> Ipld {
    serde_json::from_value(value.clone()).expect("JSON is within the data model")
}

impl Bench {
    pub(super) fn job(&self, case: &Case) -> Job {
        let workspace = tempfile::tempdir_in(self.scratch.path()).expect("scratch is writable");
        Job {
            kind: case.kind,
            config: ipld(&case.config),
            threads: 2,
            inputs: case.inputs.clone(),
            workspace: workspace.keep(),
            timeout: Duration::from_secs(120),
            disk_bytes: 1 << 30,
        }
    }

    pub(super) async fn execute(&self, job: &Job) -> Result<Output, Failure> {
        let (sender, receiver) = progress();
        let never = CancellationToken::new();
        let done = self.executor.execute(job, &sender, &never).await;
        if done.is_ok() {
            assert_eq!(*receiver.borrow(), 1.0, "a step that is done says so");
        }
        done
    }

    /// The output of a case; fails loudly.
    pub(super) async fn run(&self, case: &Case) -> Output {
        let done = self.execute(&self.job(case)).await;
        done.unwrap_or_else(|failure| panic!("{}: {failure}\n{}", case.name, failure.log))
    }

    pub(super) async fn failure(&self, case: &Case) -> Failure {
        let done = self.execute(&self.job(case)).await;
        done.expect_err("this case cannot succeed")
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.scratch.path().join(name);
        fs::write(&path, bytes).expect("scratch is writable");
        path
    }
}

fn digest(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("the output is there");
    Sha256::digest(bytes).to_vec()
}

pub(super) async fn says_what_it_is(bench: Bench) {
    let first = bench.executor.probe().await.expect("it is here");
    let second = bench.executor.probe().await.expect("it is still here");
    assert_eq!(first, second);
    assert_eq!(first.name, bench.executor.name());
    assert_eq!(first.to_string().parse(), Ok(first));
}

pub(super) async fn does_every_type_it_claims(bench: Bench) {
    for kind in NodeType::ALL {
        let claimed = kind.toolsets().contains(&bench.executor.name());
        let tested = bench.cases.iter().any(|case| case.kind == *kind);
        assert!(!claimed || tested || *kind == NodeType::Source, "{kind}");
    }
    for case in &bench.cases {
        let config = ipld(&case.config);
        let inputs = case.inputs.len();
        let normal = case.kind.check_normalised(&config, inputs, bench.executor.name());
        normal.unwrap_or_else(|message| panic!("{}: {message}", case.name));
    }
}

pub(super) async fn same_job_same_bytes(bench: Bench) {
    for case in &bench.cases {
        let before: Vec<_> = case.inputs.iter().map(|input| digest(input)).collect();
        let (first, second) = (bench.run(case).await, bench.run(case).await);
        assert_ne!(first.path, second.path);
        assert_eq!(digest(&first.path), digest(&second.path), "{}", case.name);
        let after: Vec<_> = case.inputs.iter().map(|input| digest(input)).collect();
        assert_eq!(before, after, "{} changed its inputs", case.name);
        assert!(!first.build.is_empty());
    }
}

pub(super) async fn output_lies_in_the_workspace(bench: Bench) {
    let case = &bench.cases[0];
    let job = bench.job(case);
    let output = bench.execute(&job).await.expect("the case is right");
    assert_eq!(output.path.parent(), Some(job.workspace.as_path()));
    let metadata = fs::symlink_metadata(&output.path).expect("it is there");
    assert!(metadata.is_file() && metadata.len() > 0);
}

pub(super) async fn what_is_not_media_is_named(bench: Bench) {
    let hostile = [
        bench.write("text", b"this is a text, not media at all"),
        bench.write("empty", b""),
        bench.write("playlist.m3u8", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        bench.write("head", b"\x89PNG\r\n\x1a\n and then nothing"),
        bench.write("riff", b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff"),
    ];
    // Every case with one of them, in turn, and so every one of them several times.
    let cases = bench.cases.iter().filter(|case| !case.inputs.is_empty());
    for (case, bad) in cases.zip(hostile.iter().cycle()) {
        let mut case = case.clone();
        let last = case.inputs.len() - 1;
        case.inputs[last] = bad.clone();
        let failure = bench.failure(&case).await;
        assert_eq!(failure.class, FailureClass::Input, "{}: {failure}", case.name);
        // Two inputs of different kinds may be found out at either.
        let named = failure.message.contains(&format!("input {last}")) || failure.message.contains("input 0");
        assert!(named, "{} {}: {failure}", case.name, bad.display());
    }
}

pub(super) async fn half_a_file_is_never_a_crash(bench: Bench) {
    for case in bench.cases.iter().filter(|case| case.inputs.len() == 1) {
        let whole = fs::read(&case.inputs[0]).expect("the input is there");
        for share in [1, 3, 7] {
            let half = bench.write("half", &whole[..whole.len() * share / 8]);
            let mut case = case.clone();
            case.inputs = vec![half];
            if let Err(failure) = bench.execute(&bench.job(&case)).await {
                let class = failure.class;
                let fits = matches!(class, FailureClass::Input | FailureClass::Executor);
                assert!(fits, "{}: {failure}", case.name);
                assert!(!failure.message.contains("crashed"), "{}: {failure}", case.name);
            }
        }
    }
}

pub(super) async fn a_wrong_config_is_the_inputs_fault(bench: Bench) {
    let mut case = bench.cases[0].clone();
    case.config = serde_json::json!({ "no_such_key": 1 });
    let failure = bench.failure(&case).await;
    assert_eq!(failure.class, FailureClass::Input, "{failure}");
}

pub(super) async fn cancel_ends_it_soon(bench: Bench) {
    let job = bench.job(&bench.endless);
    let cancel = CancellationToken::new();
    let (sender, mut receiver) = progress();
    let stop = cancel.clone();
    // As soon as it says that it is under way.
    let watcher = async move {
        let begun = receiver.wait_for(|share| *share > 0.0).await.is_ok();
        stop.cancel();
        (begun, Instant::now())
    };
    let (done, (begun, at)) = tokio::join!(bench.executor.execute(&job, &sender, &cancel), watcher);
    assert!(begun);
    let failure = done.expect_err("it was cancelled");
    assert_eq!(failure.class, FailureClass::Cancelled, "{failure}");
    assert!(at.elapsed() < Duration::from_secs(4), "{:?}", at.elapsed());
}

pub(super) async fn cancelled_before_it_begins(bench: Bench) {
    let job = bench.job(&bench.endless);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (sender, _) = progress();
    let done = bench.executor.execute(&job, &sender, &cancel).await;
    assert_eq!(done.expect_err("cancelled").class, FailureClass::Cancelled);
}

pub(super) async fn time_is_bounded(bench: Bench) {
    let mut job = bench.job(&bench.endless);
    job.timeout = Duration::from_millis(900);
    let failure = bench.execute(&job).await.expect_err("too slow");
    assert_eq!(failure.class, FailureClass::TimedOut, "{failure}");
}

pub(super) async fn disk_is_bounded(bench: Bench) {
    let mut job = bench.job(&bench.endless);
    job.disk_bytes = 64 * 1024;
    let failure = bench.execute(&job).await.expect_err("too large");
    assert_eq!(failure.class, FailureClass::Executor, "{failure}");
    assert!(failure.message.contains("65536 bytes"), "{failure}");
    for entry in fs::read_dir(&job.workspace).expect("it is there") {
        let length = entry.and_then(|entry| entry.metadata()).map(|m| m.len());
        assert!(length.expect("it is there") <= job.disk_bytes);
    }
}

/// A file system of 256 KiB, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).expect("scratch is writable");
        let mut mount = Process::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&at).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a failed test may still have a process in it.
        let _ = Process::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub(super) async fn a_full_disk_is_the_nodes_trouble(bench: Bench) {
    let Some(disk) = SmallDisk::mount(bench.scratch.path().join("full")) else {
        eprintln!("SKIPPED a_full_disk_is_the_nodes_trouble: this user may not mount a small disk");
        return;
    };
    let mut job = bench.job(&bench.endless);
    job.workspace = disk.0.clone();
    let failure = bench.execute(&job).await.expect_err("no room");
    assert_eq!(failure.class, FailureClass::Node, "{failure}\n{}", failure.log);
    assert!(failure.message.to_lowercase().contains("no space left"), "{failure}");
}

/// Every law of this file, for one body. `$bench` gives a new [`Bench`], or `None` where the
/// toolset is not installed and may be missing.
macro_rules! contract_suite {
    ($bench:expr) => {
        $crate::executor::contract::contract_suite! { @each $bench;
            says_what_it_is
            does_every_type_it_claims
            same_job_same_bytes
            output_lies_in_the_workspace
            what_is_not_media_is_named
            half_a_file_is_never_a_crash
            a_wrong_config_is_the_inputs_fault
            cancel_ends_it_soon
            cancelled_before_it_begins
            time_is_bounded
            disk_is_bounded
            a_full_disk_is_the_nodes_trouble
        }
    };
    (@each $bench:expr; $($law:ident)*) => {$(
        #[tokio::test]
        async fn $law() {
            if let Some(bench) = $bench.await {
                $crate::executor::contract::$law(bench).await;
            }
        }
    )*};
}
pub(super) use contract_suite;
