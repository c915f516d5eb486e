//! The small film of the cluster tests: the demo's shape, some seconds long.

use crate::client::Submission;
use crate::cluster::Cluster;
use crate::media;

/// Seconds of the clip; two segments of [`SEGMENT_S`] each come from it.
pub const CLIP_S: u32 = 4;
/// Seconds of each segment, which are joined and then lie over each other's sound.
pub const SEGMENT_S: f64 = 2.0;
pub const WIDTH: u32 = 320;
pub const HEIGHT: u32 = 180;

/// Cuts, sizes, grades, blends, layers, joins and muxes. Three branches can run at the same time.
pub const RECIPE: &str = r#"name: small film
version: "1"
inputs:
  clip: { description: "a clip with sound, at least 4 s" }
nodes:
  - { id: clip, type: SOURCE, config: { input: clip } }
  - { id: head, type: SEGMENT, config: { offset: 0, duration: 2 }, inputs: [clip] }
  - { id: body, type: SEGMENT, config: { offset: 1, duration: 2 }, inputs: [clip] }
  - { id: tail, type: SEGMENT, config: { offset: 2, duration: 2 }, inputs: [clip] }
  - { id: small_head, type: RESIZE, config: { width: 320, height: 180 }, inputs: [head] }
  - { id: small_body, type: RESIZE, config: { width: 160, height: 90 }, inputs: [body] }
  - { id: small_tail, type: RESIZE, config: { width: 320, height: 180 }, inputs: [tail] }
  - { id: warm, type: TRANSFORM, config: { effects: { saturation: 1.4, contrast: 1.1 } }, inputs: [small_head] }
  - { id: cold, type: TRANSFORM, config: { effects: { hue: 120, blur: 2 } }, inputs: [small_tail] }
  - { id: mixed, type: BLEND, config: { mode: screen, opacity: 0.5 }, inputs: [warm, cold] }
  - { id: inset, type: LAYER, config: { inputs: [{}, { position: [10, 10], opacity: 0.9 }] }, inputs: [cold, small_body] }
  - { id: joined, type: SEQUENCE, inputs: [mixed, inset] }
  - { id: film, type: MUX, config: { container: mp4 }, inputs: [joined, clip] }
output: film
"#;

/// Steps that run; SOURCE does not.
pub const STEPS: usize = 12;

/// Two long, independent steps and their join, so that a test can act while one of them runs.
pub const SLOW_RECIPE: &str = r#"name: slow film
version: "1"
inputs:
  clip: { description: a clip }
nodes:
  - { id: clip, type: SOURCE, config: { input: clip } }
  - { id: soft, type: TRANSFORM, config: { effects: { blur: 20, sharpen: 1.0, speed: 0.5 } }, inputs: [clip] }
  - { id: wide, type: TRANSFORM, config: { effects: { blur: 19, sharpen: 1.0, speed: 0.5 } }, inputs: [clip] }
  - { id: film, type: SEQUENCE, inputs: [soft, wide] }
output: film
"#;

/// Makes the clip of [`RECIPE`], adds it through the first node, and gives what to submit.
#[track_caller]
pub fn small(cluster: &Cluster) -> Submission {
    with_clip(cluster, RECIPE, CLIP_S, 640, 360)
}

/// The same for [`SLOW_RECIPE`].
#[track_caller]
pub fn slow(cluster: &Cluster) -> Submission {
    with_clip(cluster, SLOW_RECIPE, CLIP_S, 1280, 720)
}

#[track_caller]
fn with_clip(cluster: &Cluster, recipe: &str, seconds: u32, width: u32, height: u32) -> Submission {
    let clip = cluster.file("clip.mp4");
    media::make_clip(&clip, seconds, width, height);
    let cid = cluster.nodes[0].add(&clip);
    Submission::new(recipe, &[("clip", &cid)])
}
