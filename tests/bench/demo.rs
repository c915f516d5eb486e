//! A film on a cluster of three beside the same ffmpeg commands run by hand, one after the other.
//!
//! The commands below are those of the ffmpeg executor, written out; that they are the same is checked each time:
//! both films must have the same SHA3-256. Three nodes share this machine's cores here, so that the ratio shows
//! what being a cluster costs (cutting into blocks, hashing, fetching, ffprobe, records), not what it wins.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use artdag_tests::client::{Client, Submission, content_hash};
use artdag_tests::cluster::{Cluster, Isolation};
use artdag_tests::{command, media, process};

use crate::rows::{Better, Row};

/// As long and as large as the clip of `artdag-node demo`.
const SECONDS: u32 = 20;
const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;

const RECIPE: &str = r#"name: bench film
version: "1"
inputs:
  clip: { description: 20 s at 1280x720 with sound }
nodes:
  - { id: clip, type: SOURCE, config: { input: clip } }
  - { id: head, type: SEGMENT, config: { offset: 0, duration: 10 }, inputs: [clip] }
  - { id: tail, type: SEGMENT, config: { offset: 10, duration: 10 }, inputs: [clip] }
  - { id: small_head, type: RESIZE, config: { width: 960, height: 540, mode: stretch }, inputs: [head] }
  - { id: small_tail, type: RESIZE, config: { width: 960, height: 540, mode: stretch }, inputs: [tail] }
  - { id: warm, type: TRANSFORM, config: { effects: { saturation: 1.4, contrast: 1.1 } }, inputs: [small_head] }
  - { id: cold, type: TRANSFORM, config: { effects: { hue: 120, blur: 2 } }, inputs: [small_tail] }
  - { id: mixed, type: BLEND, config: { mode: screen, opacity: 0.5 }, inputs: [warm, cold] }
  - { id: joined, type: SEQUENCE, inputs: [mixed, cold] }
  - { id: film, type: MUX, config: { container: mp4 }, inputs: [joined, clip] }
output: film
"#;

// The pieces that the executor's commands are made of.
const SCALER: &str = "sws_flags=bicubic+accurate_rnd+full_chroma_int+bitexact;";
const NORMAL: &str =
    "format=yuv420p,setsar=1,setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709";
const TO_BT709: &str = "scale=out_color_matrix=bt709:out_range=tv,";
const SOUND: &str = "aresample=48000:async=1:first_pts=0,aformat=sample_fmts=s16:channel_layouts=stereo";
const PICTURES: &str = ":v:0]fps=25/1:start_time=0";
const MIDDLE: [&str; 2] = ["-c:v libx264 -preset ultrafast -crf 16 -g 50 -pix_fmt yuv420p", "-f matroska"];
const DELIVERY: [&str; 2] = ["-c:v libx264 -preset veryfast -crf 20 -pix_fmt yuv420p", "-movflags +faststart -f mp4"];
const FLAC: &str = "-c:a flac -compression_level 0";
const COPY: &str = "-c:a copy";

/// One ffmpeg command.
struct Hand {
    inputs: &'static [&'static str],
    seek: Option<u32>,
    graph: String,
    /// Sound: from the graph, or passed through from the first input.
    sound: &'static str,
    form: [&'static str; 2],
    audio: &'static str,
    end: Option<u32>,
    output: &'static str,
}

fn by_hand() -> Vec<Hand> {
    let segment = |seek: Option<u32>, output| Hand {
        inputs: &["clip.mp4"],
        seek,
        graph: format!("[0{PICTURES},{TO_BT709}{NORMAL}[pictures];[0:a:0]{SOUND}[sound]"),
        sound: "[sound]",
        form: MIDDLE,
        audio: FLAC,
        end: Some(10),
        output,
    };
    let step = |inputs, graph, output| Hand {
        inputs,
        seek: None,
        graph,
        sound: "0:a:0",
        form: MIDDLE,
        audio: COPY,
        end: None,
        output,
    };
    let resize = format!("[0{PICTURES},scale=960:540,{NORMAL}[pictures]");
    let warm =
        format!("[0{PICTURES},format=yuv420p,eq=contrast=1.1:brightness=0:saturation=1.4:gamma=1,{NORMAL}[pictures]");
    let cold = format!("[0{PICTURES},format=yuv420p,hue=h=120,boxblur=lr=2:cr=1,{NORMAL}[pictures]");
    let mixed = format!(
        "[0{PICTURES},setsar=1,format=gbrp[under];[1{PICTURES},fps=25/1,scale=960:540,setsar=1,format=gbrp[over];\
         [under][over]blend=all_mode=screen:all_opacity=0.5,{TO_BT709}{NORMAL}[pictures]"
    );
    let clip =
        |n: u8| format!("[{n}{PICTURES},{NORMAL}[v{n}];[{n}:a:0]{SOUND},apad,atrim=end=10,asetpts=PTS-STARTPTS[a{n}];");
    let joined = format!("{}{}[v0][a0][v1][a1]concat=n=2:v=1:a=1[pictures][sound]", clip(0), clip(1));
    let film = format!("[0{PICTURES},{NORMAL}[pictures];[1:a:0]{SOUND}[sound]");
    vec![
        segment(None, "head.mkv"),
        segment(Some(10), "tail.mkv"),
        step(&["head.mkv"], resize.clone(), "small_head.mkv"),
        step(&["tail.mkv"], resize, "small_tail.mkv"),
        step(&["small_head.mkv"], warm, "warm.mkv"),
        step(&["small_tail.mkv"], cold, "cold.mkv"),
        Hand { end: Some(10), ..step(&["warm.mkv", "cold.mkv"], mixed, "mixed.mkv") },
        Hand { sound: "[sound]", audio: FLAC, ..step(&["mixed.mkv", "cold.mkv"], joined, "joined.mkv") },
        Hand {
            sound: "[sound]",
            form: DELIVERY,
            audio: "-c:a aac -b:a 192k",
            end: Some(SECONDS),
            ..step(&["joined.mkv", "clip.mp4"], film, "film.mp4")
        },
    ]
}

