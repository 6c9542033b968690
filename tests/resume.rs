//! A coordinator that dies at any write of a run's life, before it or after it: the next goes on, and what it leaves behind is
//! the same, byte for byte.

use std::sync::Arc;

use headstart::exit::Exit;
use headstart::manifest::Manifest;
use headstart_tests::lives::{End, live};
use headstart_tests::texts;
use headstart_tests::trap::StopPoint;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const SETS: [&str; 5] = [
    "max_steps=7",
    "save_steps=3",
    "eval_steps=2",
    "load_best_model_at_end=true",
    "resume_from_checkpoint=auto",
];

/// What a run leaves behind, of which every byte must be the same.
fn left(objects: &InMemory) -> [Vec<u8>; 2] {
    ["out/final/model.safetensors", "out/final/ledger.jsonl"].map(|name| {
        let read = async { objects.get(&Path::from(name)).await?.bytes().await };
        futures::executor::block_on(read).expect("it was written").to_vec()
    })
}

fn keys(objects: &InMemory) -> Vec<String> {
    use futures::TryStreamExt;
    let all: Vec<_> = futures::executor::block_on(objects.list(None).try_collect()).expect("memory");
    all.into_iter().map(|meta: object_store::ObjectMeta| meta.location.to_string()).collect()
}

/// Steps whose `checkpoint-<step>/` the newest manifest names.
fn exports(objects: &InMemory) -> Vec<u64> {
    let newest =
        keys(objects).into_iter().filter(|key| key.contains("/manifests/")).max().expect("there are some");
    let read = async { objects.get(&Path::from(newest.as_str())).await?.bytes().await };
    let file = futures::executor::block_on(read).expect("it was written");
    let number = newest.rsplit('/').next().and_then(Manifest::number_of).expect("it is its name");
    Manifest::open(number, &file).expect("it is whole").0.state.exports
}

#[test]
fn a_coordinator_may_die_at_any_write() {
    may_die_at_any_write(&SETS);
}

/// Parameters begin to train with the first steps after commits, and between them.
#[test]
fn a_coordinator_may_die_at_any_write_while_parameters_begin_to_train() {
    let unfreeze =
        "unfreeze=[{step: 4, parameters: ['*.layer.1.*']}, {step: 6, parameters: ['*.embeddings.*']}]";
    may_die_at_any_write(&[&SETS[..], &["layer_decay=0.7", unfreeze, "l2_sp=5"]].concat());
}

fn may_die_at_any_write(sets: &[&str]) {
    let directory = texts();
    let objects = Arc::new(InMemory::new());
    let (end, writes) = live(directory.path(), sets, &objects, 0, None);
    assert_eq!(end, End::Exit(Exit::Ok, "the run is complete".into()));
    let expected = left(&objects);
    assert!(writes > 20, "{writes} writes: {:?}", keys(&objects));
    let places = (0..writes).flat_map(|write| [false, true].map(|after| StopPoint { write, after }));
    for place in places {
        let objects = Arc::new(InMemory::new());
        let (end, _) = live(directory.path(), sets, &objects, 1, Some(place));
        assert_eq!(end, End::Killed, "{place:?}: each life writes what the first one wrote");
        let (end, _) = live(directory.path(), sets, &objects, 2, None);
        assert!(matches!(end, End::Exit(Exit::Ok, _)), "{place:?}: {end:?}");
        assert_eq!(left(&objects), expected, "{place:?}");
        for step in exports(&objects) {
            let whole = keys(&objects).contains(&format!("out/checkpoint-{step}/trainer_state.json"));
            assert!(whole, "{place:?}: a commit is followed by what people see of it, step {step}");
        }
        let parts = keys(&objects).into_iter().filter(|key| key.ends_with("/state.safetensors")).count();
        assert_eq!(parts, 0, "{place:?}: what only a resumption needs is dropped at the end");
    }
}
