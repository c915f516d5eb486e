//! The launcher on real processes: what it lets a program do, and how it ends one.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use super::*;

/// Makes [`launched`] the launcher.
const AS_LAUNCHER: &str = "ARTDAG_TEST_LAUNCHER";

/// The test binary as the launcher: one of its tests, run alone.
pub(super) fn launcher() -> Launcher {
    let arguments = ["executor::launcher::tests::launched", "--exact", "--nocapture"];
    Launcher {
        program: "/proc/self/exe".into(),
        arguments: arguments.map(OsString::from).into(),
        environment: vec![(AS_LAUNCHER.into(), "1".into())],
    }
}

/// Not a test of its own: what [`launcher`] starts. In an ordinary run it has nothing to do.
#[test]
fn launched() {
    if std::env::var_os(AS_LAUNCHER).is_none() {
        return;
    }
    let code = launch_main();
    // It came back, so it ran nothing; end as the real launcher does.
    let code = [EXIT_NOT_CONFINED, EXIT_NOT_EXECUTED]
        .into_iter()
        .find(|number| ExitCode::from(*number) == code)
        .unwrap_or(EXIT_NOT_CONFINED);
    std::process::exit(i32::from(code));
}

struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory can be made");
        std::fs::create_dir(directory.path().join("work")).expect("scratch is writable");
        Self { directory }
    }

    fn workspace(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// A Python-free way to poke: the tests' own shell script, run by an explicit interpreter.
    fn command(&self, script: &str) -> Command {
        Command {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            workspace: self.workspace(),
            readable: Vec::new(),
            limits: Limits { cpu_seconds: 20, address_space_bytes: 4 << 30, disk_bytes: 1 << 20, open_files: 64 },
            timeout: Duration::from_secs(20),
        }
    }

    async fn run(&self, script: &str) -> (Ended, String) {
        let cancel = CancellationToken::new();
        let launcher = launcher();
        let ran = launcher.capture(self.command(script), 1 << 20, &cancel);
        let (ended, out) = ran.await.expect("the launcher starts");
        (ended, String::from_utf8_lossy(&out).into_owned())
    }
}

/// Waits for the end of a process that is not ours to wait for.
fn ends_soon(pid: &str) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let number = pid.trim().parse().ok().and_then(Pid::from_raw);
    let number = number.expect("a process number");
    let Ok(watched) = pidfd_open(number, PidfdFlags::empty()) else {
        return true;
    };
    let mut polled = [PollFd::new(&watched, PollFlags::IN)];
    let soon = Timespec { tv_sec: 5, tv_nsec: 0 };
    poll(&mut polled, Some(&soon)).expect("it can be waited for") == 1
}

#[tokio::test]
async fn the_tool_gets_its_words_an_empty_environment_and_its_directory() {
    let bench = Bench::new();
    let (ended, out) = bench.run("pwd; env; echo \"$0 done\"; echo to-log >&2").await;
    assert_eq!(ended.ending, Ending::Code(0), "{}", ended.log);
    let real = bench.workspace().canonicalize().expect("it exists");
    assert!(out.starts_with(&format!("{}\n", real.display())), "{out}");
    assert!(!out.contains("PATH=/") && !out.contains(AS_LAUNCHER), "{out}");
    assert!(!out.contains(REPORT_MARK), "{out}");
    assert_eq!(ended.log, "to-log");
    assert_eq!(ended.enforced.seccomp, Enforcement::Full);
    assert_eq!(ended.enforced.limits, Enforcement::Full);
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    let bench = Bench::new();
    assert_eq!(bench.run("exit 7").await.0.ending, Ending::Code(7));
    assert_eq!(bench.run("kill -SEGV $$").await.0.ending, Ending::Signal(11));
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let bench = Bench::new();
    let mut command = bench.command("true");
    command.program = "/usr/bin/no-such-tool".into();
    let ended = launcher().run(command, |_| {}, &CancellationToken::new()).await;
    let error = ended.expect_err("nothing to run");
    assert!(matches!(error, LaunchError::NotExecutable { .. }), "{error}");
    assert!(error.to_string().contains("no-such-tool"));
}

