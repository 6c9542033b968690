//! Choosing what to transfer: how fast each parameter trains, from which step on, and which are pulled back to where they began.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::ops::Range;

use super::{LayoutError, Trainable, matching};
use crate::id::Step;
use crate::model::{Block, Parameter, Part};
use crate::run_file::{Transfer, Unfreezing};

/// How an update treats a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Treatment {
    /// Whether weight decay applies.
    pub decay: bool,
    /// Factor of the learning rate.
    pub rate: f64,
    /// Number of the first update that changes it, from 1.
    pub first: u64,
    /// Strength of the pull towards its first value, as `l2_sp` has it; 0: none.
    pub pull: f64,
}

impl Treatment {
    /// Every update changes it, at the full learning rate, and nothing pulls it.
    pub fn plain(decay: bool) -> Treatment {
        Treatment { decay, rate: 1.0, first: 1, pull: 0.0 }
    }

    /// The number of an update among those that change it, from 1; `None` before the first of them.
    pub fn own_number(&self, number: u64) -> Option<u64> {
        number.checked_sub(self.first).map(|before| before + 1)
    }
}

impl Trainable {
    /// The same vector, treated as `transfer` says. `pretrained`: whether a parameter of the table begins with values of a
    /// checkpoint or an adapter.
    pub fn treated(
        mut self,
        table: &[Parameter],
        transfer: &Transfer,
        pretrained: impl Fn(usize) -> bool,
    ) -> Result<Trainable, LayoutError> {
        let layer = |parameter: &Parameter| match parameter.block {
            Block::Layer(layer) => layer + 1,
            Block::Embed | Block::Head => 0,
        };
        let layers = table.iter().map(layer).max().unwrap_or_default();
        let firsts = self.first_updates(table, &transfer.unfreeze)?;
        for slot in &mut self.slots {
            let parameter = &table[slot.parameter];
            // A head learns another task, whether or not the checkpoint has values for it.
            let is_head = matches!(parameter.part, Part::Pooler | Part::Classifier);
            let pulled = pretrained(slot.parameter) && !is_head;
            slot.treatment = Treatment {
                decay: parameter.decay,
                rate: libm::pow(transfer.layer_decay, f64::from(parameter.block.depth(layers))),
                first: firsts[slot.parameter],
                pull: if pulled { transfer.l2_sp } else { 0.0 },
            };
        }
        match self.slots.iter().map(|slot| slot.treatment.first).min() {
            Some(first) if first > 1 => return Err(LayoutError::NothingTrainsAtFirst { first }),
            _ => {}
        }
        if transfer.l2_sp > 0.0 && !self.is_pulled() {
            return Err(LayoutError::NothingPulled);
        }
        Ok(self)
    }

    /// Per parameter of the table, the number of the first update that changes it: that of the earliest entry that names it.
    fn first_updates(&self, table: &[Parameter], unfreeze: &[Unfreezing]) -> Result<Vec<u64>, LayoutError> {
        let places = self.places(table.len());
        let mut firsts: Vec<Option<u64>> = vec![None; table.len()];
        for (number, Unfreezing { step, parameters }) in unfreeze.iter().enumerate() {
            let key = format!("unfreeze[{number}].parameters");
            for pattern in parameters {
                let mut matched = matching(table, &key, pattern)?;
                matched.retain(|&index| places[index].is_some());
                if matched.is_empty() {
                    return Err(LayoutError::Frozen { key, pattern: pattern.clone() });
                }
                for index in matched {
                    firsts[index] = Some(firsts[index].map_or(*step, |first| first.min(*step)));
                }
            }
        }
        Ok(firsts.into_iter().map(|first| first.unwrap_or(1)).collect())
    }

    /// Whether a parameter is pulled towards its first value, so that an update needs the vector of version 0.
    pub fn is_pulled(&self) -> bool {
        self.slots.iter().any(|slot| slot.treatment.pull > 0.0)
    }