impl Hand {
    fn run(&self, folder: &Path) {
        let mut words: Vec<String> = Vec::new();
        let mut add = |text: &str| words.extend(text.split(' ').map(str::to_string));
        add("-hide_banner -nostdin -nostats -y -v warning -filter_threads 2 -filter_complex_threads 2");
        for (index, input) in self.inputs.iter().enumerate() {
            if let (0, Some(seek)) = (index, self.seek) {
                add(&format!("-ss {seek}"));
            }
            add(&format!("-threads 2 -i {input}"));
        }
        add(&format!("-filter_complex {SCALER}{} -map [pictures] -map {}", self.graph, self.sound));
        add("-map_metadata -1 -map_chapters -1 -sn -dn");
        add(self.form[0]);
        add(self.audio);
        add("-fflags +bitexact -flags:v +bitexact -flags:a +bitexact -threads 2");
        if let Some(end) = self.end {
            add(&format!("-t {end}"));
        }
        add(self.form[1]);
        add(self.output);
        command::finish(std::process::Command::new("ffmpeg").args(&words).current_dir(folder)).ok();
    }
}

pub fn measure(pairs: usize) -> Vec<Row> {
    let bound_by = "ffmpeg: decoding, filters, x264";
    let beside = "ffmpeg by hand";
    let mut wall = Row::new("film on 3 nodes of one machine, wall time", "s", Better::Lower, bound_by).beside(beside);
    let mut cpu = Row::new("the same, processor time of all nodes", "s", Better::Lower, bound_by).beside(beside);
    let mut again = Row::new("the same film again, all hits", "ms", Better::Lower, "one look-up for each step");
    let folder = tempfile::tempdir().expect("a scratch folder");
    let clip = folder.path().join("clip.mp4");
    media::make_clip(&clip, SECONDS, WIDTH, HEIGHT);
    for pair in 1..=pairs {
        eprintln!("demo: pair {pair} of {pairs}");
        let ours = cluster(&clip);
        let peer = hand(folder.path());
        assert_eq!(ours.content_hash, peer.content_hash, "the commands in tests/bench/demo.rs are not the executor's");
        wall.samples_ours.push(ours.wall.as_secs_f64());
        wall.samples_peer.push(peer.wall.as_secs_f64());
        cpu.samples_ours.push(ours.cpu.as_secs_f64());
        cpu.samples_peer.push(peer.cpu.as_secs_f64());
        again.samples_ours.push(ours.again.as_secs_f64() * 1000.0);
    }
    vec![wall, cpu, again]
}

struct Taken {
    wall: Duration,
    cpu: Duration,
    again: Duration,
    content_hash: String,
}

/// From the submission to the film, on a cluster that has seen nothing before.
fn cluster(clip: &Path) -> Taken {
    let cluster = Cluster::start(3, Isolation::None);
    let cid = cluster.nodes[0].add(clip);
    let submission = Submission::new(RECIPE, &[("clip", &cid)]);
    let client: Client = cluster.nodes[0].client();
    let used = || cluster.nodes.iter().map(|node| process::cpu_time(node.pid())).sum::<Duration>();
    let (before, began) = (used(), Instant::now());
    let run = client.render(&submission);
    let (wall, cpu) = (began.elapsed(), used() - before);
    let began = Instant::now();
    client.render(&submission);
    Taken { wall, cpu, again: began.elapsed(), content_hash: hex::encode(run.content_hash) }
}

fn hand(folder: &Path) -> Taken {
    let me = std::process::id();
    let (before, began) = (process::children_cpu_time(me), Instant::now());
    for step in by_hand() {
        step.run(folder);
    }
    let wall = began.elapsed();
    let film: PathBuf = folder.join("film.mp4");
    let cpu = process::children_cpu_time(me) - before;
    Taken { wall, cpu, again: Duration::ZERO, content_hash: content_hash(&film) }
}
