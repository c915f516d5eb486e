//! Compiles the .proto files with protox, so that no protoc is needed.

use std::{env, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 7] = ["content", "pins", "runs", "steps", "leases", "records", "cluster"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<String> = FILES.iter().map(|name| format!("artdag/v1/{name}.proto")).collect();
    let set = protox::compile(&names, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptor.bin"), set.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(set)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
