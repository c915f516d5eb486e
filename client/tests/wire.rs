//! The client and the command against a node that misbehaves on demand: nothing half added,
//! nothing half written, nothing outside the target, and a word on what to do next.

mod fake_node;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use artdag_client::{AddEvent, AddOptions, Client, ContentPath, Error};
use artdag_proto::v1;
use fake_node::{CID, Ended, FakeNode, Script};
use tokio::{io::AsyncReadExt, process::Command};
use tonic::Status;

/// A whole chunk of the add's stream; the client promises no larger message.
const CHUNK: usize = 256 * 1024;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a scratch folder")
}

fn content() -> ContentPath {
    CID.parse().expect("a valid CID")
}

fn names(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("readable").flatten().map(|entry| entry.path()).collect()
}

fn entry(path: &str, kind: v1::EntryKind, size: u64) -> Result<v1::GetResponse, Status> {
    let entry = v1::Entry { path: path.to_owned(), kind: kind.into(), size, target: "/etc".to_owned() };
    Ok(v1::GetResponse { part: Some(v1::get_response::Part::Entry(entry)) })
}

fn data(bytes: &[u8]) -> Result<v1::GetResponse, Status> {
    Ok(v1::GetResponse { part: Some(v1::get_response::Part::Data(bytes.to_vec())) })
}

async fn artdag(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_artdag"));
    command.args(["--node", url]).args(arguments).env_remove("ARTDAG_TOKEN").stdin(Stdio::null()).kill_on_drop(true);
    command.output().await.expect("the command starts")
}

#[tokio::test]
async fn a_tree_is_sent_whole_in_bounded_pieces_with_token_and_trace() {
    let folder = scratch();
    fs::create_dir(folder.path().join("inner")).expect("created");
    fs::write(folder.path().join("inner/large"), vec![1; 5 * CHUNK + 3]).expect("written");
    let node = FakeNode::new(Script::default());
    let (mut paths, mut last_sent) = (Vec::new(), 0);
    let root = node
        .serve(|url| async move {
            let client = Client::connect_with_token(&url, Some("t0ken")).await?;
            let note = &mut |event: AddEvent<'_>| {
                match event {
                    AddEvent::Added(added) => paths.push(added.path.clone()),
                    AddEvent::Sent { bytes } => last_sent = bytes.max(last_sent),
                }
                Ok(())
            };
            let root = client.add_path(folder.path(), &AddOptions::default(), note).await?;
            assert_eq!(paths.last(), Some(&root.path));
            Ok::<_, Error>(root)
        })
        .await
        .expect("added");
    assert!(root.root && node.add_ended().await == Ended::Whole);
    let seen = node.saw();
    let sent: Vec<&str> = seen.entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(sent, ["", "inner", "inner/large"]);
    assert_eq!((seen.bytes, seen.largest), (5 * CHUNK as u64 + 3, CHUNK));
    assert!(seen.options.expect("options come first").pin);
    assert_eq!(seen.authorization.as_deref(), Some("Bearer t0ken"));
    assert!(seen.traceparent.expect("each call has a trace").starts_with("00-"));
}

/// The socket sorts last: by then the node has almost everything.
#[tokio::test]
async fn a_walk_that_fails_late_is_never_taken_for_complete() {
    let folder = scratch();
    fs::write(folder.path().join("a"), vec![1; CHUNK]).expect("written");
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("z")).expect("bound");
    let node = FakeNode::new(Script::default());
    let error = node
        .serve(|url| async move {
            let client = Client::connect(&url).await.expect("connects");
            let failed = client.add_path(folder.path(), &AddOptions::default(), &mut |_| Ok(())).await;
            // The connection stays open, so only what was sent can tell the node.
            (failed.expect_err("a socket cannot be added"), client)
        })
        .await
        .0;
    assert!(error.to_string().contains("z is neither a file"), "{error}");
    assert!(matches!(node.add_ended().await, Ended::Spoiled | Ended::Broken));
}

#[tokio::test]
async fn an_add_that_is_dropped_is_never_taken_for_complete() {
    let file = tempfile::NamedTempFile::new().expect("a scratch file");
    // Sparse, and too long to be sent before the first look at what was sent.
    file.as_file().set_len(8 * 1024 * 1024 * 1024).expect("made long");
    let node = FakeNode::new(Script::default());
    let watched = &node;
    let ended = node
        .serve(|url| async move {
            let client = Client::connect(&url).await.expect("connects");
            let stop = &mut |event: AddEvent<'_>| match event {
                AddEvent::Sent { bytes } if bytes > 0 => Err(Error::TryLater("seen enough".to_owned())),
                _ => Ok(()),
            };
            let stopped = client.add_path(file.path(), &AddOptions::default(), stop).await;
            (stopped.map(drop), watched.add_ended().await, client)
        })
        .await;
    assert!(ended.0.is_err());
    assert!(matches!(ended.1, Ended::Spoiled | Ended::Broken), "{:?}", ended.1);
}

#[tokio::test]
async fn a_node_that_refuses_midway_is_heard() {
    let file = tempfile::NamedTempFile::new().expect("a scratch file");
    file.as_file().set_len(64 * 1024 * 1024).expect("made long");
    let full = Status::resource_exhausted("no space left on the node's disk");
    let node = FakeNode::new(Script { fail_add_after: Some((3, full)), ..Script::default() });
    let answer = node
        .serve(|url| async move {
            let client = Client::connect(&url).await?;
            client.add_path(file.path(), &AddOptions::default(), &mut |_| Ok(())).await
        })
        .await;
    let error = answer.expect_err("refused");
    assert!(matches!(error, Error::TryLater(_)) && error.to_string().contains("no space"), "{error}");
}

