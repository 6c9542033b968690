//! `headstart schema`: the JSON schema of a run file, for editors.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value as Json;

use super::Probe;
use super::choice::Choice;
use super::keys::{ClusterBlock, DatasetBlock, Keys, Names, RunFile, UnfreezeBlock};
use super::lora::Precision;
use super::lora_values::{AdapterChoice, LayerNumbers, ModuleNames};
use super::read::{Located, OneOrMany, Overrides, Sources, TextLists};
use super::report_to::ReportTo;
use super::transfer::UnfreezeList;
use super::values::{Bytes, LabelName, OneOf, Resumption};

/// The JSON schema of a run file, with every spelling of every key.
pub fn schema() -> Json {
    let mut schema = schemars::schema_for!(RunFile).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), "Headstart run file".into());
        root.insert("required".into(), serde_json::json!(["task"]));
    }
    add_aliases(&mut schema, RunFile::KEYS);
    for (block, keys) in [("DatasetBlock", DatasetBlock::KEYS), ("ClusterBlock", ClusterBlock::KEYS)] {
        if let Some(definition) = schema.pointer_mut(&format!("/$defs/{block}")) {
            add_aliases(definition, keys);
        }
    }
    schema
}

fn add_aliases(block: &mut Json, keys: &[Names]) {
    let Some(properties) = block.get_mut("properties").and_then(Json::as_object_mut) else {
        return;
    };
    for names in keys {
        let Some(mut property) = properties.get(names.name).cloned() else {
            continue;
        };
        for alias in names.aliases {
            property["description"] = format!("Another spelling of {}.", names.name).into();
            properties.insert((*alias).to_owned(), property.clone());
        }
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }
}

impl<T: Choice> JsonSchema for OneOf<T> {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = T::NAMES.iter().chain(T::ALIASES).map(|(name, _)| *name).collect();
        json_schema!({ "type": "string", "enum": names })
    }

    fn inline_schema() -> bool {
        true
    }
}

macro_rules! inline_schemas {
    ($($type:ty => $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let schema: fn(&mut SchemaGenerator) -> Schema = $schema;
                schema(generator)
            }

            fn inline_schema() -> bool {
                true
            }
        }
    )*};
}
inline_schemas! {
    OneOrMany => |_| json_schema!({ "anyOf": [
        { "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 },
    ] });
    LabelName => |_| json_schema!({ "type": ["string", "integer", "boolean"] });
    Bytes => |_| json_schema!({ "type": ["string", "integer"] });
    Resumption => |_| json_schema!({ "anyOf": [{ "type": "boolean" }, { "enum": ["auto", "no"] }] });
    ReportTo => |_| {
        let name = json_schema!({ "enum": ["tensorboard", "mlflow", "all", "none"] });
        json_schema!({ "anyOf": [name, { "type": "array", "items": name }] })
    };
    Sources => |generator| {
        let block = generator.subschema_for::<DatasetBlock>();
        let one = json_schema!({ "anyOf": [{ "type": "string" }, block] });
        json_schema!({ "anyOf": [{ "type": "array", "items": one }, one] })
    };
    UnfreezeList => |generator| {
        let entry = generator.subschema_for::<UnfreezeBlock>();
        json_schema!({ "anyOf": [{ "type": "array", "items": entry }, entry] })
    };
    AdapterChoice => |_| json_schema!({ "anyOf": [{ "enum": ["lora", "full", "none"] }, { "type": "boolean" }] });
    ModuleNames => |_| json_schema!({ "anyOf": [
        { "type": "string" }, { "type": "array", "items": { "type": "string" } },
    ] });
    LayerNumbers => |_| json_schema!({ "anyOf": [
        { "type": "integer", "minimum": 0 }, { "type": "array", "items": { "type": "integer", "minimum": 0 } },
    ] });
    Probe => |_| json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "integer", "minimum": 0 }] });
    Precision => |_| json_schema!({ "anyOf": [{ "type": "boolean" }, { "enum": ["auto"] }] });
    Overrides => |_| json_schema!({ "type": "object" });
    TextLists => |_| json_schema!({ "type": "object", "additionalProperties": { "anyOf": [
        { "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 },
    ] } });
}
