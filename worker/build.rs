//! Compiles the libtorch shim, and tells the loader where the libtorch of this build lies.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "torch")]
    torch()?;
    Ok(())
}

#[cfg(feature = "torch")]
fn torch() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src/torch/shim.cpp");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch =
        std::env::var("LIBTORCH").map_err(|_| "LIBTORCH is not set: run `make build`, or `make env`")?;
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(format!("{libtorch}/include"))
        .file("src/torch/shim.cpp")
        .try_compile("headstart_shim")?;
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}/lib");
    Ok(())
}