#[tokio::test]
async fn what_is_got_is_whole_or_absent() {
    let (file, folder) = (v1::EntryKind::File, v1::EntryKind::Directory);
    let cases = [
        ("a fault midway", vec![entry("", file, 4), data(b"ab"), Err(Status::data_loss("lost a block"))]),
        ("too short", vec![entry("", file, 4), data(b"ab")]),
        ("too long", vec![entry("", file, 1), data(b"ab")]),
        ("nothing", vec![]),
        ("bytes first", vec![data(b"ab")]),
        ("a name that leads out", vec![entry("", folder, 0), entry("../escaped", file, 0)]),
        ("an absolute name", vec![entry("", folder, 0), entry("/escaped", file, 0)]),
        (
            "through a link",
            vec![entry("", folder, 0), entry("l", v1::EntryKind::Symlink, 0), entry("l/escaped", file, 0)],
        ),
    ];
    for (case, get) in cases {
        let home = scratch();
        let inner = home.path().join("inner");
        fs::create_dir(&inner).expect("created");
        let target = inner.join("out");
        let node = FakeNode::new(Script { get, ..Script::default() });
        let got = node
            .serve(|url| async move {
                let client = Client::connect(&url).await?;
                client.get(&content(), &target, &mut |_| {}).await
            })
            .await;
        assert!(got.is_err(), "{case}");
        assert_eq!(names(home.path()), std::slice::from_ref(&inner), "{case}");
        assert!(names(&inner).is_empty(), "{case} left {:?}", names(&inner));
    }
}

#[tokio::test]
async fn the_command_writes_the_target_and_says_so_as_json() {
    let home = scratch();
    let target = home.path().join("out.bin");
    let get = vec![entry("", v1::EntryKind::File, 4), data(b"ab"), data(b"cd")];
    let node = FakeNode::new(Script { get, ..Script::default() });
    let to = target.to_str().expect("UTF-8");
    let output = node.serve(|url| async move { artdag(&url, &["get", CID, "-o", to, "--json"]).await }).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(&target).expect("written"), b"abcd");
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((line["size"].as_u64(), line["path"].as_str()), (Some(4), Some(to)));
}

#[tokio::test]
async fn add_prints_ndjson_whose_last_line_is_the_root() {
    let folder = scratch();
    for name in ["b", "a"] {
        fs::write(folder.path().join(name), name).expect("written");
    }
    let node = FakeNode::new(Script::default());
    let named = folder.path().to_str().expect("UTF-8");
    let output = node.serve(|url| async move { artdag(&url, &["add", "-r", named, "--json"]).await }).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0]["path"].as_str().is_some_and(|path| path.ends_with("/a")), "{text}");
    assert_eq!((lines[2]["root"].as_bool(), lines[2]["cid"].as_str()), (Some(true), Some(CID)));
    assert!(String::from_utf8_lossy(&output.stderr).contains("files/s"));
}

#[tokio::test]
async fn one_file_is_told_of_once() {
    let file = tempfile::NamedTempFile::new().expect("a scratch file");
    let node = FakeNode::new(Script::default());
    let named = file.path().to_str().expect("UTF-8");
    let output = node.serve(|url| async move { artdag(&url, &["add", named, "--json"]).await }).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1, "{output:?}");
}

/// The node sends without end, so the command ends only because nobody reads it.
#[tokio::test]
async fn a_reader_that_goes_away_ends_the_command_quietly() {
    let node = FakeNode::new(Script { cat: vec![b'x'; 65_536], ..Script::default() });
    let (first, ended) = node
        .serve(|url| async move {
            let mut command = Command::new(env!("CARGO_BIN_EXE_artdag"));
            command.args(["--node", &url, "cat", CID]).kill_on_drop(true);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
            let mut first = [0; 4];
            let mut stdout = child.stdout.take().expect("piped");
            stdout.read_exact(&mut first).await.expect("some bytes");
            drop(stdout);
            (first, tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await)
        })
        .await;
    assert_eq!(&first, b"xxxx");
    let output = ended.expect("it ends").expect("it is waited for");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn failures_and_usage_have_their_exit_codes_and_words() {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        format!("http://{}", listener.local_addr().expect("it is bound"))
    };
    let unreachable = artdag(&nobody, &["nodes"]).await;
    assert_eq!(unreachable.status.code(), Some(1));
    assert!(unreachable.stdout.is_empty());
    let said = String::from_utf8_lossy(&unreachable.stderr).into_owned();
    assert!(said.contains(&nobody) && said.contains("start one with: artdag-node run"), "{said}");

    let folder = scratch();
    let refused = artdag(&nobody, &["add", folder.path().to_str().expect("UTF-8"), "--json"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_slice(&refused.stderr).expect("one JSON object");
    assert_eq!(line["error"]["kind"], "invalid_input");
    assert!(line["error"]["message"].as_str().is_some_and(|text| text.contains("use -r")), "{line}");

    assert_eq!(artdag(&nobody, &["get", "not-a-cid"]).await.status.code(), Some(2));
}