#[tokio::test]
async fn limits_hold() {
    let bench = Bench::new();
    let (_, out) = bench.run("ulimit -t; ulimit -n; ulimit -c; ulimit -f").await;
    assert_eq!(out, "20\n64\n0\n2048\n");
    let endless = "while :; do echo 0123456789012345678901234567890123456789; done > big";
    assert_eq!(bench.run(endless).await.0.ending, Ending::DiskLimit);
    let written = std::fs::metadata(bench.workspace().join("big")).expect("begun").len();
    assert!(written <= 1 << 20);
    let many = "n=0; while :; do n=$((n+1)); head -c 300000 /dev/zero > f$((n % 100)); done";
    assert_eq!(bench.run(many).await.0.ending, Ending::DiskLimit);
}

#[tokio::test]
async fn processor_time_is_bounded() {
    let bench = Bench::new();
    let mut command = bench.command("while :; do :; done");
    command.limits.cpu_seconds = 1;
    let ended = launcher().run(command, |_| {}, &CancellationToken::new()).await;
    assert_eq!(ended.expect("it starts").ending, Ending::TimedOut);
}

#[tokio::test]
async fn no_socket_but_a_unix_one() {
    let bench = Bench::new();
    let perl = "use Socket; \
        print socket(my $a, AF_INET, SOCK_STREAM, 0) ? 'inet ' : 'refused '; \
        print socket(my $b, AF_INET6, SOCK_DGRAM, 0) ? 'inet6 ' : 'refused '; \
        print socket(my $c, AF_UNIX, SOCK_STREAM, 0) ? 'unix' : 'refused';";
    if !Path::new("/usr/bin/perl").exists() {
        eprintln!("SKIPPED no_socket_but_a_unix_one: perl is not installed");
        return;
    }
    let mut command = bench.command("");
    command.program = "/usr/bin/perl".into();
    command.arguments = vec!["-e".into(), perl.into()];
    let cancel = CancellationToken::new();
    let (ended, out) = launcher().capture(command, 1024, &cancel).await.expect("it starts");
    let out = String::from_utf8_lossy(&out).into_owned();
    assert_eq!(out, "refused refused unix", "{}", ended.log);
}

#[tokio::test]
async fn files_outside_are_out_of_reach_where_landlock_holds() {
    let bench = Bench::new();
    let secret = bench.directory.path().join("secret");
    let input = bench.directory.path().join("input");
    std::fs::write(&secret, "secret").expect("scratch is writable");
    std::fs::write(&input, "input").expect("scratch is writable");
    let script = format!(
        "cat {}; cat {}; echo x > {} ; echo ok > inside && cat inside",
        secret.display(),
        input.display(),
        input.display()
    );
    let mut command = bench.command(&script);
    command.readable = vec![input.clone()];
    let cancel = CancellationToken::new();
    let ran = launcher().capture(command, 1024, &cancel).await;
    let (ended, out) = ran.expect("it starts");
    let out = String::from_utf8_lossy(&out).into_owned();
    assert!(out.ends_with("ok\n"), "{out}");
    if ended.enforced.landlock == Enforcement::None {
        eprintln!("SKIPPED the rest of files_outside_are_out_of_reach: this kernel has no landlock");
        return;
    }
    assert_eq!(out, "inputok\n");
    assert_eq!(std::fs::read_to_string(&input).expect("it is there"), "input");
}

