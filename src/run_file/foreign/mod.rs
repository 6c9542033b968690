//! Keys that are not in a run file: those of other trainers, by what they would do, and misspellings.
//!
//! A key of another trainer either has no influence on the result (`no_effect.rs`): it is accepted, and the user is told
//! what happens instead. Or it would change the result (`unsupported.rs`): that is an error, unless its value asks for
//! what happens anyway. Keys that mean the same as one of ours are its aliases in `keys.rs`.

mod no_effect;
mod unsupported;

use super::Task;
use super::choice::{self, plain};
use super::error::{At, Problem};
use super::findings::Findings;
use super::keys::Names;
use super::node::{Key, Node, Value};
use super::suggest::suggestion;
pub(super) use no_effect::LOGGED;
use no_effect::NO_EFFECT;
use unsupported::UNSUPPORTED;

/// Values by which any key is off.
const OFF: [&str; 8] = ["", "none", "null", "false", "no", "off", "[]", "{}"];
/// Longest value that a message repeats, in characters.
const LONGEST_SHOWN: usize = 40;

/// Keys whose value `auto` leaves a choice to the trainer, and what this one chooses.
const LEFT_TO_US: ([&str; 4], &str) = (
    ["fp16", "mixed_precision", "torch_dtype", "dtype"],
    "bf16 says what is computed in bfloat16; all else is computed in 32-bit floats",
);
/// Keys for the number format of a checkpoint's weights.
const STORED: [&str; 2] = ["torch_dtype", "dtype"];
/// What becomes of bfloat16 weights of a language model.
const STORED_ANYWAY: &str = "frozen weights stay in memory as the checkpoint stores them, and weights that train are 32-bit floats; \
                             bf16: true computes in bfloat16 on GPUs";

/// Keys that cannot change the result.
struct NoEffect {
    /// Names; one that ends in `*` stands for all that begin like it. `a.b` is key `b` of block `a`.
    keys: &'static [&'static str],
    /// Values that ask for what happens anyway, so that there is nothing to tell. False and empty ones always do.
    anyway: &'static [&'static str],
    /// What happens instead.
    instead: &'static str,
}

/// Keys that would change the result.
struct Unsupported {
    /// As in [`NoEffect`].
    keys: &'static [&'static str],
    /// As in [`NoEffect`].
    anyway: &'static [&'static str],
    /// One of our keys, and its default: a value equal to its value asks for what happens anyway.
    same_as: Option<(&'static str, &'static str)>,
    /// What to do about it.
    cure: &'static str,
}

#[derive(Clone, Copy)]
enum Row {
    NoEffect(&'static NoEffect),
    Unsupported(&'static Unsupported),
}

/// The block of keys that a foreign key stands in.
pub(super) struct Block<'a> {
    /// Its own key, empty for the whole file.
    pub(super) path: &'a str,
    /// The keys that it may have.
    pub(super) keys: &'static [Names],
    /// The value of one of them.
    pub(super) sibling: &'a dyn Fn(&str) -> Option<&'a Value>,
}

impl Row {
    /// The row of a key. What a key of a block is has to be listed for itself.
    fn of(key: &str) -> Option<Row> {
        let begins = |name: &&str| name.strip_suffix('*').is_some_and(|start| key.starts_with(start));
        Row::listed(|name| name == key)
            .or_else(|| (!key.contains('.')).then(|| Row::listed(|name| begins(&name))).flatten())
    }

    fn listed(wanted: impl Fn(&str) -> bool) -> Option<Row> {
        let any = |keys: &[&str]| keys.iter().any(|name| wanted(name));
        let unsupported = UNSUPPORTED.iter().find(|row| any(row.keys)).map(Row::Unsupported);
        unsupported.or_else(|| NO_EFFECT.iter().find(|row| any(row.keys)).map(Row::NoEffect))
    }

    fn anyway(self) -> &'static [&'static str] {
        match self {
            Row::NoEffect(row) => row.anyway,
            Row::Unsupported(row) => row.anyway,
        }
    }
}