    /// The elements that a step does not train yet, ascending, neighbours in one range. They have no gradient.
    pub fn not_yet(&self, step: Step) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for slot in self.slots.iter().filter(|slot| slot.treatment.own_number(step.0 + 1).is_none()) {
            match ranges.last_mut() {
                Some(last) if last.end == slot.range.start => last.end = slot.range.end,
                _ => ranges.push(slot.range.clone()),
            }
        }
        ranges
    }

    /// Elements that each step begins to train, by its number from 1, ascending; the first is step 1.
    pub fn unfrozen(&self) -> Vec<(u64, usize)> {
        let mut steps = std::collections::BTreeMap::new();
        for slot in &self.slots {
            *steps.entry(slot.treatment.first).or_insert(0) += slot.range.len();
        }
        steps.into_iter().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Init;

    fn parameter(name: &str, block: Block, part: Part) -> Parameter {
        Parameter { name: name.into(), shape: vec![10], block, init: Init::Zeros, decay: true, part }
    }

    /// A network of two layers, the second of them with an adapter.
    fn table() -> Vec<Parameter> {
        vec![
            parameter("tokens", Block::Embed, Part::Body),
            parameter("layer.0.weight", Block::Layer(0), Part::Body),
            parameter("layer.1.weight", Block::Layer(1), Part::Body),
            parameter("layer.1.lora_A.weight", Block::Layer(1), Part::Adapter),
            parameter("norm", Block::Head, Part::Body),
            parameter("classifier", Block::Head, Part::Classifier),
        ]
    }

    fn treated(freeze: &[&str], transfer: &Transfer) -> Result<Vec<(String, Treatment)>, String> {
        let (table, freeze) = (table(), freeze.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>());
        let fresh = |index: usize| table[index].part != Part::Body;
        let trainable = Trainable::new(&table, &freeze).unwrap();
        let trainable = trainable.treated(&table, transfer, |index| !fresh(index));
        let trainable = trainable.map_err(|error| error.to_string())?;
        let name = |parameter: usize| table[parameter].name.clone();
        Ok(trainable.slots().iter().map(|slot| (name(slot.parameter), slot.treatment)).collect())
    }

    fn unfreeze(entries: &[(u64, &[&str])]) -> Transfer {
        let entry = |&(step, parameters): &(u64, &[&str])| Unfreezing {
            step,
            parameters: parameters.iter().map(|&pattern| pattern.to_owned()).collect(),
        };
        Transfer { unfreeze: entries.iter().map(entry).collect(), ..Transfer::default() }
    }

    #[test]
    fn a_run_that_says_nothing_treats_all_alike() {
        let all = treated(&[], &Transfer::default()).unwrap();
        assert!(all.iter().all(|(_, treatment)| *treatment == Treatment::plain(true)));
        assert_eq!(Treatment::plain(true).own_number(7), Some(7));
    }

    /// BEiT: `decay ** (layers + 1 - id)`, where the embeddings are 0, layer i is i + 1, and all others are layers + 1.
    #[test]
    fn the_learning_rate_decays_with_the_depth() {
        let transfer = Transfer { layer_decay: 0.5, ..Transfer::default() };
        let rates: Vec<f64> =
            treated(&[], &transfer).unwrap().iter().map(|(_, treatment)| treatment.rate).collect();
        assert_eq!(rates, [0.125, 0.25, 0.5, 0.5, 1.0, 1.0]);
        let frozen = treated(&["layer.1*"], &transfer).unwrap();
        assert_eq!(frozen[1].1.rate, 0.25, "frozen layers count");
    }

    #[test]
    fn what_is_named_twice_trains_from_the_earlier_step_on() {
        let transfer = unfreeze(&[(9, &["*"]), (1, &["classifier", "norm"]), (4, &["layer.1*"])]);
        let all = treated(&["*lora*"], &transfer).unwrap();
        let firsts: Vec<u64> = all.iter().map(|(_, treatment)| treatment.first).collect();
        assert_eq!(firsts, [9, 9, 4, 1, 1]);
        assert_eq!([3, 4, 5].map(|number| all[2].1.own_number(number)), [None, Some(1), Some(2)]);
        let trainable = Trainable::new(&table(), &["*lora*".into()]).unwrap();
        let trainable = trainable.treated(&table(), &transfer, |_| true).unwrap();
        let without: Vec<Option<Range<usize>>> =
            [2, 3, 8].map(|step| trainable.not_yet(Step(step)).pop()).into();
        assert_eq!(without, [Some(0..30), Some(0..20), None], "neighbours are one range");
        assert_eq!(trainable.unfrozen(), [(1, 20), (4, 10), (9, 20)]);
    }

    #[test]
    fn a_parameter_that_began_fresh_is_not_pulled() {
        let pulled: Vec<String> = treated(&[], &Transfer { l2_sp: 0.1, ..Transfer::default() })
            .unwrap()
            .into_iter()
            .filter_map(|(name, treatment)| (treatment.pull == 0.1).then_some(name))
            .collect();
        assert_eq!(pulled, ["tokens", "layer.0.weight", "layer.1.weight", "norm"]);
        let table = table();
        let all = Trainable::new(&table, &[]).unwrap();
        let all = all.treated(&table, &Transfer { l2_sp: 0.1, ..Transfer::default() }, |_| true).unwrap();
        let head = all.slots().last().unwrap();
        assert_eq!(head.treatment.pull, 0.0, "also a classifier of the same labels");
    }

    #[test]
    fn what_means_nothing_is_an_error_that_names_it() {
        let refused = |freeze: &[&str], transfer: &Transfer| treated(freeze, transfer).unwrap_err();
        assert_eq!(
            refused(&[], &unfreeze(&[(1, &["norm"]), (2, &["tokens", "layer.7.*"])])),
            "unfreeze[1].parameters: \"layer.7.*\" matches no parameter of this model"
        );
        assert_eq!(
            refused(&["tok*"], &unfreeze(&[(2, &["tokens"])])),
            "unfreeze[0].parameters: \"tokens\" matches no parameter that trains, only frozen ones"
        );
        assert!(refused(&[], &unfreeze(&[(2, &["[a"])])).starts_with("unfreeze[0].parameters: "));
        let never = refused(&[], &unfreeze(&[(5, &["*"]), (3, &["norm"])]));
        assert!(never.starts_with("unfreeze: no parameter trains before step 3"), "{never}");
        let pull = Transfer { l2_sp: 1.0, ..Transfer::default() };
        assert!(refused(&["t*", "layer.?.weight", "norm"], &pull).starts_with("l2_sp: no parameter"));
    }
}
