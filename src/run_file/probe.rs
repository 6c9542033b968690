//! The key `probe`: whether it is found out before the first step how much the checkpoint's weights help.

use serde::{Deserialize, Serialize};

use super::findings::Findings;
use super::node::{Node, Value};
use super::read::FromNode;

/// How many training rows are computed before the first step, to learn whether the checkpoint's weights help.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ProbeAsWritten", into = "ProbeAsWritten")]
pub enum Probe {
    /// As many as cost at most 2 % of a run from pretrained weights, and none where that is too few to tell.
    #[default]
    Share,
    /// None.
    Off,
    /// So many.
    Rows(u32),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum ProbeAsWritten {
    Whether(bool),
    Rows(u32),
}

impl From<ProbeAsWritten> for Probe {
    fn from(written: ProbeAsWritten) -> Self {
        match written {
            ProbeAsWritten::Whether(true) => Probe::Share,
            ProbeAsWritten::Whether(false) | ProbeAsWritten::Rows(0) => Probe::Off,
            ProbeAsWritten::Rows(rows) => Probe::Rows(rows),
        }
    }
}

impl From<Probe> for ProbeAsWritten {
    fn from(probe: Probe) -> Self {
        match probe {
            Probe::Share => ProbeAsWritten::Whether(true),
            Probe::Off => ProbeAsWritten::Whether(false),
            Probe::Rows(rows) => ProbeAsWritten::Rows(rows),
        }
    }
}

impl FromNode for Probe {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<Probe> {
        match node.value {
            Value::Int(2..) => u32::from_node(node, key, findings).map(Probe::Rows),
            _ => bool::from_node(node, key, findings).map(|probed| ProbeAsWritten::Whether(probed).into()),
        }
    }
}
