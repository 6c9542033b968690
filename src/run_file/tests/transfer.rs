//! The keys that choose what to transfer.

use super::*;

#[test]
fn keys_that_are_not_given_treat_all_alike_and_change_no_result_key() {
    let spec = accepted("");
    assert_eq!(spec.transfer, Transfer::default());
    let keys = spec.result_keys();
    for key in ["layer_decay", "unfreeze", "l2_sp"] {
        assert!(!keys.contains_key(key), "{key}: runs of before are resumed");
    }
    assert_eq!(accepted("layer_decay: 1\nunfreeze: []\nl2_sp: 0.0\n"), spec);
}

#[test]
fn each_key_is_a_result_key() {
    let keys = accepted(
        "layer_decay: 0.75\nl2_sp: 1e-2\nunfreeze:\n  - {step: 1, parameters: classifier.*}\n  \
         - {step: 100, parameters: ['*.layer.5.*', '*.layer.4.*']}\n",
    )
    .result_keys();
    assert_eq!((&keys["layer_decay"], &keys["l2_sp"]), (&serde_json::json!(0.75), &serde_json::json!(0.01)));
    let expected = serde_json::json!([
        {"step": 1, "parameters": ["classifier.*"]},
        {"step": 100, "parameters": ["*.layer.5.*", "*.layer.4.*"]},
    ]);
    assert_eq!(keys["unfreeze"], expected);
    let one = accepted("unfreeze: {step: 7, parameters: [a]}\n").transfer.unfreeze;
    assert_eq!(one, [Unfreezing { step: 7, parameters: vec!["a".into()] }]);
    let set = with_sets("unfreeze: [{step: 7, parameters: [a]}]\n", &["unfreeze.0.step=9"]);
    assert_eq!(set.expect("an entry is changed").transfer.unfreeze[0].step, 9);
}

#[test]
fn an_adapter_may_choose_too() {
    let spec = accepted("adapter: lora\nlayer_decay: 0.9\nunfreeze: {step: 5, parameters: '*.layer.0.*'}\n");
    assert_eq!((spec.transfer.layer_decay, spec.transfer.unfreeze.len()), (0.9, 1));
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (keys, wanted) in [
        ("layer_decay: 0\n", "run.yaml:7:14: `layer_decay` must be above 0, and at most 1, found 0"),
        ("layer_decay: 1.5\n", "`layer_decay` must be above 0, and at most 1, found 1.5"),
        ("l2_sp: -1\n", "run.yaml:7:8: `l2_sp` must be at least 0"),
        (
            "l2_sp: 0.1\ninit: random\n",
            "run.yaml:7:8: `l2_sp` pulls towards the checkpoint's weights, but `init: random` reads none\n  help: remove l2_sp",
        ),
        ("unfreeze: 5\n", "`unfreeze` must be a block of keys, found a whole number"),
        ("unfreeze: [{step: 3}]\n", "run.yaml:7:12: `unfreeze[0]` has no `parameters`\n  help: write {step:"),
        ("unfreeze: [{parameters: a}]\n", "`unfreeze[0]` has no `step`"),
        ("unfreeze: [{step: 0, parameters: a}]\n", "`unfreeze[0].step` must be from 1 to"),
        ("unfreeze: [{step: 0.5, parameters: a}]\n", "`unfreeze[0].step` must be a whole number"),
        ("unfreeze: [{step: 2, parameters: []}]\n", "`unfreeze[0].parameters` is empty"),
        (
            "unfreeze: [{step: 2, parameter: a}]\n",
            "unknown key `unfreeze[0].parameter`\n  help: did you mean `parameters`?",
        ),
        (
            "layerwise_lr_decay: 0.8\n",
            "`layerwise_lr_decay: 0.8` is not supported yet\n  help: write layer_decay",
        ),
        (
            "layer_decay: 0.8\nlayer_decay_min_scale: 0.1\n",
            "is not supported yet\n  help: layer_decay has no floor",
        ),
        ("embedding_lr: 1e-5\n", "learning rates differ by depth only"),
    ] {
        let error = parse_run(keys).expect_err(keys);
        assert!(error.to_string().contains(wanted), "{keys}: {error}");
    }
}
