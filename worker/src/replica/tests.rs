//! Replicas against a reference that makes every update itself.

use headstart::run_file::{self, Transfer, Unfreezing};
use headstart::store::Stores;
use headstart::tree;

use super::*;
use crate::fake::FakeTrainer;
use crate::objective::Objective;

const EPOCH: CoordinatorEpoch = CoordinatorEpoch(1);

/// A network of two segments, treated so, and a run in this format.
fn network(wire: Wire, transfer: &Transfer) -> (Arc<Network>, RunSpec) {
    let base = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/bert");
    let text = format!(
        "base_model: {}\ntask: sequence-classification\ndatasets: [{{path: x.jsonl}}]\noutput_dir: out\ninit: random\n\
         model_overrides: {{vocab_size: 36000}}\nweight_decay: 0.1\nwire: {}\neval_strategy: no\n",
        base.display(),
        wire.name()
    );
    let spec = run_file::parse("run.yaml", &text, &[]).expect("the run file is good");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let labels = ["a".to_owned(), "b".to_owned()];
    let opened = runtime.block_on(Network::open_without_files(&Stores::default(), &spec, &labels));
    let mut network = opened.expect("the reference is committed");
    assert_eq!(network.trainable.segments(), 2);
    let treated = network.trainable.clone().treated(&network.table, transfer, |_| true);
    network.trainable = treated.expect("its names are right");
    (Arc::new(network), spec)
}

/// Weights and moments as a coordinator has them.
#[derive(Clone)]
struct Reference {
    network: Arc<Network>,
    spec: RunSpec,
    version: u64,
    /// Per segment: weights, then moments.
    vectors: Vec<Vec<Vec<f32>>>,
    /// Version 0.
    first_values: Vec<f32>,
    hash: u128,
}

impl Reference {
    fn new(wire: Wire) -> Reference {
        Reference::treated(wire, &Transfer::default())
    }

    fn treated(wire: Wire, transfer: &Transfer) -> Reference {
        let (network, spec) = network(wire, transfer);
        let lens = (0..2).map(|index| network.trainable.segment(index).len());
        let weights = |len: usize| (0..len).map(|element| (element % 89) as f32 * 0.01 - 0.4).collect();
        let vectors: Vec<Vec<Vec<f32>>> =
            lens.map(|len| vec![weights(len), vec![0.0; len], vec![0.0; len]]).collect();
        let first_values = vectors.iter().flat_map(|vectors| vectors[0].clone()).collect();
        Reference { network, spec, version: 0, vectors, first_values, hash: 0 }
    }

    /// A worker at version 0.
    fn worker(&self) -> (Replica, FakeTrainer) {
        let weights = self.vectors.iter().flat_map(|vectors| vectors[0].clone()).collect();
        let trainer = FakeTrainer::new(weights, 2, Objective::Classification { smoothing: 0.0 });
        let mut replica = Replica::new(self.network.clone(), &self.spec);
        if replica.lacks_first_values() {
            replica.begin_from(&self.first_values);
        }
        (replica, trainer)
    }

    /// The next step's sums, and the word that applies them. Every number fits every format.
    fn sums(&self, attempt: u32) -> (Vec<pb::SumChunk>, pb::Apply) {
        let step = self.version;
        let sum = |segment: usize| -> Vec<f32> {
            let element = |element: usize| ((element * 7 + segment * 3 + step as usize) % 13) as f32 - 6.0;
            (0..self.vectors[segment][0].len()).map(element).collect()
        };
        let chunk = |segment: u32, (offset, payload): (usize, bytes::Bytes)| {
            let crc32 = crc32fast::hash(&payload);
            pb::SumChunk { step, attempt, segment, offset: offset as u32, payload, crc32 }
        };
        let chunks = (0..2u32).flat_map(|segment| {
            let packed: Vec<_> = payload::chunks(self.spec.wire, &sum(segment as usize)).collect();
            packed.into_iter().map(move |part| chunk(segment, part))
        });
        (chunks.collect(), pb::Apply { step, attempt, divisor: 8, learning_rate: 0.05, factor: 0.5 })
    }

    /// Makes the next update; returns what is sent of it.
    fn step(&mut self) -> (Vec<pb::SumChunk>, pb::Apply) {
        let (chunks, word) = self.sums(1);
        self.version += 1;
        let rule = OptimizerConfig::new(&self.spec);
        let pb::Apply { divisor, learning_rate, factor, .. } = word;
        let update = Update { rule, number: self.version, learning_rate, divisor, factor };
        let mut hashes = Vec::new();
        for (index, vectors) in self.vectors.iter_mut().enumerate() {
            let mut sum = vec![0.0; vectors[0].len()];
            for chunk in chunks.iter().filter(|chunk| chunk.segment as usize == index) {
                let start = chunk.offset as usize;
                let end = (start + payload::CHUNK).min(sum.len());
                payload::decode(self.spec.wire, &chunk.payload, &mut sum[start..end]).expect("packed above");
            }
            let (weights, moments) = vectors.split_at_mut(1);
            let mut treatment = SegmentTreatment::of(&self.network.trainable, index);
            treatment.begin_from(&self.first_values[self.network.trainable.segment(index)]);
            hashes.push(update.apply(&treatment, &mut [(0, &mut weights[0])], &sum, moments));
        }
        self.hash = hash::of_segments(&hashes);
        (chunks, word)
    }

