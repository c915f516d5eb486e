//! The doors beside the command: gateway, metrics, health.

use std::io::{Read, Write};
use std::net::TcpStream;

use artdag_tests::cluster::{Cluster, Isolation};

/// One plain HTTP exchange: the head in lower case and the body.
#[track_caller]
fn http(url: &str, headers: &str) -> (String, Vec<u8>) {
    let rest = url.strip_prefix("http://").expect("plain HTTP");
    let (host, path) = rest.split_once('/').expect("a URL has a path");
    let mut stream = TcpStream::connect(host).expect("the port is open");
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n").expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end + 4..].to_vec())
}

#[test]
fn the_gateway_serves_ranges_so_that_a_film_can_be_played() {
    let cluster = Cluster::start(1, Isolation::None);
    let node = &cluster.nodes[0];
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| u8::try_from(n % 241).expect("below 241")).collect();
    let file = cluster.file("film.mp4");
    std::fs::write(&file, &bytes).expect("written");
    let url = node.gateway_url(&format!("/ipfs/{}", node.add(&file)));

    let (head, body) = http(&url, "");
    assert!(head.starts_with("http/1.1 200") && head.contains("accept-ranges: bytes"), "{head}");
    assert!(body == bytes);
    let (head, body) = http(&url, "Range: bytes=1048570-1048581\r\n");
    assert!(
        head.starts_with("http/1.1 206") && head.contains("content-range: bytes 1048570-1048581/2000000"),
        "{head}"
    );
    assert_eq!(body, bytes[1_048_570..1_048_582]);
    let (head, body) = http(&url, "Range: bytes=-5\r\n");
    assert!(head.starts_with("http/1.1 206"), "{head}");
    assert_eq!(body, bytes[1_999_995..]);
    let (head, _) = http(&url, "Range: bytes=9000000-\r\n");
    assert!(head.starts_with("http/1.1 416"), "{head}");
    let (head, _) = http(&node.gateway_url("/ipfs/not-a-cid"), "");
    assert!(head.starts_with("http/1.1 4"), "{head}");
}

#[test]
fn metrics_can_be_read() {
    let cluster = Cluster::start(1, Isolation::None);
    let url = format!("http://{}/metrics", cluster.nodes[0].ready.http.trim_start_matches("http://"));
    let (head, body) = http(&url, "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(String::from_utf8_lossy(&body).contains("# TYPE"), "openmetrics text");
}
