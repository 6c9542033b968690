//! Whole rows of a Parquet file: lists and structs put together from their columns (Melnik et al., Dremel, 2010).

use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::errors::Result;
use parquet::file::metadata::RowGroupMetaData;
use parquet::schema::types::{SchemaDescriptor, Type};
use serde_json::{Map, Value};

use super::kind::Kind;
use super::levels::{Column, contradiction};
use super::ranged::Source;
use crate::data::RowProblem;

/// Deepest nesting of lists and structs.
const DEEPEST: usize = 32;

/// The columns of a row that are read.
#[derive(Debug)]
pub(super) struct Tree {
    fields: Vec<Field>,
    /// Places of the columns of values, in the order in which [`Node`] counts them.
    leaves: Vec<usize>,
}

#[derive(Debug)]
struct Field {
    name: String,
    node: Node,
}

/// A value, or a nest of them.
#[derive(Debug)]
struct Node {
    shape: Shape,
    /// Definition level from which on it is there.
    present: i16,
    /// Its columns of values: the first, and the one after the last.
    leaves: (usize, usize),
}

#[derive(Debug)]
enum Shape {
    Value,
    Struct(Vec<Field>),
    List {
        element: Box<Node>,
        /// Definition level from which on there is an element.
        filled: i16,
        /// Repetition level of a further element.
        level: i16,
        /// Elements are keys and values.
        map: bool,
    },
}

impl Tree {
    /// The columns of these names, as far as the file has them; its columns if it has none of them.
    pub(super) fn new(schema: &SchemaDescriptor, wanted: &[String]) -> std::result::Result<Tree, RowProblem> {
        let mut builder = Builder { schema, place: 0, leaves: Vec::new() };
        let (mut fields, mut present, mut unread) = (Vec::new(), Vec::new(), None);
        for column in schema.root_schema().get_fields() {
            let name = column.name().to_owned();
            present.push(name.clone());
            if !wanted.contains(&name) {
                builder.skip(column);
                continue;
            }
            match builder.node(column, 0, 0, 0) {
                Some(node) => fields.push(Field { name, node }),
                None => unread = Some(name),
            }
        }
        match unread.or_else(|| wanted.first().cloned()) {
            _ if !fields.is_empty() => Ok(Tree { fields, leaves: builder.leaves }),
            Some(column) if present.contains(&column) => Err(RowProblem::WrongKind {
                column,
                found: "of a type that is not supported",
                expected: "texts, numbers, or lists and structs of them",
            }),
            column => Err(RowProblem::MissingColumn {
                column: column.unwrap_or_default(),
                key: super::super::columns::TEXT,
                present,
            }),
        }
    }

    /// The names of the columns.
    pub(super) fn columns(&self) -> Vec<String> {
        self.fields.iter().map(|field| field.name.clone()).collect()
    }

    /// A reader of the rows of a row group.
    pub(super) fn open(&self, source: &Source, group: &RowGroupMetaData) -> Result<Rows<'_>> {
        let open = |&place: &usize| Column::open(source.clone(), group, place);
        Ok(Rows { tree: self, columns: self.leaves.iter().map(open).collect::<Result<_>>()? })
    }
}

/// Rows of one row group, in order.
pub(super) struct Rows<'a> {
    tree: &'a Tree,
    columns: Vec<Column>,
}

impl Rows<'_> {
    /// The next row. Fields of structs that are null are left out: columns of a file have every field in every row.
    pub(super) fn next(&mut self) -> Result<Option<Map<String, Value>>> {
        let mut ended = 0;
        for column in &mut self.columns {
            ended += usize::from(!column.next_row()?);
        }
        match ended {
            0 => object(&self.tree.fields, &mut self.columns).map(Some),
            all if all == self.columns.len() => Ok(None),
            _ => Err(contradiction()),
        }
    }
}

fn object(fields: &[Field], columns: &mut [Column]) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    for field in fields {
        let value = field.node.value(columns)?;
        if !value.is_null() {
            object.insert(field.name.clone(), value);
        }
    }
    Ok(object)
}

impl Node {
    fn value(&self, columns: &mut [Column]) -> Result<Value> {
        if columns[self.leaves.0].defined()? < self.present {
            return self.pass(columns).map(|()| Value::Null);
        }
        match &self.shape {
            Shape::Value => columns[self.leaves.0].take(),
            Shape::Struct(fields) => object(fields, columns).map(Value::Object),
            Shape::List { element, filled, level, map } => {
                let elements = self.elements(columns, element, *filled, *level)?;
                Ok(if *map { entries(elements) } else { Value::Array(elements) })
            }
        }
    }

    fn elements(
        &self,
        columns: &mut [Column],
        element: &Node,
        filled: i16,
        level: i16,
    ) -> Result<Vec<Value>> {
        let first = self.leaves.0;
        let mut elements = Vec::new();
        if columns[first].defined()? < filled {
            self.pass(columns)?;
            return Ok(elements);
        }
        loop {
            elements.push(element.value(columns)?);
            if !columns[first].is_left() || columns[first].repetition() < level {
                return Ok(elements);
            }
        }
    }

