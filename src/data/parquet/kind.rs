//! What the values of a column are, by the physical and the logical type that the file gives it.

use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::schema::types::ColumnDescriptor;

/// What values can be used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Signed,
    Unsigned,
    Float,
    /// Strings, or bytes without a type, in which some writers store strings.
    Text,
    /// What else it is, for people.
    Other(&'static str),
}

impl Kind {
    pub(super) fn of(column: &ColumnDescriptor) -> Kind {
        if let Some(kind) = other(column) {
            return Kind::Other(kind);
        }
        match column.physical_type() {
            Physical::BOOLEAN => Kind::Bool,
            Physical::INT32 | Physical::INT64 if is_unsigned(column) => Kind::Unsigned,
            Physical::INT32 | Physical::INT64 => Kind::Signed,
            Physical::INT96 => Kind::Other("a timestamp"),
            Physical::FLOAT | Physical::DOUBLE => Kind::Float,
            Physical::BYTE_ARRAY => Kind::Text,
            Physical::FIXED_LEN_BYTE_ARRAY => Kind::Other("bytes of a fixed length"),
        }
    }

    /// What it is, for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Bool => "a boolean",
            Kind::Signed | Kind::Unsigned | Kind::Float => "a number",
            Kind::Text => "a string",
            Kind::Other(kind) => kind,
        }
    }
}

/// Types whose stored values stand for something else than a number or a string.
fn other(column: &ColumnDescriptor) -> Option<&'static str> {
    match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Decimal(_)), _) | (_, ConvertedType::DECIMAL) => Some("a decimal number"),
        (Some(LogicalType::Date), _) | (_, ConvertedType::DATE) => Some("a date"),
        (Some(LogicalType::Time(_)), _) | (_, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS) => {
            Some("a time")
        }
        (Some(LogicalType::Timestamp(_)), _)
        | (_, ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIMESTAMP_MICROS) => Some("a timestamp"),
        (_, ConvertedType::INTERVAL) => Some("an interval"),
        (Some(LogicalType::Uuid), _) => Some("a UUID"),
        (Some(LogicalType::Float16), _) => Some("a 16-bit float"),
        (Some(LogicalType::Bson), _) | (_, ConvertedType::BSON) => Some("BSON"),
        (
            Some(
                LogicalType::Variant(_)
                | LogicalType::Geometry(_)
                | LogicalType::Geography(_)
                | LogicalType::File,
            ),
            _,
        ) => Some("of a type that is not supported yet"),
        _ => None,
    }
}

fn is_unsigned(column: &ColumnDescriptor) -> bool {
    match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Integer(integer)), _) => !integer.is_signed,
        (
            _,
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64,
        ) => true,
        _ => false,
    }
}
