//! Which class transformers loads a tokenizer with, and what that class does by itself.

use memchr::memmem;
use serde_json::Value;

use super::TokenizerError;
use super::files::{CONFIG, TOKENIZER, TokenizerFiles};
use super::settings::Side;

/// The tokenizer class that transformers gives to a model_type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its name, if there is one.
    pub class: Option<&'static str>,
    /// Whether it is loaded even where the files name another class, because those are known to be wrong.
    pub overrides: bool,
}

impl Registered {
    /// Of a model_type without texts.
    pub const NONE: Registered = Registered { class: None, overrides: false };

    /// A class that gives way to another one that the files name.
    pub const fn as_class(name: &'static str) -> Registered {
        Registered { class: Some(name), overrides: false }
    }
}

/// How a class makes the parts that decide ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Build {
    /// All as `tokenizer.json` has it.
    Stored,
    /// WordPiece over words; letters and accents by switches; a text between two special tokens.
    WordPiece,
    /// BPE of bytes, a text between two special tokens.
    ByteLevelEnclosed,
    /// BPE of bytes.
    ByteLevel,
    /// BPE of bytes of NFC, split by a pattern that keeps digits apart.
    ByteLevelSplit,
    /// Unigram over words that begin with ▁, a text between two special tokens.
    Unigram,
    /// BPE of a whole text in which ▁ stands for blanks, with bytes for unknown characters.
    Metaspace,
    /// The same, in which words end with their blank.
    Blanks,
}

impl Build {
    pub(super) fn is_stored(self) -> bool {
        self == Build::Stored
    }
}

/// One class, under all names that mean it.
#[derive(Debug)]
pub(super) struct Row {
    pub names: &'static [&'static str],
    pub build: Build,
    /// Special tokens where the files name none.
    pub special: &'static [(&'static str, &'static str)],
    /// Whether the network gets token types.
    pub type_ids: bool,
    pub padding: Side,
}

const WORDPIECE_TOKENS: &[(&str, &str)] = &[
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const ENCLOSED_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];
const END: &str = "<|endoftext|>";

/// The last row is for every other class.
#[rustfmt::skip]
const ROWS: [Row; 9] = [
    Row {
        names: &["BertTokenizer", "ElectraTokenizer", "LayoutLMTokenizer", "LxmertTokenizer", "MobileBertTokenizer", "SqueezeBertTokenizer"],
        build: Build::WordPiece, special: WORDPIECE_TOKENS, type_ids: true, padding: Side::Right,
    },
    Row {
        names: &["DistilBertTokenizer"],
        build: Build::WordPiece, special: WORDPIECE_TOKENS, type_ids: false, padding: Side::Right,
    },
    Row {
        names: &["RobertaTokenizer", "BartTokenizer", "LEDTokenizer", "LongformerTokenizer", "MvpTokenizer"],
        build: Build::ByteLevelEnclosed, special: ENCLOSED_TOKENS, type_ids: false, padding: Side::Right,
    },
    Row {
        names: &["XLMRobertaTokenizer"],
        build: Build::Unigram, special: ENCLOSED_TOKENS, type_ids: false, padding: Side::Right,
    },
    Row {
        names: &["GPT2Tokenizer"],
        build: Build::ByteLevel,
        special: &[("unk_token", END), ("bos_token", END), ("eos_token", END), ("pad_token", "")],
        type_ids: false, padding: Side::Right,
    },
    Row {
        names: &["Qwen2Tokenizer"],
        build: Build::ByteLevelSplit,
        special: &[("unk_token", END), ("bos_token", ""), ("eos_token", END), ("pad_token", END)],
        type_ids: false, padding: Side::Right,
    },
    Row {
        names: &["LlamaTokenizer", "Phi3Tokenizer"],
        build: Build::Metaspace,
        special: &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
        type_ids: false, padding: Side::Left,
    },
    Row {
        names: &["GemmaTokenizer"],
        build: Build::Blanks,
        special: &[("unk_token", "<unk>"), ("bos_token", "<bos>"), ("eos_token", "<eos>"), ("pad_token", "<pad>"), ("mask_token", "<mask>")],
        type_ids: false, padding: Side::Left,
    },
    Row {
        names: &["TokenizersBackend", "PreTrainedTokenizer", "PythonBackend", "MistralCommonBackend", "BloomTokenizer"],
        build: Build::Stored, special: &[], type_ids: false, padding: Side::Right,
    },
];
const STORED: &Row = &ROWS[ROWS.len() - 1];

/// The class that a checkpoint's tokenizer is loaded with.
pub(super) struct Choice {
    pub row: &'static Row,
    pub warnings: Vec<String>,
}

/// Decides on the class from what the files say and what the model_type is registered with.
pub(super) fn choose(
    files: &TokenizerFiles,
    config: &Value,
    registered: Registered,
) -> Result<Choice, TokenizerError> {
    let settings = files.object(CONFIG)?.unwrap_or_default();
    let declared = match settings.get("tokenizer_class") {
        None | Some(Value::Null) => config.get("tokenizer_class").and_then(Value::as_str),
        Some(Value::String(name)) => Some(name.as_str()),
        Some(_) => return Err(TokenizerError::new(CONFIG, "tokenizer_class must be a text")),
    };
    let own_code = match settings.get("auto_map") {
        Some(Value::Array(_)) => true,
        Some(map) => map.get("AutoTokenizer").is_some_and(|code| !code.is_null()),
        None => false,
    };
    let declared = declared.map(plain);
    let default = registered.class.map(plain);
    if own_code && default.is_none() && declared.and_then(find).is_none() {
        return Err(TokenizerError::new(
            CONFIG,
            "auto_map names Python code, which is never run; save the tokenizer again as a PreTrainedTokenizerFast",
        ));
    }
    let name = match (declared, default) {
        _ if !own_code && is_byte_level_by_mistake(files, declared, registered) => STORED.names[0],
        (Some(declared), Some(default)) if declared != default && !own_code => match find(default) {
            Some(row) if row.build.is_stored() => STORED.names[0],
            _ if registered.overrides => default,
            _ => declared,
        },
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => STORED.names[0],
    };
    let other = format!("{name} is not known here: the tokenizer is what tokenizer.json describes");
    Ok(match find(name) {
        Some(row) => Choice { row, warnings: Vec::new() },
        None => Choice { row: STORED, warnings: vec![other] },
    })
}

/// Some byte-level tokenizers name a class whose parts are not theirs.
fn is_byte_level_by_mistake(files: &TokenizerFiles, declared: Option<&str>, registered: Registered) -> bool {
    declared == Some("LlamaTokenizer")
        && !registered.overrides
        && registered.class != Some("MistralCommonBackend")
        && files.get(TOKENIZER).is_some_and(|json| memmem::find(json, b"\"ByteLevel\"").is_some())
}

/// The name without the ending that fast tokenizers had in version 4.
fn plain(name: &str) -> &str {
    name.strip_suffix("Fast").unwrap_or(name)
}

fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.names.contains(&name))
}
