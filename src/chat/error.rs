//! Why rows or templates are refused, and the exit codes of that.

use crate::exit::Exit;
use crate::model::tokenizer::TokenizerError;

/// A template or a row that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// The tokenizer cannot be built, or fails on a text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file beside the checkpoint that is not what it should be.
    #[error("{file}: {reason}")]
    File {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Messages, but no template to render them with.
    #[error(
        "the checkpoint has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json); use an \
         instruction-tuned checkpoint, or set chat_template_jinja or chat_template_path"
    )]
    NoTemplate,
    /// Templates by name, none of which is the default.
    #[error(
        "tokenizer_config.json: chat_template holds the templates {found:?}, but none named \"default\"; set chat_template_jinja"
    )]
    NoDefaultTemplate {
        /// Their names.
        found: Vec<String>,
    },
    /// A template that does not parse.
    #[error("{source_name}: line {line}: {reason}")]
    Syntax {
        /// Where the template comes from.
        source_name: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// `chat_template: jinja` without a template.
    #[error("chat_template: jinja needs the template in chat_template_jinja")]
    NoJinja,
    /// A name that is not the checkpoint's template.
    #[error(
        "chat_template: {name}: the checkpoint's own template is another one, and a model must be trained with the \
         template it is used with; set chat_template: tokenizer_default, or give the template in chat_template_jinja"
    )]
    OtherTemplate {
        /// The name.
        name: String,
    },
    /// A name that is not known.
    #[error(
        "chat_template: {name}: this name is not known; set chat_template: tokenizer_default, or give the template in \
         chat_template_jinja"
    )]
    UnknownTemplate {
        /// The name.
        name: String,
    },
    /// A date of another form.
    #[error("chat_template_date: {0:?} is no date of the form YYYY-MM-DD")]
    Date(String),
    /// An end token that the tokenizer does not know.
    #[error("eot_tokens: the tokenizer has no token {0:?}; a turn's end must be one token of its vocabulary")]
    UnknownEndToken(String),
    /// The tokenizer has no EOS, which texts end with.
    #[error("the tokenizer has no eos_token to end texts with; set add_eos: false to train without one")]
    NoEos,
    /// A turn after which no end token follows.
    #[error(
        "no end token follows message {message} ({role}) in the rendered conversation, so that the model would never \
         learn to stop (looked for {wanted:?}); name it in eot_tokens, or set train_on_eos: none"
    )]
    NoEndToken {
        /// Number of the message, counted from 0.
        message: usize,
        /// Its role.
        role: String,
        /// The end tokens.
        wanted: Vec<String>,
    },
    /// A token for which the network has no embedding.
    #[error(
        "the tokenizer gives token {id} ({token:?}), but the network has only {vocab} embeddings (vocab_size)"
    )]
    BeyondVocabulary {
        /// The id.
        id: u32,
        /// Its text.
        token: String,
        /// Rows of the embedding table.
        vocab: u64,
    },
    /// A row in no known format.
    #[error(
        "the row has the columns {found:?}, which are none of the known formats: messages or conversations, prompt and \
         completion, instruction and output, text; name its columns in the dataset entry (field_messages, text_column …)"
    )]
    UnknownFormat {
        /// The columns.
        found: Vec<String>,
    },
    /// A column that the format needs.
    #[error("the row has no {column:?}, which rows of format {format} need")]
    Missing {
        /// The column.
        column: String,
        /// The format.
        format: &'static str,
    },
    /// A value of another type or form.
    #[error("{place}: {reason}")]
    Value {
        /// Where it is: a column, maybe with a message's number and key.
        place: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// A text that should hold JSON.
    #[error("{place}: the text is not JSON: {reason}")]
    Json {
        /// Where it is.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The template refuses the conversation.
    #[error("the chat template refuses this conversation: {0}")]
    Raised(String),
    /// The template fails on the conversation.
    #[error("the chat template fails on this conversation, in line {line}: {reason}")]
    Failed {
        /// The line, counted from 1; 0 where it is not known.
        line: usize,
        /// What went wrong.
        reason: String,
    },
    /// The template does not end in reasonable time.
    #[error(
        "the chat template ran out of fuel on this conversation: it loops for ever, or the row is too large"
    )]
    Fuel,
    /// A turn that cannot be found in the rendered text.
    #[error(
        "the text of message {message} ({role}) cannot be located in the rendered conversation: {reason}; use a template \
         with {{% generation %}} tags, or set train_on_inputs: true"
    )]
    NotVerbatim {
        /// Number of the message, counted from 0.
        message: usize,
        /// Its role.
        role: String,
        /// Why not.
        reason: &'static str,
    },
    /// Spans that the template marks do not belong to messages one by one.
    #[error(
        "the template's {{% generation %}} tags mark {spans} spans for {turns} assistant messages, so that single \
         messages cannot be left out; remove train: false, or use a template without the tags"
    )]
    Spans {
        /// Spans in the rendered text.
        spans: usize,
        /// Assistant messages.
        turns: usize,
    },
    /// Characters that mark spans while a template is rendered.
    #[error(
        "the row holds the private-use character U+{0:X}, which is not supported in rows for a template with {{% generation %}} tags"
    )]
    Mark(u32),
    /// A template whose text depends on the marks.
    #[error(
        "the chat template changes the text of its {{% generation %}} blocks after they are rendered, so that spans cannot be told"
    )]
    Unstable,
    /// A row that is too long, where that is an error.
    #[error(
        "the row has {tokens} tokens, more than sequence_len {limit}; set excess_length_strategy: drop or truncate"
    )]
    TooLong {
        /// Its tokens.
        tokens: usize,
        /// The limit.
        limit: u32,
    },
}

