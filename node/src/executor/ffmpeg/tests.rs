//! The ffmpeg toolset against the contract, its commands as data, and what its files hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;

use artdag_core::recipe::NodeType;
use serde_json::json;

use super::*;
use crate::executor::contract::{Bench as Contract, Case, contract_suite, ipld};
use crate::executor::launcher::Enforcement;

contract_suite!(bench());

/// `None`, loudly, where ffmpeg is not installed and need not be.
async fn bench() -> Option<Contract> {
    let ffmpeg = Ffmpeg::new(Launcher::this_program());
    if let Err(missing) = ffmpeg.probe().await {
        let required = std::env::var("VERIFY_REQUIRE").is_ok_and(|value| value == "all");
        assert!(!required, "{missing}");
        eprintln!("SKIPPED a test of the ffmpeg executor: {missing}");
        return None;
    }
    let scratch = tempfile::tempdir().expect("a scratch directory can be made");
    let media = Clips::make(scratch.path());
    Some(Contract {
        executor: Arc::new(ffmpeg),
        cases: cases(&media),
        endless: Case::new(
            "endless",
            NodeType::Resize,
            json!({ "width": 3840, "height": 2160, "mode": "stretch", "background": "#000000" }),
            &[&media.long],
        ),
        scratch,
    })
}

/// Small clips made by the real ffmpeg.
struct Clips {
    clip: PathBuf,
    /// Other size and rate, no sound.
    silent: PathBuf,
    long: PathBuf,
    sound: PathBuf,
    logo: PathBuf,
}

impl Clips {
    fn make(scratch: &Path) -> Self {
        let make = |name: &str, arguments: &str| {
            let path = scratch.join(name);
            let mut process = Process::new("ffmpeg");
            process.args("-v error -y".split(' '));
            process.args(arguments.split(' ')).arg(&path);
            assert!(process.status().expect("ffmpeg runs").success(), "{name}");
            path
        };
        let h264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";
        Self {
            clip: make(
                "clip.mp4",
                &format!("-f lavfi -i testsrc2=s=160x90:r=25:d=2 -f lavfi -i sine=d=2 {h264} -c:a aac"),
            ),
            silent: make("silent.mp4", &format!("-f lavfi -i smptebars=s=120x120:r=30:d=1.5 {h264}")),
            long: make("long.mp4", &format!("-f lavfi -i testsrc2=s=320x180:r=25:d=60 {h264}")),
            sound: make("sound.wav", "-f lavfi -i sine=f=300:d=1.2"),
            logo: make("logo.png", "-f lavfi -i color=c=red@0.5:s=31x17,format=rgba -frames:v 1"),
        }
    }
}

fn effects(changes: serde_json::Value) -> serde_json::Value {
    let mut effects = json!({ "saturation": 1.0, "contrast": 1.0, "brightness": 0.0, "gamma": 1.0,
        "hue": 0.0, "blur": 0.0, "sharpen": 0.0, "speed": 1.0 });
    for (key, value) in changes.as_object().expect("a map") {
        effects[key] = value.clone();
    }
    json!({ "effects": effects })
}

fn sequence(kind: &str, duration: f64, target: &str) -> serde_json::Value {
    json!({ "transition": { "type": kind, "duration": duration }, "target_size": target,
        "width": null, "height": null, "background": "#102030" })
}

fn resize(mode: &str) -> serde_json::Value {
    json!({ "width": 128, "height": 128, "mode": mode, "background": "#203040" })
}

fn mux(container: &str) -> serde_json::Value {
    json!({ "video_stream": 0, "audio_stream": 1, "shortest": true, "container": container })
}

