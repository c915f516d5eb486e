//! `artdag-node demo --json`, as a newcomer runs it: one command, three nodes, one film.

mod one_command {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::process::Command;

    use artdag_tests::client::content_hash;
    use artdag_tests::skip::needs_tool;
    use artdag_tests::{command, media, process};
    use serde_json::Value;

    /// What the demo makes by itself.
    const SECONDS: f64 = 20.0;

    #[track_caller]
    fn last_line(demo: &mut Command) -> Value {
        let line = command::finish(demo).ok().json();
        for field in ["output_cid", "content_hash", "file", "url", "nodes", "steps", "second_run"] {
            assert!(!line[field].is_null(), "`{field}` is missing in {line}");
        }
        assert_eq!(line["nodes"], 3, "{line}");
        let second = &line["second_run"];
        assert!(second["steps"].as_u64() > Some(0) && second["hits"] == second["steps"], "{second}");
        assert!(second["ms"].as_u64().expect("milliseconds") < 1000, "{second}");
        line
    }

    #[track_caller]
    fn nodes_in_steps(line: &Value) -> usize {
        let steps = line["steps"].as_array().expect("a list of steps");
        for step in steps {
            for field in ["id", "type", "node", "cid"] {
                assert!(step[field].as_str().is_some_and(|text| !text.is_empty()), "`{field}` in {step}");
            }
            assert!(step["attempt"].is_u64() && step["ms"].is_u64(), "{step}");
        }
        let nodes: BTreeSet<&str> = steps.iter().filter_map(|step| step["node"].as_str()).collect();
        nodes.len()
    }

    fn demo() -> Command {
        let mut command = Command::new(process::program("artdag-node"));
        command.args(["demo", "--json"]);
        command
    }

    #[test]
    fn renders_a_film_on_three_nodes() {
        if !needs_tool("renders_a_film_on_three_nodes", "ffmpeg", "-version") {
            return;
        }
        let home = tempfile::tempdir().expect("a scratch folder");
        let line = last_line(demo().current_dir(home.path()).env("HOME", home.path()));
        assert_eq!(nodes_in_steps(&line), 3, "{line}");
        let file = Path::new(line["file"].as_str().expect("a path"));
        let file = home.path().join(file);
        assert_eq!(content_hash(&file), line["content_hash"].as_str().expect("hex"));
        media::plays(&file);
        let probe = media::probe(&file);
        assert_eq!((probe.videos, probe.sounds), (1, 1), "{probe:?}");
        assert!(probe.container.contains("mp4") && probe.width > 0 && probe.height > 0, "{probe:?}");
        assert!(probe.duration_s > 1.0 && probe.duration_s < SECONDS * 2.0, "{probe:?}");
    }

    /// Without ffmpeg there is still something to look at and to hear, and a line that says what to install.
    #[test]
    fn renders_built_in_steps_without_ffmpeg() {
        let home = tempfile::tempdir().expect("a scratch folder");
        let nowhere = tempfile::tempdir().expect("an empty folder");
        let mut command = demo();
        command.current_dir(home.path()).env("HOME", home.path()).env("PATH", nowhere.path());
        let finished = command::finish(&mut command).ok();
        let said = format!("{}{}", finished.text(), finished.stderr);
        assert!(said.contains("ffmpeg"), "it says what is missing: {said}");
        let line = finished.json();
        assert_eq!(line["nodes"], 3, "{line}");
        assert_eq!(line["second_run"]["hits"], line["second_run"]["steps"], "{line}");
        let file = home.path().join(line["file"].as_str().expect("a path"));
        assert!(std::fs::metadata(file).expect("a file is left").len() > 1000);
    }
}
