//! `artdag-node demo --json`, as a newcomer runs it: one command, three nodes, one film.

mod one_command {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::time::Duration;

    use artdag_tests::client::content_hash;
    use artdag_tests::skip::needs_tool;
    use artdag_tests::{command, media, process, wait};
    use rustix::process::Signal;
    use serde_json::Value;
    use tempfile::TempDir;

    /// A stopped node promises five seconds; a loaded machine gets more.
    const STOP: Duration = Duration::from_secs(10);

    /// A demo whose temporary files, kept or not, lie in a folder of the test, and whose nodes end with it.
    struct Demo {
        folder: TempDir,
    }

    impl Demo {
        fn new() -> Demo {
            Demo { folder: tempfile::tempdir().expect("a scratch folder") }
        }

        fn command(&self) -> Command {
            let mut command = Command::new(process::program("artdag-node"));
            command.args(["demo", "--json"]).current_dir(self.folder.path());
            command.env("HOME", self.folder.path()).env("TMPDIR", self.folder.path());
            command
        }

        /// What the nodes that are up said of themselves.
        fn nodes(&self) -> Vec<Value> {
            let mut found = Vec::new();
            node_files(self.folder.path(), &mut found);
            let read = |path: &PathBuf| serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok();
            found.iter().filter_map(read).collect()
        }

        fn pids(&self) -> Vec<u32> {
            let pids = self.nodes().into_iter().filter_map(|node| node["pid"].as_u64());
            pids.filter_map(|pid| u32::try_from(pid).ok()).collect()
        }
    }

    impl Drop for Demo {
        fn drop(&mut self) {
            for pid in self.pids() {
                process::signal(pid, Signal::KILL);
            }
        }
    }

    fn node_files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                node_files(&path, found);
            } else if path.ends_with("node.json") {
                found.push(path);
            }
        }
    }

    /// The laws of the last line, whatever was rendered.
    #[track_caller]
    fn check(line: &Value) {
        for field in ["output_cid", "content_hash", "file", "url", "nodes", "steps", "second_run"] {
            assert!(!line[field].is_null(), "`{field}` is missing in {line}");
        }
        assert_eq!(line["nodes"], 3, "{line}");
        let second = &line["second_run"];
        assert!(second["steps"].as_u64() > Some(0) && second["hits"] == second["steps"], "{second}");
        assert!(second["ms"].as_u64().expect("milliseconds") < 1000, "{second}");
        let steps = line["steps"].as_array().expect("a list of steps");
        for step in steps {
            for field in ["id", "type", "node", "cid"] {
                assert!(step[field].as_str().is_some_and(|text| !text.is_empty()), "`{field}` in {step}");
            }
            assert!(step["attempt"].is_u64() && step["ms"].is_u64(), "{step}");
        }
        let nodes: BTreeSet<&str> = steps.iter().filter_map(|step| step["node"].as_str()).collect();
        assert_eq!(nodes.len(), 3, "steps ran on all three: {line}");
    }

    #[test]
    fn renders_a_film_on_three_nodes_and_each_has_it() {
        if !needs_tool("renders_a_film_on_three_nodes_and_each_has_it", "ffmpeg", "-version") {
            return;
        }
        let demo = Demo::new();
        let finished = command::finish(demo.command().arg("--keep")).ok();
        let line = finished.json();
        check(&line);
        let (cid, hash) = (line["output_cid"].as_str().expect("a CID"), line["content_hash"].as_str().expect("hex"));
        let file = demo.folder.path().join(line["file"].as_str().expect("a path"));
        assert_eq!(content_hash(&file), hash);
        media::plays(&file);
        let probe = media::probe(&file);
        assert_eq!((probe.videos, probe.sounds), (1, 1), "{probe:?}");
        assert_eq!((probe.width, probe.height), (FILM.1, FILM.2), "{probe:?}");
        assert!(probe.container.contains("mp4"), "{probe:?}");
        assert!((probe.duration_s - FILM.0).abs() < 0.2, "{probe:?}, expected {} s", FILM.0);

        let nodes = demo.nodes();
        assert_eq!(nodes.len(), 3, "--keep leaves them up");
        for node in &nodes {
            let url = format!("http://{}", node["grpc"].as_str().expect("an address"));
            assert!(finished.stderr.contains(url.trim_start_matches("http://")), "how to use {url} is said");
            let copy = demo.folder.path().join("copy.mp4");
            let to = copy.to_str().expect("test paths are text");
            command::run(process::program("artdag"), &["--node", &url, "get", cid, "-o", to]).ok();
            assert_eq!(content_hash(&copy), hash, "from {url}");
            std::fs::remove_file(&copy).expect("it was just written");
        }
        for pid in demo.pids() {
            process::signal(pid, Signal::TERM);
            wait::until("a kept node to stop", STOP, || (!process::is_alive(pid)).then_some(()));
        }
    }

    /// Without ffmpeg there is still something to look at and to hear, and a line that says what to install.
    #[test]
    fn renders_built_in_steps_without_ffmpeg_and_leaves_only_the_result() {
        let demo = Demo::new();
        let nowhere = tempfile::tempdir().expect("an empty folder");
        let finished = command::finish(demo.command().env("PATH", nowhere.path())).ok();
        assert!(finished.stderr.contains("install"), "it says what to do: {}", finished.stderr);
        let line = finished.json();
        check(&line);
        let file = demo.folder.path().join(line["file"].as_str().expect("a path"));
        assert_eq!(content_hash(&file), line["content_hash"].as_str().expect("hex"));
        assert!(std::fs::metadata(file).expect("a file is left").len() > 1000);
        assert_eq!(demo.nodes(), Vec::<Value>::new(), "no node is left");
    }

    /// A demo that is stopped takes its nodes with it.
    #[test]
    fn a_stopped_demo_leaves_nothing() {
        let demo = Demo::new();
        let log = std::fs::File::create(demo.folder.path().join("log")).expect("the log can be made");
        let mut child = demo.command().stdout(log.try_clone().expect("shared")).stderr(log).spawn().expect("built");
        let pids = wait::until("a node of the demo", Duration::from_secs(60), || {
            let pids = demo.pids();
            (!pids.is_empty()).then_some(pids)
        });
        process::signal(child.id(), Signal::TERM);
        wait::until("the demo to stop", STOP, || child.try_wait().expect("a child can be waited for"));
        let gone = || pids.iter().all(|pid| !process::is_alive(*pid));
        wait::until("its nodes to stop", STOP, || gone().then_some(()));
    }

    /// Seconds, width and height that the demo's recipe asks for.
    const FILM: (f64, u64, u64) = (20.0, 1280, 720);
}