impl ChatError {
    /// What the program exits with.
    pub fn exit(&self) -> Exit {
        use ChatError::*;
        match self {
            NoJinja | OtherTemplate { .. } | UnknownTemplate { .. } | Date(_) => Exit::Usage,
            Tokenizer(_)
            | File { .. }
            | NoTemplate
            | NoDefaultTemplate { .. }
            | Syntax { .. }
            | UnknownEndToken(_)
            | NoEos
            | NoEndToken { .. }
            | BeyondVocabulary { .. } => Exit::Checkpoint,
            UnknownFormat { .. }
            | Missing { .. }
            | Value { .. }
            | Json { .. }
            | Raised(_)
            | Failed { .. }
            | Fuel
            | NotVerbatim { .. }
            | Spans { .. }
            | Mark(_)
            | Unstable
            | TooLong { .. } => Exit::Data,
        }
    }
}

/// Why a row is not trained on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowRefusal {
    /// The row leaves the data and is counted.
    #[error("{0}")]
    Dropped(DropReason),
    /// The run does not start.
    #[error(transparent)]
    Fatal(#[from] ChatError),
}

/// Why a row is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DropReason {
    /// It is longer than `sequence_len`.
    #[error("longer than sequence_len")]
    TooLong,
    /// It has no turn of a role that is trained.
    #[error("no assistant turn")]
    NoAssistantTurn,
    /// None of its tokens is trained, after it was cut where that was asked for.
    #[error("no trained tokens")]
    NoTrainedTokens,
}

/// What the user should know about a row that is trained on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum RowWarning {
    /// The template left a text out, such as the thoughts of an earlier turn.
    #[error("the template leaves out {key} of message {message}")]
    Vanished {
        /// Number of the message, counted from 0.
        message: usize,
        /// The key.
        key: String,
    },
    /// A span of a `{% generation %}` block that does not end with an end token.
    #[error(
        "span {0} of the template's {{% generation %}} tags lacks its end token, so that the model does not learn to stop"
    )]
    SpanWithoutEnd(usize),
    /// `train_on_eos` for a template whose tags decide.
    #[error(
        "train_on_eos has no effect: the template's {{% generation %}} tags decide which tokens are trained"
    )]
    TagsDecide,
}