#[tokio::test]
async fn cancelling_ends_the_whole_group_and_keeps_the_log() {
    let bench = Bench::new();
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let started = std::time::Instant::now();
    // The child of the child ignores the polite signal.
    let script = "echo begun >&2; (trap '' TERM; echo $$; while :; do sleep 1; done) & \
        echo $!; while :; do sleep 1; done";
    let pids = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&pids);
    let on_stdout = move |piece: &[u8]| {
        let mut seen = seen.lock().expect("nobody panics with it");
        seen.extend_from_slice(piece);
        if seen.iter().filter(|byte| **byte == b'\n').count() == 2 {
            stop.cancel();
        }
    };
    let ended = launcher().run(bench.command(script), on_stdout, &cancel).await;
    let ended = ended.expect("it starts");
    assert_eq!(ended.ending, Ending::Cancelled);
    assert!(ended.log.contains("begun"));
    assert!(started.elapsed() < Duration::from_secs(10));
    let pids = pids.lock().expect("nobody panics with it").clone();
    for pid in String::from_utf8_lossy(&pids).lines() {
        assert!(ends_soon(pid), "{pid} lives");
    }
}

#[tokio::test]
async fn a_time_out_keeps_the_log_even_of_a_deaf_process() {
    let bench = Bench::new();
    let mut command = bench.command("trap '' TERM; echo working >&2; while :; do sleep 1; done");
    command.timeout = Duration::from_millis(700);
    let ended = launcher().run(command, |_| {}, &CancellationToken::new()).await;
    let ended = ended.expect("it starts");
    assert_eq!(ended.ending, Ending::TimedOut);
    assert_eq!(ended.log, "working");
}

#[tokio::test]
async fn dropping_the_future_ends_the_process() {
    let bench = Bench::new();
    let (tell, mut told) = tokio::sync::mpsc::channel(4);
    let on_stdout = move |piece: &[u8]| {
        let _ = tell.try_send(String::from_utf8_lossy(piece).into_owned());
    };
    let cancel = CancellationToken::new();
    let launcher = launcher();
    let command = bench.command("echo $$; while :; do sleep 1; done");
    let pid = tokio::select! {
        _ = launcher.run(command, on_stdout, &cancel) => panic!("it does not end by itself"),
        pid = told.recv() => pid.expect("it says its number"),
    };
    // The sender lives in the watching thread; the channel closes when that has ended.
    assert_eq!(told.recv().await, None);
    assert!(ends_soon(&pid));
}

#[tokio::test]
async fn a_flood_of_output_is_bounded() {
    let bench = Bench::new();
    let flood = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); \
        echo 0123456789012345678901234567890123456789 >&2; echo 0123456789; done; echo end >&2";
    let cancel = CancellationToken::new();
    let ran = launcher().capture(bench.command(flood), 1000, &cancel).await;
    let (ended, out) = ran.expect("it starts");
    assert_eq!(ended.ending, Ending::Code(0));
    assert_eq!(out.len(), 1000);
    assert!(ended.log.len() <= crate::executor::MAX_LOG_BYTES && ended.log.ends_with("end"));
}

/// Makes [`a_node_that_is_killed`] a node.
const AS_NODE: &str = "ARTDAG_TEST_NODE";

/// Not a test of its own: a node that runs one tool for ever, and says the tool's number.
#[tokio::test]
async fn a_node_that_is_killed() {
    if std::env::var_os(AS_NODE).is_none() {
        return;
    }
    let bench = Bench::new();
    let say = |piece: &[u8]| eprint!("{}", String::from_utf8_lossy(piece));
    let mut command = bench.command("echo tool $$; while :; do sleep 1; done");
    command.timeout = Duration::from_secs(60);
    let _ended = launcher().run(command, say, &CancellationToken::new()).await;
}

#[test]
fn a_killed_node_leaves_no_tool_behind() {
    use std::io::BufRead as _;
    let mut node = std::process::Command::new("/proc/self/exe")
        .args(["executor::launcher::tests::a_node_that_is_killed", "--exact", "--nocapture"])
        .env(AS_NODE, "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the test binary starts");
    let said = std::io::BufReader::new(node.stderr.take().expect("piped"));
    let mut lines = said.lines().map_while(Result::ok);
    let tool = lines.find_map(|line| line.strip_prefix("tool ").map(str::to_owned));
    let tool = tool.expect("the node says its tool's number");
    node.kill().expect("it lives");
    node.wait().expect("it was ours");
    assert!(ends_soon(&tool), "the tool outlived its node");
}
