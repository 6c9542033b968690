//! Compiles `proto/headstart/v1/*.proto` with protox, so that no protoc is needed.

use std::error::Error;

const PROTOS: [&str; 3] =
    ["proto/headstart/v1/control.proto", "proto/headstart/v1/bulk.proto", "proto/headstart/v1/jobs.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("headstart.v1.descriptor.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