    /// Passes over what stands for nothing: one value in each column.
    fn pass(&self, columns: &mut [Column]) -> Result<()> {
        columns[self.leaves.0..self.leaves.1].iter_mut().try_for_each(|column| column.take().map(drop))
    }
}

/// A map of texts as an object; of other keys, the list of its entries.
fn entries(elements: Vec<Value>) -> Value {
    let mut object = Map::new();
    for element in &elements {
        let mut fields = element.as_object().into_iter().flat_map(|entry| entry.values());
        let (Some(Value::String(key)), value) = (fields.next(), fields.next()) else {
            return Value::Array(elements);
        };
        if let Some(value) = value {
            object.insert(key.clone(), value.clone());
        }
    }
    Value::Object(object)
}

/// Walks a schema. Columns of values are numbered as they are met.
struct Builder<'a> {
    schema: &'a SchemaDescriptor,
    /// Place of the next column among all.
    place: usize,
    leaves: Vec<usize>,
}

impl Builder<'_> {
    /// What a type of the schema becomes; `None` where none of its values can be read. `defined` and `repeated` are the
    /// levels outside of it.
    fn node(&mut self, kind: &Type, defined: i16, repeated: i16, depth: usize) -> Option<Node> {
        if depth > DEEPEST {
            self.skip(kind);
            return None;
        }
        if is(kind, Repetition::REPEATED) {
            // A list of an old kind, which is never null.
            let (filled, level, first) = (defined + 1, repeated + 1, self.leaves.len());
            let element = self.bare(kind, filled, level, depth)?;
            return Some(self.list(element, defined, (filled, level), first, false));
        }
        let present = defined + i16::from(is(kind, Repetition::OPTIONAL));
        self.bare(kind, present, repeated, depth)
    }

    /// As [`Builder::node`], with its own repetition taken into account in `present` and `repeated`.
    fn bare(&mut self, kind: &Type, present: i16, repeated: i16, depth: usize) -> Option<Node> {
        let first = self.leaves.len();
        if kind.is_primitive() {
            let place = self.place;
            self.place += 1;
            if matches!(Kind::of(&self.schema.column(place)), Kind::Other(_)) {
                return None;
            }
            self.leaves.push(place);
            return Some(Node { shape: Shape::Value, present, leaves: (first, first + 1) });
        }
        if let Some((element, map)) = inner(kind) {
            let (filled, level) = (present + 1, repeated + 1);
            let element = match element {
                Element::Itself(group) => self.bare(group, filled, level, depth + 1),
                Element::Only(field) => self.node(field, filled, level, depth + 1),
            };
            return element.map(|element| self.list(element, present, (filled, level), first, map));
        }
        let mut fields = Vec::new();
        for field in kind.get_fields() {
            if let Some(node) = self.node(field, present, repeated, depth + 1) {
                fields.push(Field { name: field.name().to_owned(), node });
            }
        }
        let leaves = (first, self.leaves.len());
        (!fields.is_empty()).then_some(Node { shape: Shape::Struct(fields), present, leaves })
    }

    fn list(
        &self,
        element: Node,
        present: i16,
        (filled, level): (i16, i16),
        first: usize,
        map: bool,
    ) -> Node {
        let shape = Shape::List { element: Box::new(element), filled, level, map };
        Node { shape, present, leaves: (first, self.leaves.len()) }
    }

    /// Passes over a type that is not read.
    fn skip(&mut self, kind: &Type) {
        match kind {
            Type::PrimitiveType { .. } => self.place += 1,
            Type::GroupType { fields, .. } => fields.iter().for_each(|field| self.skip(field)),
        }
    }
}

/// What the repeated field of a list holds.
enum Element<'a> {
    /// The repeated field is the element.
    Itself(&'a Type),
    /// It encloses the element.
    Only(&'a Type),
}

/// The element of a list or a map, and whether it is a map's; `None` for other groups. Old lists by the rules of the
/// Parquet format, LogicalTypes.md.
fn inner(kind: &Type) -> Option<(Element<'_>, bool)> {
    let info = kind.get_basic_info();
    let logical = info.logical_type_ref();
    let map = matches!(logical, Some(LogicalType::Map))
        || matches!(info.converted_type(), ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE);
    let list = matches!(logical, Some(LogicalType::List)) || info.converted_type() == ConvertedType::LIST;
    let [repeated] = kind.get_fields() else { return None };
    if !(map || list) || !is(repeated, Repetition::REPEATED) {
        return None;
    }
    if map {
        return Some((Element::Itself(repeated), true));
    }
    let name = repeated.name();
    let old = name == "array" || name == format!("{}_tuple", kind.name());
    Some(match repeated.as_ref() {
        Type::GroupType { fields, .. } if fields.len() == 1 && !old => (Element::Only(&fields[0]), false),
        _ => (Element::Itself(repeated), false),
    })
}

fn is(kind: &Type, repetition: Repetition) -> bool {
    let info = kind.get_basic_info();
    info.has_repetition() && info.repetition() == repetition
}