    /// A segment's part of the state.
    fn state(&self, segment: u32) -> Vec<pb::StateChunk> {
        let weights_version = self.version;
        let vectors = (0u32..).zip(&self.vectors[segment as usize]);
        let of_vector = |(vector, values): (u32, &Vec<f32>)| {
            let parts: Vec<_> = payload::chunks(Wire::F32, values).collect();
            parts.into_iter().map(move |(offset, payload)| {
                let (offset, crc32) = (offset as u32, crc32fast::hash(&payload));
                pb::StateChunk { segment, vector, offset, payload, crc32, weights_version }
            })
        };
        vectors.flat_map(of_vector).collect()
    }
}

/// Takes in a segment's state as the worker does.
fn take_state(replica: &mut Replica, trainer: &mut dyn Trainer, state: Vec<pb::StateChunk>) {
    for chunk in state {
        if let Some((at, values)) = replica.receive_state(chunk).expect("it is whole") {
            trainer.set_trainable(at, &values).expect("it fits");
        }
    }
    if replica.is_filled() {
        replica.take_hashes(trainer).expect("weights are there");
    }
}

fn take_step(
    replica: &mut Replica,
    trainer: &mut dyn Trainer,
    (chunks, word): &(Vec<pb::SumChunk>, pb::Apply),
) {
    chunks.iter().for_each(|chunk| replica.stage(chunk.clone()).expect("it is whole"));
    replica.apply(trainer, word).expect("its sums are there");
}

/// The weights that a trainer computes with.
fn weights(trainer: &mut FakeTrainer) -> Vec<f32> {
    let mut pieces = trainer.trainable_mut().expect("they are in memory");
    pieces.sort_by_key(|(at, _)| *at);
    pieces.iter().flat_map(|(_, piece)| piece.to_vec()).collect()
}

#[test]
fn replicas_with_different_beginnings_have_the_coordinators_bits() {
    let unfreeze = Unfreezing { step: 3, parameters: vec!["*.layer.*".into()] };
    let treated = Transfer { layer_decay: 0.7, unfreeze: vec![unfreeze], l2_sp: 0.5 };
    let plain = Transfer::default();
    let cases = [(Wire::F32, &plain), (Wire::Bf16, &plain), (Wire::Int8, &plain), (Wire::Bf16, &treated)];
    for (wire, transfer) in cases {
        let mut reference = Reference::treated(wire, transfer);
        let (mut first, mut first_trainer) = reference.worker();
        first.begin(EPOCH);
        first.take_hashes(&mut first_trainer).expect("weights are there");
        assert_eq!(first.version(EPOCH), Some(Version(0)));
        let steps = [reference.step()];
        take_step(&mut first, &mut first_trainer, &steps[0]);
        assert_eq!(first.hash(), Some(reference.hash), "{wire:?}");

        // The state of version 1, but its second segment is one update ahead.
        let (mut late, mut late_trainer) = reference.worker();
        late.forget();
        late.begin(EPOCH);
        take_state(&mut late, &mut late_trainer, reference.state(0));
        let second = reference.step();
        take_state(&mut late, &mut late_trainer, reference.state(1));
        assert_eq!((late.is_filled(), late.version(EPOCH)), (true, None), "segments of two versions");
        let third = reference.step();
        for step in [second, third] {
            take_step(&mut first, &mut first_trainer, &step);
            take_step(&mut late, &mut late_trainer, &step);
        }
        let expected = (Some(Version(3)), Some(reference.hash));
        for replica in [&first, &late] {
            assert_eq!((replica.version(EPOCH), replica.hash()), expected, "{wire:?}");
        }
        let all: Vec<f32> = reference.vectors.iter().flat_map(|vectors| vectors[0].clone()).collect();
        assert!(tree::all_finite(&all));
        assert!(weights(&mut first_trainer) == all);
        assert!(weights(&mut late_trainer) == all);
    }
}

