//! A chat template: Jinja as transformers sets it up, in minijinja. Templates are untrusted, so that their work is bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Object, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::ChatError;
use super::date::Date;
use super::generation::{FILTER, MARKS};
use super::python::{self, invalid};
use super::rewrite::{self, Rewritten, SHALLOW};

/// What one rendering may cost: about this many instructions, or 64 bytes of data each.
const FUEL: u64 = 2_000_000;
/// What all renderings of one row may cost, but for the last one. Each trained turn takes about four.
const ROW_FUEL: u64 = 50 * FUEL;
/// Templates by name in their environment: with marks around generation blocks, and without.
const MARKED: &str = "marked";
const PLAIN: &str = "plain";

/// A compiled template.
pub(super) struct Template {
    environment: Environment<'static>,
    /// Whether it has generation blocks.
    pub tagged: bool,
    /// Whether `add_generation_prompt` adds something. Found out by who has the variables to render it.
    pub prompts: bool,
}

/// What a template is given.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// Special tokens and variables of the run.
    pub run: Arc<BTreeMap<String, Value>>,
    /// Variables of the dataset entry and the row, which override those of the run.
    pub row: Arc<BTreeMap<String, Value>>,
    /// A list of tools, or none.
    pub tools: Value,
    /// Fuel that renderings with this context have used up.
    spent: Arc<AtomicU64>,
}

impl Context {
    /// For rows without tools: `tools` is none, as transformers gives it.
    pub(super) fn new(run: BTreeMap<String, Value>) -> Context {
        Context { run: Arc::new(run), row: Arc::default(), tools: Value::from(()), spent: Arc::default() }
    }

    /// As this one, for a row with fuel of its own.
    pub(super) fn for_row(&self) -> Context {
        Context { spent: Arc::default(), ..self.clone() }
    }
}

/// The context of one rendering.
#[derive(Debug)]
struct Variables {
    context: Context,
    messages: Value,
    generation_prompt: bool,
}

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "messages" => Some(self.messages.clone()),
            "tools" => Some(self.context.tools.clone()),
            "documents" => Some(Value::from(())),
            "add_generation_prompt" => Some(Value::from(self.generation_prompt)),
            key => self.context.row.get(key).or_else(|| self.context.run.get(key)).cloned(),
        }
    }
}

/// What `raise_exception` was given.
#[derive(Debug)]
struct Raised {
    message: String,
    /// Fuel used up until then.
    spent: u64,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Raised {}

impl Template {
    /// Compiles a template. `name` says in messages where it comes from; `today` is what `strftime_now` gives.
    pub(super) fn new(name: &str, source: &str, today: Option<Date>) -> Result<Template, ChatError> {
        let Rewritten { source, tagged } = rewrite::rewrite(source);
        let syntax = |error: &Error| ChatError::Syntax {
            source_name: name.to_owned(),
            line: error.line().unwrap_or_default(),
            reason: reason(error),
        };
        let mut environment = environment(today);
        let config = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(config.expect("these are the default delimiters"));
        for name in [PLAIN, MARKED] {
            environment.add_template_owned(name, source.clone()).map_err(|error| syntax(&error))?;
        }
        Ok(Template { environment, tagged, prompts: true })
    }

    /// Renders messages. `marked`: the text of generation blocks is enclosed in [`MARKS`].
    pub(super) fn render(
        &self,
        context: &Context,
        messages: &[Value],
        generation_prompt: bool,
        marked: bool,
    ) -> Result<String, ChatError> {
        if context.spent.load(Ordering::Relaxed) >= ROW_FUEL {
            return Err(ChatError::Fuel);
        }
        let template = self.environment.get_template(if marked { MARKED } else { PLAIN });
        let messages = messages.iter().cloned().collect();
        let variables = Variables { context: context.clone(), messages, generation_prompt };
        let rendered = template.and_then(|template| template.render_captured(Value::from_object(variables)));
        let (spent, rendered) = match rendered {
            Ok(captured) => {
                let spent = captured.state().fuel_levels().map_or(0, |(spent, _)| spent);
                (spent, Ok(captured.into_output()))
            }
            Err(error) => {
                let (spent, error) = failed(error);
                (spent, Err(error))
            }
        };
        context.spent.fetch_add(spent, Ordering::Relaxed);
        rendered
    }
}

/// The fuel that a failed rendering has used up, all of it where that cannot be told; and why it failed.
fn failed(error: Error) -> (u64, ChatError) {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(found) = cause {
        if let Some(raised) = found.downcast_ref::<Raised>() {
            return (raised.spent, ChatError::Raised(raised.message.clone()));
        }
        if found.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::OutOfFuel) {
            return (FUEL, ChatError::Fuel);
        }
        cause = found.source();
    }
    (FUEL, ChatError::Failed { line: error.line().unwrap_or_default(), reason: reason(&error) })
}

fn reason(error: &Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

/// Jinja as transformers sets it up.
fn environment(today: Option<Date>) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_debug(false);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, _, value| match value.as_str() {
        Some(text) => out.write_str(text).map_err(Error::from),
        None => out.write_str(&python::str(value)?).map_err(Error::from),
    });
    environment.add_filter("tojson", |value: &Value, rest: Rest<Value>, options: Kwargs| {
        python::tojson(value, &rest, &options)
    });
    environment.add_filter("string", |value: &Value| python::str(value));
    environment.add_filter(FILTER, |state: &State, text: String| match state.name() {
        MARKED => format!("{}{text}{}", MARKS[0], MARKS[1]),
        _ => text,
    });
    environment.add_filter(SHALLOW, |state: &State, value: &Value| {
        let mut items = 0;
        python::check_depth(value, &mut items)?;
        state.consume_fuel(items / 16)?;
        Ok::<_, Error>(value.clone())
    });
    let is = |kinds: &'static [ValueKind]| move |value: &Value| kinds.contains(&value.kind());
    use ValueKind::{Iterable, Map, Seq, String as Text, Undefined};
    environment.add_test("iterable", is(&[Undefined, Text, Seq, Map, Iterable]));
    environment.add_test("sequence", is(&[Undefined, Text, Seq, Map]));
    environment.add_function("raise_exception", |state: &State, message: &Value| -> Result<Value, Error> {
        let message = python::str(message)?;
        let spent = state.fuel_levels().map_or(FUEL, |(spent, _)| spent);
        Err(invalid(message.clone()).with_source(Raised { message, spent }))
    });
    environment.add_function("strftime_now", move |format: &str| match today {
        Some(today) => today.format(format).map_err(invalid),
        None => Err(invalid("strftime_now: chat_template_date is not set")),
    });
    environment
}

/// JSON as a template's value. Objects keep their order.
pub(super) fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(pairs) => object(pairs),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
    }
}

/// A JSON object as a template's value.
pub(super) fn object(pairs: &serde_json::Map<String, serde_json::Value>) -> Value {
    Value::from_pairs(pairs.iter().map(|(key, json)| (key.as_str(), value(json))))
}
