//! Takes the BPF object in, if there is one.
//!
//! The object is made by `cargo xtask build`: its compiler and flags are others than ours. Without it everything
//! compiles too, with `cfg(bpf_object)` off, so that an editor, lints and most tests need no BPF compiler.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

/// Names an object to take instead of the one in the target folder.
const OBJECT: &str = "TRACER_EBPF_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OBJECT}");
    println!("cargo::rustc-check-cfg=cfg(bpf_object)");

    let object = match env::var_os(OBJECT) {
        Some(named) => {
            let object = PathBuf::from(named);
            if !object.is_file() {
                return Err(format!(
                    "{OBJECT}={}: no such file; unset it, or build it",
                    object.display()
                )
                .into());
            }
            object
        }
        None => {
            let package =
                PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR: not set")?);
            package.join("../target/ebpf/bpfel-unknown-none/release/tracer-ebpf")
        }
    };
    if object.is_file() {
        println!("cargo::rerun-if-changed={}", object.display());
        println!("cargo::rustc-cfg=bpf_object");
        let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR: not set")?);
        fs::copy(&object, out.join("tracer-ebpf.bpf.o"))?;
    } else if let Some(folder) = object.parent() {
        wait_for_it_in(folder);
    }
    Ok(())
}

/// Has cargo look again when the object appears. To watch a file that does not exist would make cargo rebuild
/// each time; so its folder is made, and watched while it is empty.
fn wait_for_it_in(folder: &Path) {
    // Where it cannot be made, cargo rebuilds each time, which is right too.
    let _ = fs::create_dir_all(folder);
    println!("cargo::rerun-if-changed={}", folder.display());
}