/// Judges a key that is not among the block's own.
pub(super) fn judge(block: &Block<'_>, key: &Key, value: &Node, findings: &mut Findings) {
    let shown = if block.path.is_empty() { key.name.clone() } else { format!("{}.{}", block.path, key.name) };
    let name = key.name.replace('-', "_");
    if let Some(row) = Row::of(&name) {
        return judge_known(row, &name, block, (&shown, &key.at), &value.value, findings);
    }
    let spellings =
        block.keys.iter().flat_map(|names| std::iter::once(names.name).chain(names.aliases.iter().copied()));
    let problem = Problem::at(&key.at, format!("unknown key `{shown}`"));
    findings.push(match suggestion(&key.name, spellings) {
        Some(name) => problem.help(format!("did you mean `{name}`?")),
        None => problem.help("`headstart schema` lists every key"),
    });
}

fn judge_known(
    row: Row,
    name: &str,
    block: &Block<'_>,
    (shown, at): (&str, &At),
    value: &Value,
    findings: &mut Findings,
) {
    if let Value::Map(entries) = value
        && Row::listed(|listed| listed.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))).is_some()
    {
        for (key, node) in entries {
            let inner = format!("{name}.{}", key.name);
            let row = Row::of(&inner).unwrap_or(row);
            judge_known(
                row,
                &inner,
                block,
                (&format!("{shown}.{}", key.name), &key.at),
                &node.value,
                findings,
            );
        }
        return;
    }
    let (ours, choice) = LEFT_TO_US;
    if ours.contains(&name) && spelled(value).is_some_and(|text| text.eq_ignore_ascii_case("auto")) {
        return findings.ignore(shown, choice);
    }
    if asks_for_nothing(value, row.anyway()) {
        return;
    }
    if STORED.contains(&name) && is_bfloat16(value) && is_language_model(block) {
        return findings.ignore(shown, STORED_ANYWAY);
    }
    match row {
        Row::NoEffect(row) => findings.ignore(shown, row.instead),
        Row::Unsupported(row) => {
            if row.same_as.is_some_and(|same| equals_sibling(same, block, value)) {
                return;
            }
            let asked = match spelled(value).filter(|text| text.chars().count() <= LONGEST_SHOWN) {
                Some(text) => format!("`{shown}: {text}`"),
                None => format!("`{shown}`"),
            };
            findings.push(Problem::at(at, format!("{asked} is not supported yet")).help(row.cure));
        }
    }
}

fn is_bfloat16(value: &Value) -> bool {
    spelled(value).is_some_and(|text| ["bfloat16", "bf16", "torch.bfloat16"].contains(&plain(&text).as_str()))
}

fn is_language_model(block: &Block<'_>) -> bool {
    let task = (block.sibling)("task").and_then(spelled);
    task.and_then(|text| choice::find(&text)) == Some(Task::CausalLm)
}

/// Whether a value is off, empty, or one of those that ask for what happens anyway.
fn asks_for_nothing(value: &Value, anyway: &[&str]) -> bool {
    match value {
        Value::List(items) => items.iter().all(|item| asks_for_nothing(&item.value, anyway)),
        Value::Map(entries) => entries.iter().all(|(_, node)| asks_for_nothing(&node.value, anyway)),
        scalar => spelled(scalar).is_none_or(|text| {
            let name = plain(&text);
            OFF.contains(&name.as_str())
                || anyway.iter().any(|accepted| plain(accepted) == name || same(accepted, &text))
        }),
    }
}

fn equals_sibling((key, default): (&str, &str), block: &Block<'_>, value: &Value) -> bool {
    let sibling = (block.sibling)(key).and_then(spelled).unwrap_or_else(|| default.to_owned());
    spelled(value).is_some_and(|text| same(&sibling, &text))
}

/// Whether two spellings are one value: `1` and `1.0` are.
fn same(left: &str, right: &str) -> bool {
    left == right || left.parse::<f64>().is_ok_and(|left| right.parse() == Ok(left))
}

/// The text of a scalar value; `None` for null, lists and blocks.
fn spelled(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::List(_) | Value::Map(_) => None,
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Text(text) => Some(text.clone()),
    }
}
