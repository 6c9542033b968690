//! Encodes rows of conversations for `tests/parity/chat.py`, which compares them with transformers.
//!
//! Each line of standard input is one encoder and its rows: `{"files": {name: text}, "settings": {…}, "format": {…},
//! "sequence_len": n, "rows": […]}`. A line is answered by a list: for each row `{"format", "text", "spans", "input_ids",
//! "trained", "warnings"}` with spans in characters, or `{"refused", "exit"}`.

use std::error::Error;
use std::io::{BufRead, Write};

use headstart::chat::{ChatSettings, EncoderParts, RowEncoder, RowFormat, RowRefusal};
use headstart::model::tokenizer::{Registered, TokenizerFiles, TokenizerSpec};
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        writeln!(out, "{}", answer(&serde_json::from_str(&line?)?)?)?;
    }
    Ok(())
}

fn answer(case: &Value) -> Result<Value, Box<dyn Error>> {
    let settings: ChatSettings = serde_json::from_value(case["settings"].clone())?;
    let format: RowFormat = serde_json::from_value(case["format"].clone())?;
    let text = |name: &str| case["files"][name].as_str().map(str::to_owned);
    let mut files = TokenizerFiles::default();
    for name in TokenizerFiles::ALWAYS {
        if let Some(text) = text(name) {
            files.insert(name, text.into());
        }
    }
    let spec = TokenizerSpec::resolve(&files, &Value::Null, Registered::NONE)?;
    let encoder = RowEncoder::new(EncoderParts {
        tokenizer: &spec,
        tokenizer_config: text("tokenizer_config.json"),
        chat_template: text("chat_template.jinja"),
        template: None,
        generation_config: text("generation_config.json"),
        sequence_len: u32::try_from(case["sequence_len"].as_u64().unwrap_or(1 << 20))?,
        vocab: u64::MAX,
        settings: &settings,
        entries: &[format],
    });
    let rows = case["rows"].as_array().ok_or("a case has rows")?;
    let encoder = match encoder {
        Ok(encoder) => encoder,
        Err(error) => {
            let refused = json!({"refused": error.to_string(), "exit": error.exit() as u8});
            return Ok(vec![refused; rows.len()].into());
        }
    };
    let rows: Result<Vec<Value>, _> = rows
        .iter()
        .map(|row| row.as_object().ok_or("a row is an object").map(|row| one(&encoder, row)))
        .collect();
    Ok(rows?.into())
}

fn one(encoder: &RowEncoder, row: &Map<String, Value>) -> Value {
    let encoded = encoder.render(row, 0).and_then(|rendered| Ok((rendered, encoder.encode(row, 0)?)));
    match encoded {
        Ok((rendered, row)) => {
            let spans = rendered.map(|rendered| {
                let characters = |byte: usize| rendered.text[..byte].chars().count();
                let spans = rendered.spans.iter().map(|span| [characters(span.start), characters(span.end)]);
                spans.collect::<Vec<_>>()
            });
            let warnings: Vec<String> = row.warnings.iter().map(ToString::to_string).collect();
            json!({
                "format": row.format.to_string(), "text": row.text, "spans": spans, "input_ids": row.input_ids,
                "trained": row.trained, "warnings": warnings,
            })
        }
        Err(RowRefusal::Dropped(reason)) => json!({"refused": reason.to_string(), "exit": null}),
        Err(RowRefusal::Fatal(error)) => json!({"refused": error.to_string(), "exit": error.exit() as u8}),
    }
}
