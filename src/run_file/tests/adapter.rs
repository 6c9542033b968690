//! The keys of an adapter, in the spellings of this program and of others.

use super::*;

fn lora(keys: &str) -> Lora {
    accepted(&format!("adapter: lora\n{keys}")).adapter.expect("an adapter is asked for")
}

#[test]
fn an_adapter_has_defaults_of_its_own() {
    let spec = accepted("adapter: lora\n");
    let expected = Lora {
        lora_r: Some(16),
        lora_alpha: Some(32.0),
        lora_dropout: Some(0.0),
        use_rslora: Some(false),
        lora_target_modules: Some(vec![ALL_LINEAR.into()]),
        ..Lora::default()
    };
    assert_eq!(spec.adapter, Some(expected));
    let Update { learning_rate, lr_scheduler_type, warmup_steps, .. } = spec.update;
    assert_eq!((learning_rate, lr_scheduler_type, warmup_steps), (2e-4, Scheduler::Cosine, 0.03));
    let own =
        accepted("adapter: lora\nlearning_rate: 1\nlr_scheduler_type: linear\nwarmup_steps: 0\n").update;
    assert_eq!((own.learning_rate, own.lr_scheduler_type, own.warmup_steps), (1.0, Scheduler::Linear, 0.0));
    assert_eq!(accepted("adapter: lora\nlr_scheduler_type: constant\n").update.warmup_steps, 0.0);
    assert_eq!(accepted("").update.warmup_steps, 0.0);
}

#[test]
fn other_trainers_spellings_mean_the_same_adapter() {
    let ours = lora("lora_r: 8\nlora_alpha: 16\nlora_target_modules: [v_proj, q_proj]\n");
    let factory = "finetuning_type: lora\nlora_rank: 8\nlora_alpha: 16\nlora_target: q_proj,v_proj\n";
    assert_eq!(accepted(factory).adapter, Some(ours.clone()));
    let trl = "use_peft: true\nlora_r: 8\nlora_alpha: 16.0\nlora_target_modules: [q_proj, v_proj, q_proj]\nlora_task_type: CAUSAL_LM\n";
    assert_eq!(accepted(trl).adapter, Some(ours));
    let all = lora("");
    for spelling in ["lora_target_linear: true\n", "lora_target: all\n", "target_modules: [all-linear]\n"] {
        assert_eq!(lora(spelling), all, "{spelling}");
    }
    let saved =
        lora("peft_use_rslora: true\nmodules_to_save: [norm, lm_head]\npeft_layers_to_transform: [3, 1]\n");
    assert_eq!(saved.use_rslora, Some(true));
    assert_eq!(saved.lora_modules_to_save, Some(vec!["lm_head".into(), "norm".into()]));
    assert_eq!(saved.layers_to_transform, Some(vec![1, 3]));
}

#[test]
fn an_adapter_that_is_continued_decides_what_is_not_given() {
    let continued = lora("lora_model_dir: s3://b/a\nlora_alpha: 8\n");
    let expected = Lora { lora_alpha: Some(8.0), lora_model_dir: Some("s3://b/a".into()), ..Lora::default() };
    assert_eq!(continued, expected);
}

#[test]
fn keys_of_an_adapter_without_one_are_a_warning() {
    let keys =
        "lora_r: 8\nlora_alpha: 16\nlora_target_linear: true\nlora_modules_to_save: []\nuse_rslora: false\n";
    let (spec, ignored) = parse_noting("run.yaml", &format!("{RUN}{keys}"), &[]).expect("it is accepted");
    assert_eq!(spec, accepted(""));
    let mut named: Vec<&str> = ignored.keys().collect();
    named.sort_unstable();
    assert_eq!(named, ["lora_alpha", "lora_r", "lora_target_linear"]);
    assert!(ignored.to_string().contains("every parameter trains; write adapter: lora"), "{ignored}");
}

#[test]
fn what_contradicts_an_adapter_is_refused() {
    for (keys, wanted) in [
        ("adapter: lora\nfreeze: ['*.bias']\n", "exclude each other"),
        ("adapter: lora\nlora_r: 0\n", "`lora_r` must be from 1"),
        ("adapter: lora\nlora_alpha: 0\n", "`lora_alpha` must be above 0"),
        ("adapter: lora\nlora_dropout: 1\n", "`lora_dropout` must be from 0 to below 1"),
        ("adapter: lora\nlora_target_modules: [all-linear, q_proj]\n", "beside all-linear"),
        ("adapter: lora\nlora_target_modules: [q_proj]\nlora_target_linear: true\n", "beside all-linear"),
        ("adapter: lora\nlora_target_modules: '.*[qv]_proj'\n", "is not the name of a module"),
        ("adapter: lora\nlayers_to_transform: []\n", "must list 1 to"),
        ("lora_model_dir: /a\n", "`adapter` is not set"),
    ] {
        let error = parse_run(keys).expect_err(keys);
        assert!(error.to_string().contains(wanted), "{keys}: {error}");
    }
}

#[test]
fn sixteen_bits_and_recomputation_are_keys() {
    let spec = accepted("bf16: true\ngradient_checkpointing: true\n");
    assert_eq!((spec.precision, spec.gradient_checkpointing), (Precision::Bf16, true));
    assert_eq!(accepted("bf16: auto\n").precision, Precision::Auto);
    assert_eq!(accepted("bf16: no\n"), accepted(""));
    let keys = |text: &str| accepted(text).result_keys();
    assert_eq!(keys("gradient_checkpointing: true\n"), keys(""), "it changes no bits");
    assert_ne!(keys("bf16: true\n"), keys(""));
}
