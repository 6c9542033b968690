//! What the fuzz targets share: directories in memory, and a runtime to read them.

use std::future::Future;
use std::sync::{LazyLock, Once};

use bytes::Bytes;
use headstart::checkpoint::{Checkpoint, CheckpointError};
use headstart::model::{Block, Init, Parameter, Part};
use headstart::store::Location;
use tokio::runtime::{Builder, Runtime};

/// Runs a future to its end.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime"));
    RUNTIME.block_on(future)
}

/// Some crates panic on some files, and the program turns the panic into an error. libFuzzer would end at the panic
/// itself, so those from crates whose names begin so are let pass.
pub fn let_give_up(crates: &'static [&'static str]) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let end = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let from = |name: &&str| {
                panic.location().is_some_and(|place| place.file().contains(&format!("/{name}-")))
            };
            if !crates.iter().any(from) {
                end(panic);
            }
        }));
    });
}

/// A directory with these files.
pub async fn directory(files: &[(&str, &[u8])]) -> Location {
    let directory = Location::memory("fuzz");
    for (name, content) in files {
        let file = directory.join(name).expect("a plain name");
        file.write(Bytes::copy_from_slice(content)).await.expect("memory takes everything");
    }
    directory
}

/// Opens a checkpoint and loads all of it that can be weights: whatever was accepted must be sound.
pub async fn load(directory: &Location) -> Result<(), CheckpointError> {
    let checkpoint = Checkpoint::open(directory).await?;
    for entry in checkpoint.tensors.values() {
        assert!(
            entry.range.start <= entry.range.end && entry.range.end <= checkpoint.files[entry.file].meta.size
        );
    }
    let floats = |name: &str| ["F32", "F16", "BF16"].contains(&name);
    let table: Vec<Parameter> = checkpoint
        .tensors
        .iter()
        .filter(|(_, entry)| floats(entry.dtype.name()))
        .map(|(name, entry)| Parameter {
            name: name.clone(),
            shape: entry.shape.clone(),
            block: Block::Embed,
            init: Init::Zeros,
            decay: false,
            part: Part::Body,
        })
        .collect();
    let resolution = checkpoint.resolve(&table, "bert", false)?;
    let fresh = |_: &Parameter| unreachable!("each parameter is a tensor of the checkpoint");
    checkpoint
        .load(
            &resolution,
            &table,
            |_| true,
            fresh,
            |index, values| {
                assert_eq!(values.len(), table[index].len(), "{}", table[index].name);
                assert!(values.into_f32().iter().all(|value| value.is_finite()), "{}", table[index].name);
                Ok(())
            },
        )
        .await
}