fn cases(media: &Clips) -> Vec<Case> {
    let Clips { clip, silent, sound, logo, .. } = media;
    let segment = |precise: bool| json!({ "offset": 0.5, "duration": 1.0, "precise": precise });
    let grade = effects(json!({ "saturation": 1.4, "contrast": 1.1, "brightness": 0.02,
        "gamma": 1.1, "hue": 20.0, "blur": 1.5, "sharpen": 0.8 }));
    let layer = json!({ "inputs": [
        { "position": [0, 0], "opacity": 1.0, "scale": 1.0 },
        { "position": [20, -10], "opacity": 0.7, "scale": 0.5 },
        { "position": [100, 60], "opacity": 1.0, "scale": 1.0 } ] });
    let blend = |mode: &str| json!({ "mode": mode, "opacity": 0.5 });
    let mix = json!({ "gains": [1.0, 0.3], "normalize": false });
    vec![
        Case::new("segment", NodeType::Segment, segment(true), &[clip]),
        Case::new("copied", NodeType::Segment, segment(false), &[clip]),
        Case::new("of sound", NodeType::Segment, segment(true), &[sound]),
        Case::new("fit", NodeType::Resize, resize("fit"), &[clip]),
        Case::new("fill", NodeType::Resize, resize("fill"), &[clip]),
        Case::new("stretch", NodeType::Resize, resize("stretch"), &[silent]),
        Case::new("pad", NodeType::Resize, resize("pad"), &[silent]),
        Case::new("grade", NodeType::Transform, grade, &[clip]),
        Case::new("faster", NodeType::Transform, effects(json!({ "speed": 5.0 })), &[clip]),
        Case::new("slower", NodeType::Transform, effects(json!({ "speed": 0.4 })), &[clip]),
        Case::new("cut", NodeType::Sequence, sequence("cut", 0.5, "first"), &[clip, silent]),
        Case::new("silence", NodeType::Sequence, sequence("cut", 0.5, "last"), &[silent, silent]),
        Case::new("crossfade", NodeType::Sequence, sequence("crossfade", 0.5, "largest"), &[clip, silent, clip]),
        Case::new("fade", NodeType::Sequence, sequence("fade", 0.3, "first"), &[silent, clip]),
        Case::new("sounds", NodeType::Sequence, sequence("crossfade", 0.2, "first"), &[sound, sound]),
        Case::new("layer", NodeType::Layer, layer, &[clip, silent, logo]),
        Case::new("blend", NodeType::Blend, blend("overlay"), &[clip, silent]),
        Case::new("add", NodeType::Blend, blend("add"), &[silent, clip]),
        Case::new("mix", NodeType::AudioMix, mix, &[clip, sound]),
        Case::new("mp4", NodeType::Mux, mux("mp4"), &[clip, sound]),
        Case::new("mkv", NodeType::Mux, mux("mkv"), &[clip, sound]),
    ]
}

fn case(bench: &Contract, name: &str) -> Case {
    let found = bench.cases.iter().find(|case| case.name == name);
    found.expect("a case of this name").clone()
}

