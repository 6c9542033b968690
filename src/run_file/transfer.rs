//! Choosing what to transfer: the keys that say how fast each parameter trains, from which step on, and what pulls it back.

use serde::{Deserialize, Serialize};

use super::error::At;
use super::findings::Findings;
use super::keys::UnfreezeBlock;
use super::node::{Node, Value};
use super::read::{FromNode, read_block};

/// How parameters are treated apart from each other. The default treats all alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Transfer {
    /// Factor of the learning rate from each layer to the one before it, above 0 and at most 1.
    #[serde(skip_serializing_if = "is_one")]
    pub layer_decay: f64,
    /// Parameters that do not train from the first step on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unfreeze: Vec<Unfreezing>,
    /// Strength of the pull towards the checkpoint's weights, decoupled from the gradient; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub l2_sp: f64,
}

/// When parameters begin to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unfreezing {
    /// The first step that trains them, counted from 1 as in `metrics.jsonl`.
    pub step: u64,
    /// Patterns (`*` and `?`) of their names.
    pub parameters: Vec<String>,
}

impl Default for Transfer {
    fn default() -> Transfer {
        Transfer { layer_decay: 1.0, unfreeze: Vec::new(), l2_sp: 0.0 }
    }
}

fn is_one(number: &f64) -> bool {
    *number == 1.0
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

/// The entries of `unfreeze` with their places; one may stand alone.
#[derive(Debug)]
pub(super) struct UnfreezeList(pub(super) Vec<(UnfreezeBlock, At)>);

impl FromNode for UnfreezeList {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<UnfreezeList> {
        let mut read = |node: &Node, key: &str| Some((read_block(node, key, findings)?, node.at.clone()));
        let entries: Option<Vec<_>> = match &node.value {
            Value::List(items) => {
                // Every item is read, so that the problems of all of them are found.
                let entries = items.iter().enumerate();
                let entries: Vec<_> =
                    entries.map(|(number, item)| read(item, &format!("{key}[{number}]"))).collect();
                entries.into_iter().collect()
            }
            _ => read(node, key).map(|entry| vec![entry]),
        };
        entries.map(UnfreezeList)
    }
}