#[test]
fn a_word_for_another_attempt_or_step_applies_nothing() {
    let reference = Reference::new(Wire::F32);
    let (chunks, first) = reference.sums(1);
    let (again, second) = reference.sums(2);
    let refused = |chunks: &[pb::SumChunk], word: &pb::Apply| {
        let (mut replica, mut trainer) = reference.worker();
        replica.begin(EPOCH);
        let before = weights(&mut trainer);
        chunks.iter().for_each(|chunk| replica.stage(chunk.clone()).expect("it is whole"));
        let refused = replica.apply(&mut trainer, word);
        assert!(matches!(refused, Err(ExchangeError::Damaged(_))), "{refused:?}");
        assert_eq!(replica.version(EPOCH), Some(Version(0)));
        assert!(weights(&mut trainer) == before);
    };
    refused(&chunks, &second);
    refused(&again, &first);
    refused(&[&chunks[..], &again[..1]].concat(), &first);
    refused(&[&chunks[..], &again[..1]].concat(), &second);
    refused(&chunks, &pb::Apply { step: 1, ..first });
    refused(&[], &first);
    refused(&chunks[..chunks.len() - 1], &first);
    refused(&chunks[..1], &first);
    // Sums of a later step on weights that are behind.
    let mut ahead = reference.clone();
    ahead.step();
    let (later, word) = ahead.sums(1);
    refused(&later, &word);
}

#[test]
fn what_is_damaged_or_out_of_order_is_refused() {
    let reference = Reference::new(Wire::Bf16);
    let (chunks, _) = reference.sums(1);
    let damage: [&dyn Fn(&mut pb::SumChunk); 6] = [
        &|chunk| chunk.crc32 ^= 1,
        &|chunk| chunk.segment = 2,
        &|chunk| chunk.offset = payload::CHUNK as u32,
        &|chunk| chunk.offset = u32::MAX,
        &|chunk| {
            chunk.payload = chunk.payload.slice(1..);
            chunk.crc32 = crc32fast::hash(&chunk.payload);
        },
        &|chunk| {
            chunk.payload = bytes::Bytes::new();
            chunk.crc32 = crc32fast::hash(&chunk.payload);
        },
    ];
    for (number, damage) in damage.iter().enumerate() {
        let (mut replica, _) = reference.worker();
        let mut chunk = chunks[0].clone();
        damage(&mut chunk);
        assert!(matches!(replica.stage(chunk), Err(ExchangeError::Damaged(_))), "damage {number}");
    }
    let (mut replica, _) = reference.worker();
    replica.stage(chunks[0].clone()).expect("it is whole");
    assert!(replica.stage(chunks[0].clone()).is_err(), "it was sent twice");
    assert!(replica.stage(chunks[2].clone()).is_err(), "one before it is missing");
}

#[test]
fn a_state_that_is_damaged_or_out_of_order_is_refused() {
    let reference = Reference::new(Wire::F32);
    let state = reference.state(0);
    let damage: [&dyn Fn(&mut pb::StateChunk); 5] = [
        &|chunk| chunk.crc32 ^= 1,
        &|chunk| chunk.segment = 2,
        &|chunk| chunk.vector = 3,
        &|chunk| chunk.offset = payload::CHUNK as u32,
        &|chunk| chunk.offset = 4 * payload::CHUNK as u32,
    ];
    for (number, damage) in damage.iter().enumerate() {
        let (mut replica, _) = reference.worker();
        let mut chunk = state[0].clone();
        damage(&mut chunk);
        assert!(matches!(replica.receive_state(chunk), Err(ExchangeError::Damaged(_))), "damage {number}");
    }
    // Each message of the state once missing, but for the last: then it is just not whole.
    for missing in 0..state.len() {
        let (mut replica, _) = reference.worker();
        replica.forget();
        let rest = state.iter().enumerate().filter(|(number, _)| *number != missing);
        let refused = rest.map(|(_, chunk)| replica.receive_state(chunk.clone())).find(Result::is_err);
        assert_eq!(refused.is_some(), missing + 1 < state.len(), "without message {missing}");
        assert_eq!(replica.version(EPOCH), None);
    }
}

#[test]
fn a_replica_belongs_to_one_term_of_a_coordinator() {
    let next = CoordinatorEpoch(2);
    let mut reference = Reference::new(Wire::F32);
    let (mut replica, mut trainer) = reference.worker();
    assert_eq!(replica.version(next), Some(Version(0)), "the first weights are those of every term");
    replica.begin(EPOCH);
    take_step(&mut replica, &mut trainer, &reference.step());
    assert_eq!((replica.version(EPOCH), replica.version(next)), (Some(Version(1)), None));

    // What was staged under one term is not applied under another.
    let (chunks, word) = reference.sums(1);
    chunks.iter().for_each(|chunk| replica.stage(chunk.clone()).expect("it is whole"));
    replica.begin(next);
    assert!(replica.apply(&mut trainer, &word).is_err());
    replica.forget();
    assert_eq!((replica.version(next), replica.hash()), (None, None));
    assert!(!replica.is_filled());
}
