//! Types of columns, resolved down to what they are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::types::Type;

use super::CatalogueError;
use crate::engine::shape::{ColumnType, Kind};
use crate::postgres::identifier;
use crate::postgres::session::Session;

/// A row of `pg_type`, with what belongs to it.
struct TypeRow {
    sql_name: String,
    built_in: bool,
    category: String,
    base: u32,
    base_typmod: i32,
    not_null: bool,
    has_default: bool,
    has_check: bool,
    element: u32,
    subtype: u32,
    labels: Arc<[String]>,
}

/// The types that a table's columns are made of.
pub(super) struct Types(BTreeMap<u32, TypeRow>);

impl Types {
    /// Loads the types of a table's columns and all that they are made of.
    pub(super) async fn load(session: &Session, table: u32) -> Result<Self, CatalogueError> {
        let rows = session
            .client()
            .query_typed(include_str!("../sql/catalogue_types.sql"), &[(&table, Type::OID)])
            .await
            .map_err(CatalogueError::doing("reading column types from the catalogue"))?;
        let mut types = BTreeMap::new();
        for row in rows {
            let (schema, name): (String, String) = (row.get(1), row.get(2));
            let labels: Vec<String> = row.get(11);
            let read = TypeRow {
                sql_name: identifier::qualified(&schema, &name)?,
                built_in: schema == "pg_catalog",
                category: row.get(3),
                base: row.get(4),
                base_typmod: row.get(5),
                not_null: row.get(6),
                has_default: row.get(7),
                has_check: row.get(8),
                element: row.get(9),
                subtype: row.get(10),
                labels: labels.into(),
            };
            types.insert(row.get(0), read);
        }
        Ok(Self(types))
    }

    /// The type of a column.
    pub(super) fn column_type(&self, oid: u32, typmod: i32) -> ColumnType {
        let Some(row) = self.0.get(&oid) else {
            // Dropped while the catalogue was read; writing says so better than a guess here.
            return ColumnType { oid, sql_name: "pg_catalog.text".into(), typmod, kind: Kind::Other };
        };
        let kind = match row.category.as_str() {
            "e" => Kind::Enum(row.labels.clone()),
            "d" => Kind::Domain(Box::new(self.column_type(row.base, row.base_typmod))),
            "r" => Kind::Range(Box::new(self.column_type(row.subtype, -1))),
            // An array's modifier is that of its elements.
            _ if row.element != 0 => Kind::Array(Box::new(self.column_type(row.element, typmod))),
            "b" if row.built_in => built_in(oid),
            _ => Kind::Other,
        };
        ColumnType { oid, sql_name: row.sql_name.clone(), typmod, kind }
    }

    /// The types that somebody can change, in the order of their oids: all but PostgreSQL's own.
    pub(super) fn changeable(&self) -> Vec<u32> {
        self.0.iter().filter(|(_, row)| !row.built_in).map(|(oid, _)| *oid).collect()
    }

    /// Whether the type, or the domain that it is, refuses NULL.
    pub(super) fn refuses_null(&self, oid: u32) -> bool {
        self.through_domains(oid, |row| row.not_null)
    }

    /// Whether the type is a domain with a default.
    pub(super) fn has_default(&self, oid: u32) -> bool {
        self.through_domains(oid, |row| row.has_default)
    }

    /// Whether anything that the type is made of has a constraint.
    pub(super) fn has_constraint(&self, oid: u32) -> bool {
        self.0.get(&oid).is_some_and(|row| {
            (row.category == "d" && (row.has_check || row.not_null))
                || [row.base, row.element, row.subtype]
                    .iter()
                    .any(|&part| part != 0 && self.has_constraint(part))
        })
    }

    fn through_domains(&self, oid: u32, holds: impl Fn(&TypeRow) -> bool + Copy) -> bool {
        self.0
            .get(&oid)
            .is_some_and(|row| row.category == "d" && (holds(row) || self.through_domains(row.base, holds)))
    }
}

