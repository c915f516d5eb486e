//! The `artdag` command on files, folders, ranges, blocks and pins.

use std::path::Path;

use artdag_tests::cluster::{Cluster, Isolation};

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

#[test]
fn a_folder_comes_back_as_it_was_from_any_member() {
    let cluster = Cluster::start(2, Isolation::None);
    let folder = cluster.file("album");
    std::fs::create_dir_all(folder.join("inner/deep")).expect("made");
    std::fs::write(folder.join("one.txt"), "one").expect("written");
    std::fs::write(folder.join("inner/two.bin"), vec![2; 2_500_000]).expect("written");
    std::fs::write(folder.join("inner/deep/three"), "").expect("written");
    let root = cluster.nodes[0].add(&folder);

    let copy = cluster.file("copy");
    cluster.nodes[1].get(&root, &copy).ok();
    assert_eq!(std::fs::read(copy.join("one.txt")).expect("there"), b"one");
    assert_eq!(std::fs::read(copy.join("inner/two.bin")).expect("there"), vec![2; 2_500_000]);
    assert_eq!(std::fs::read(copy.join("inner/deep/three")).expect("there"), b"");

    let names = cluster.nodes[1].artdag(&["ls", &root]).ok().text();
    assert!(names.contains("inner") && names.contains("one.txt"), "{names}");
    let inner = cluster.nodes[1].artdag(&["cat", &format!("{root}/one.txt")]).ok();
    assert_eq!(inner.stdout, b"one");
}

#[test]
fn ranges_stat_pins_and_blocks() {
    let cluster = Cluster::start(1, Isolation::None);
    let node = &cluster.nodes[0];
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n % 251).expect("below 251")).collect();
    let file = cluster.file("file");
    std::fs::write(&file, &bytes).expect("written");
    let cid = node.add(&file);

    // Across the border between two leaves of 1 MiB.
    let range = node.artdag(&["cat", &cid, "--offset", "1048570", "--length", "12"]).ok();
    assert_eq!(range.stdout, bytes[1_048_570..1_048_582]);
    let stat = node.artdag(&["stat", &cid, "--json"]).ok().json();
    assert_eq!((stat["cid"].as_str(), stat["size"].as_u64()), (Some(cid.as_str()), Some(3_000_000)), "{stat}");
    let pins = node.artdag(&["pin", "ls", "--json"]).ok().text();
    assert!(pins.contains(&cid), "what is added is pinned: {pins}");
    node.artdag(&["pin", "rm", &cid]).ok();
    assert!(!node.artdag(&["pin", "ls", "--json"]).ok().text().contains(&cid));

    let block = cluster.file("block");
    std::fs::write(&block, b"a block").expect("written");
    let put = node.artdag(&["block", "put", text(&block), "--json"]).ok().json();
    let put = put["cid"].as_str().expect("a block has a CID");
    assert_eq!(node.artdag(&["block", "get", put]).ok().stdout, b"a block");
}

#[test]
fn the_last_line_of_add_is_the_root() {
    let cluster = Cluster::start(1, Isolation::None);
    let folder = cluster.file("folder");
    std::fs::create_dir(&folder).expect("made");
    std::fs::write(folder.join("x"), "x").expect("written");
    let lines = cluster.nodes[0].artdag(&["add", "-r", text(&folder), "--json"]).ok().json_lines();
    assert!(lines.len() >= 2 && lines.iter().all(|line| line["cid"].is_string()), "{lines:?}");
    let root = lines.last().expect("not empty")["cid"].as_str().expect("a CID").to_string();
    assert_eq!(cluster.nodes[0].artdag(&["cat", &format!("{root}/x")]).ok().stdout, b"x");
}

#[test]
fn what_nobody_has_is_an_error_and_no_file() {
    let cluster = Cluster::start(1, Isolation::None);
    // The raw block `nobody ever added this`.
    let nobody = "bafkreiea2kbul4hoge6v336fowl63eb5w4r7nlnunafzvl66snmnjzkfqu";
    let target = cluster.file("target");
    let told = cluster.nodes[0].get(nobody, &target).failed();
    assert!(!told.is_empty());
    assert!(!target.exists(), "no half file");
    cluster.nodes[0].get("not-a-cid", &target).failed();
    assert!(!target.exists());
}