/// Looks at a file with ffprobe directly, not through the code under test.
fn looked(path: &Path) -> serde_json::Value {
    let output = Process::new("ffprobe")
        .args("-v error -count_packets -show_streams -show_format -of json".split(' '))
        .arg(path)
        .output()
        .expect("ffprobe runs");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn stream(looked: &serde_json::Value, kind: &str) -> Option<serde_json::Value> {
    let streams = looked["streams"].as_array().expect("a list");
    streams.iter().find(|stream| stream["codec_type"] == kind).cloned()
}

fn frames(looked: &serde_json::Value) -> Option<i64> {
    let packets = stream(looked, "video")?["nb_read_packets"].as_str()?.to_owned();
    packets.parse().ok()
}

#[tokio::test]
async fn outputs_have_the_streams_size_and_length_that_the_config_says() {
    let Some(bench) = bench().await else { return };
    // Pictures, size, sound, seconds.
    for (name, pictures, size, sound, seconds) in [
        ("segment", Some(25), (160, 90), true, 1.0),
        ("of sound", None, (0, 0), true, 0.7),
        ("fit", Some(50), (128, 128), true, 2.0),
        ("fill", Some(50), (128, 128), true, 2.0),
        ("stretch", Some(45), (128, 128), false, 1.5),
        ("pad", Some(45), (128, 128), false, 1.5),
        ("grade", Some(50), (160, 90), true, 2.0),
        ("faster", Some(10), (160, 90), true, 0.4),
        ("slower", Some(125), (160, 90), true, 5.0),
        ("cut", Some(88), (160, 90), true, 3.5),
        ("silence", Some(90), (120, 120), false, 3.0),
        ("crossfade", Some(113), (160, 90), true, 4.5),
        ("fade", Some(105), (120, 120), true, 3.5),
        ("sounds", None, (0, 0), true, 2.2),
        ("layer", Some(50), (160, 90), true, 2.0),
        ("blend", Some(50), (160, 90), true, 2.0),
        ("add", Some(45), (120, 120), false, 1.5),
        ("mix", None, (0, 0), true, 2.0),
        ("mp4", Some(30), (160, 90), true, 1.2),
        ("mkv", Some(30), (160, 90), true, 1.2),
    ] {
        let found = looked(&bench.run(&case(&bench, name)).await.path);
        let counted = frames(&found);
        let near = match (counted, pictures) {
            (Some(counted), Some(pictures)) => counted.abs_diff(pictures) <= 1,
            (counted, pictures) => counted == pictures,
        };
        assert!(near, "{name}: {counted:?} pictures");
        if let Some(video) = stream(&found, "video") {
            assert_eq!((&video["width"], &video["height"]), (&json!(size.0), &json!(size.1)), "{name}");
            assert_eq!(video["pix_fmt"], "yuv420p", "{name}");
        }
        assert_eq!(stream(&found, "audio").is_some(), sound, "{name}");
        let length: f64 = found["format"]["duration"].as_str().and_then(|text| text.parse().ok()).expect("a length");
        assert!((length - seconds).abs() < 0.09, "{name}: {length} s");
    }
}

#[tokio::test]
async fn the_film_plays_while_it_loads_and_tells_nothing_about_us() {
    let Some(bench) = bench().await else { return };
    let output = bench.run(&case(&bench, "mp4")).await;
    let bytes = fs::read(&output.path).expect("it is there");
    let find = |mark: &[u8]| bytes.windows(4).position(|window| window == mark);
    assert!(find(b"moov").expect("moov") < find(b"mdat").expect("mdat"));
    for name in ["Lavf", "x264"] {
        let found = bytes.windows(name.len()).any(|window| window == name.as_bytes());
        // x264 writes its options in the stream; they are the same everywhere.
        assert!(!found || name == "x264", "{name} stands in the film");
    }
    let enforced = output.enforced.expect("a process ran");
    assert_eq!(enforced.seccomp, Enforcement::Full);
    assert_eq!(enforced.limits, Enforcement::Full);
    assert!(output.build.starts_with(|c: char| c.is_ascii_alphanumeric()));
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_and_named() {
    let Some(bench) = bench().await else { return };
    let mut late = case(&bench, "segment");
    late.config["offset"] = json!(2.5);
    let mut long = case(&bench, "crossfade");
    long.config["transition"]["duration"] = json!(1.5);
    let mut deaf = case(&bench, "mp4");
    deaf.inputs[1] = case(&bench, "silence").inputs[0].clone();
    let mut blind = case(&bench, "fit");
    blind.inputs[0] = case(&bench, "of sound").inputs[0].clone();
    let mut odd = case(&bench, "fit");
    odd.config["width"] = json!(127);
    let mut blurred = case(&bench, "grade");
    blurred.config["effects"]["blur"] = json!(45.0);
    for (case, part) in [
        (late, "starts at 2.5 s"),
        (long, "input 1 lasts 1.5"),
        (deaf, "input 1 has no sound"),
        (blind, "input 0 has no pictures"),
        (odd, "write 128x128"),
        (blurred, "write less than 45"),
    ] {
        let failure = bench.failure(&case).await;
        assert_eq!(failure.class, FailureClass::Input, "{failure}");
        assert!(failure.message.contains(part), "{failure}");
    }
}

#[tokio::test]
async fn without_ffmpeg_one_line_says_what_to_do() {
    let ffmpeg = Ffmpeg::searching(Launcher::this_program(), "/nonexistent".into());
    let missing = ffmpeg.probe().await.expect_err("nothing there");
    assert!(missing.to_string().contains("apt-get install ffmpeg"));
    assert_eq!(missing.to_string().lines().count(), 1);
    let scratch = tempfile::tempdir().expect("a scratch directory can be made");
    let job = Job {
        kind: NodeType::Segment,
        config: ipld(&json!({})),
        threads: 1,
        inputs: vec![],
        workspace: scratch.path().to_path_buf(),
        timeout: Duration::from_secs(5),
        disk_bytes: 1,
    };
    let (sender, _receiver) = crate::executor::progress();
    let never = CancellationToken::new();
    let done = ffmpeg.execute(&job, &sender, &never).await;
    let failure = done.expect_err("nothing there");
    assert_eq!(failure.class, FailureClass::Node);
}

#[tokio::test]
async fn an_ffmpeg_that_fails_is_the_executors_fault_with_its_last_words() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(bench) = bench().await else { return };
    let directory = bench.scratch.path().join("tools");
    fs::create_dir(&directory).expect("scratch is writable");
    for (name, script) in [
        (
            "ffmpeg",
            "#!/bin/sh\nif [ \"$1\" = -version ]; then echo ffmpeg version 5.1.0 x; exit 0; fi\necho last words >&2\nexit 3\n",
        ),
        ("ffprobe", "#!/bin/sh\nexec /usr/bin/ffprobe \"$@\"\n"),
    ] {
        let path = directory.join(name);
        fs::write(&path, script).expect("scratch is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let ffmpeg = Ffmpeg::searching(Launcher::this_program(), directory.into());
    let (sender, _receiver) = crate::executor::progress();
    let job = bench.job(&case(&bench, "fit"));
    let done = ffmpeg.execute(&job, &sender, &CancellationToken::new()).await;
    let failure = done.expect_err("it exits with 3");
    assert_eq!(failure.class, FailureClass::Executor);
    assert_eq!(failure.message, "ffmpeg failed with exit code 3: last words");
    assert_eq!(failure.log, "last words");
}

#[test]
fn the_words_of_a_full_disk_are_known() {
    assert!(is_node_trouble("av_interleaved_write_frame(): No space left on device"));
    assert!(!is_node_trouble("Invalid data found when processing input"));
    let failure = Failure::io("writing", &std::io::ErrorKind::StorageFull.into());
    assert_eq!(failure.class, FailureClass::Node);
    assert!(failure.message.contains("no space left"));
}

fn clip() -> Media {
    Media {
        path: "/in/a b;$(c)'.mp4".into(),
        demuxer: "mov",
        seconds: Some(4.0),
        video: Some(media::Video {
            width: 160,
            height: 90,
            rate: media::Rate { num: 25, den: 1 },
            codec: "h264".to_owned(),
            normal: true,
            frames: Some(100),
        }),
        audio: Some(media::Audio { codec: "aac".to_owned() }),
    }
}

fn arguments(kind: NodeType, config: &serde_json::Value, inputs: &[Media]) -> Vec<String> {
    let job = Job {
        kind,
        config: ipld(config),
        threads: 3,
        inputs: inputs.iter().map(|media| media.path.clone()).collect(),
        workspace: "/work".into(),
        timeout: Duration::from_secs(1),
        disk_bytes: 1,
    };
    let rendering = steps::rendering(&job, inputs).expect("the config is right");
    let words = rendering.arguments(inputs, job.threads);
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

#[test]
fn every_command_is_closed_pinned_and_bit_exact() {
    let config = json!({ "offset": 1.5, "duration": 2.0, "precise": true });
    let words = arguments(NodeType::Segment, &config, &[clip()]);
    let text = words.join(" ");
    for part in [
        "-nostdin",
        "-filter_threads 3 -filter_complex_threads 3",
        "-ss 1.5 -threads 3 -max_pixels 268435456 -protocol_whitelist file,pipe -format_whitelist mov -f mov -i file:/in/a b;$(c)'.mp4",
        "sws_flags=bicubic+accurate_rnd+full_chroma_int+bitexact;",
        "-map_metadata -1 -map_chapters -1 -sn -dn",
        "-fflags +bitexact -flags:v +bitexact -flags:a +bitexact -threads 3 -t 2 -f matroska file:output.mkv",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    // The name stays one word, whatever it holds.
    assert!(words.contains(&"file:/in/a b;$(c)'.mp4".to_owned()));
}

#[test]
fn a_crossfade_is_a_chain_with_the_offsets_of_what_came_before() {
    let config = sequence("crossfade", 0.5, "first");
    let text = arguments(NodeType::Sequence, &config, &[clip(), clip(), clip()]).join(" ");
    for part in [
        "[v0][v1]xfade=transition=fade:duration=0.5:offset=3.5[x1]",
        "[x1][v2]xfade=transition=fade:duration=0.5:offset=7[pictures]",
        "[a0][a1]acrossfade=d=0.5[y1]",
        "[y1][a2]acrossfade=d=0.5[sound]",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let mut silent = clip();
    silent.audio = None;
    let text = arguments(NodeType::Sequence, &config, &[clip(), silent]).join(" ");
    assert!(text.contains("anullsrc=r=48000:cl=stereo"), "{text}");
}

#[test]
fn sound_of_our_own_is_not_encoded_again() {
    let mut ours = clip();
    ours.demuxer = "matroska";
    ours.audio = Some(media::Audio { codec: "flac".to_owned() });
    let text = arguments(NodeType::Resize, &resize("fit"), &[ours]).join(" ");
    assert!(text.contains("-map 0:a:0") && text.contains("-c:a copy"), "{text}");
    assert!(text.contains("pad=128:128:(ow-iw)/2:(oh-ih)/2:color=0x203040"), "{text}");
}