fn built_in(oid: u32) -> Kind {
    match Type::from_oid(oid) {
        Some(Type::BOOL) => Kind::Bool,
        Some(Type::INT2) => Kind::Int2,
        Some(Type::INT4) => Kind::Int4,
        Some(Type::INT8) => Kind::Int8,
        Some(Type::FLOAT4) => Kind::Float4,
        Some(Type::FLOAT8) => Kind::Float8,
        Some(Type::NUMERIC) => Kind::Numeric,
        Some(Type::TEXT) => Kind::Text,
        Some(Type::VARCHAR) => Kind::Varchar,
        Some(Type::BPCHAR) => Kind::Bpchar,
        Some(Type::UUID) => Kind::Uuid,
        Some(Type::BYTEA) => Kind::Bytea,
        Some(Type::JSON) => Kind::Json,
        Some(Type::JSONB) => Kind::Jsonb,
        Some(Type::DATE) => Kind::Date,
        Some(Type::TIME) => Kind::Time,
        Some(Type::TIMETZ) => Kind::TimeTz,
        Some(Type::TIMESTAMP) => Kind::Timestamp,
        Some(Type::TIMESTAMPTZ) => Kind::TimestampTz,
        Some(Type::INTERVAL) => Kind::Interval,
        Some(Type::INET) => Kind::Inet,
        Some(Type::CIDR) => Kind::Cidr,
        _ => Kind::Other,
    }
}

/// Whether two values of the type are equal exactly when their binary forms are.
pub(super) fn is_bytewise(type_: &ColumnType) -> bool {
    match &type_.kind {
        Kind::Bool
        | Kind::Int2
        | Kind::Int4
        | Kind::Int8
        | Kind::Uuid
        | Kind::Bytea
        | Kind::Date
        | Kind::Inet
        | Kind::Cidr
        | Kind::Enum(_) => true,
        // A modifier rounds or cuts on the way in.
        Kind::Text | Kind::Varchar | Kind::Time | Kind::TimeTz | Kind::Timestamp | Kind::TimestampTz => {
            type_.typmod == -1
        }
        Kind::Domain(base) => is_bytewise(base),
        // -0 = 0, 1.0 = 1.00, trailing blanks, '1 day' = '24 hours', and what a type's own operator says.
        Kind::Float4
        | Kind::Float8
        | Kind::Numeric
        | Kind::Bpchar
        | Kind::Json
        | Kind::Jsonb
        | Kind::Interval
        | Kind::Array(_)
        | Kind::Range(_)
        | Kind::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, typmod: i32) -> ColumnType {
        ColumnType { oid: 0, sql_name: String::new(), typmod, kind }
    }

    #[test]
    fn equality_is_bytewise_only_where_nothing_blurs_it() {
        let domain = |base| of(Kind::Domain(Box::new(base)), -1);
        let yes = [
            of(Kind::Uuid, -1),
            of(Kind::Int8, -1),
            of(Kind::Text, -1),
            of(Kind::TimestampTz, -1),
            of(Kind::Enum(Arc::from([])), -1),
            domain(of(Kind::Int4, -1)),
        ];
        let no = [
            of(Kind::Varchar, 14),
            of(Kind::Timestamp, 3),
            of(Kind::Bpchar, 7),
            of(Kind::Numeric, -1),
            of(Kind::Float8, -1),
            of(Kind::Interval, -1),
            of(Kind::Jsonb, -1),
            of(Kind::Other, -1),
            of(Kind::Array(Box::new(of(Kind::Int4, -1))), -1),
            domain(of(Kind::Varchar, 14)),
        ];
        for type_ in yes {
            assert!(is_bytewise(&type_), "{type_:?}");
        }
        for type_ in no {
            assert!(!is_bytewise(&type_), "{type_:?}");
        }
    }
}
