//! Worker and coordinator together against PyTorch: five updates of small networks, as `tests/reference/` records them.

use headstart::optimizer::OptimizerConfig;
use headstart::trainable::SEGMENT;
use headstart_coordinator::master::Master;
use headstart_coordinator::reduce::Whole;
use headstart_tests::reference::{Reference, numbers};
use headstart_worker::torch::make_trainer;
use headstart_worker::trainer::Draw;

async fn losses_agree(name: &str) {
    let reference = Reference::open(name);
    let expected = &reference.facts["adamw"];
    let rate = expected["learning_rate"].as_f64().expect("a number");
    let decay = format!("weight_decay={}", expected["weight_decay"]);
    let sets = [decay.as_str(), "max_grad_norm=0"];
    let (spec, job) = (reference.spec(&sets), reference.job(&sets).await);
    let network = job.network.clone();
    let initial = network.initial_vector().await.expect("the weights are whole");
    let master =
        Master::new(OptimizerConfig::new(&spec), spec.update.max_grad_norm, &network.trainable, &initial)
            .expect("memory");
    let mut trainer = make_trainer(job).expect("libtorch works");
    let batch = reference.batch();
    for (step, expected) in (0..).zip(numbers(&expected["losses"])) {
        let mut gradient = vec![0.0; network.trainable.len()];
        let draw = Draw { seed: 1, step, shard: 0, micro_batch: 0 };
        let sums = trainer.gradient(draw, &batch, &mut gradient, &mut |_, _, _| {}).expect("a gradient");
        let loss = sums.loss / sums.divisor as f64;
        assert!((loss - expected).abs() < 2e-5, "{name}, step {step}: loss {loss}, PyTorch has {expected}");
        let segments: Vec<Whole> = gradient.chunks(SEGMENT).map(|part| Whole::new(part.to_vec())).collect();
        let prepared = master.prepare(&segments, sums.divisor, rate).expect("the norm is finite");
        master.apply(prepared, &segments);
        trainer.set_trainable(0, &master.copy().concat()).expect("it fits");
    }
}

#[tokio::test]
async fn training_follows_pytorch() {
    losses_agree("bert").await;
    losses_agree("vit").await;
}
