//! The statements that write one row, prepared on first use, and the values that they take.

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error, Statement};

use super::super::sql::SETS_MAX;
use super::super::stop::Stop;
use super::super::target::Target;
use super::known::Kind;
use super::sql::{self, Modifier};
use crate::engine::shape::{self, ColumnSet, ColumnType, Table};

/// The columns that a statement takes: those of the record, or the key's alone.
pub(super) fn statement_columns(target: &Target, columns: &ColumnSet, kind: Kind) -> ColumnSet {
    match kind {
        Kind::Append | Kind::Add | Kind::Merge | Kind::Patch => columns.clone(),
        Kind::Look | Kind::Delete => ColumnSet::new(target.table.columns.len(), target.names.key_places()),
    }
}

/// The statement of a column set, made on first use.
pub(super) async fn prepare(
    client: &Client,
    target: &mut Target,
    columns: &ColumnSet,
    kind: Kind,
) -> Result<Statement, Stop> {
    let columns = statement_columns(target, columns, kind);
    let id = (columns, kind);
    if let Some(known) = target.ordered.statements.get(&id) {
        return Ok(known.clone());
    }
    make_values(client, target).await?;
    let values = target.ordered.values.as_deref().unwrap_or_default();
    let text = sql::statement(&target.names, target.table.traits, &id.0, kind, values);
    let prepared = client.prepare(&text).await;
    let statement = prepared.map_err(|error| Stop::rows(error, &target.table, None))?;
    if target.ordered.statements.len() >= SETS_MAX {
        target.ordered.statements.clear();
    }
    target.ordered.statements.insert(id, statement.clone());
    Ok(statement)
}

/// Makes the expressions for the columns' values, on first use.
pub(super) async fn make_values(client: &Client, target: &mut Target) -> Result<(), Stop> {
    if target.ordered.values.is_none() {
        let made = values(client, &target.table).await;
        target.ordered.values = Some(made.map_err(|error| Stop::rows(error, &target.table, None))?);
    }
    Ok(())
}

/// An expression for the value of each column.
async fn values(client: &Client, table: &Table) -> Result<Vec<String>, Error> {
    let mut values: Vec<String> =
        table.columns.iter().map(|column| sql::value(&column.type_, None)).collect();
    let of_elements = |type_: &ColumnType| match &type_.kind {
        shape::Kind::Array(element) => element.oid,
        _ => type_.oid,
    };
    let types = table.columns.iter().map(|column| &column.type_);
    let (oids, elements): (Vec<u32>, Vec<u32>) =
        types.clone().map(|type_| (type_.oid, of_elements(type_))).unzip();
    let modifiers: Vec<i32> = types.map(|type_| type_.typmod).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&oids, Type::OID_ARRAY), (&elements, Type::OID_ARRAY), (&modifiers, Type::INT4_ARRAY)];
    for row in client.query_typed(MODIFIERS, &parameters).await? {
        let place = row.try_get::<_, i64>(0)? as usize - 1;
        let column = &table.columns[place];
        let modifier = Modifier {
            named: row.try_get(1)?,
            number: column.type_.typmod,
            function: row.try_get(2)?,
            knows_casts: row.try_get(3)?,
        };
        values[place] = sql::value(&column.type_, Some(&modifier));
    }
    Ok(values)
}

/// Types, the types of their elements (or themselves), modifiers → of those whose modifier is applied by a
/// function: the place, the type with its modifier, the function, and whether it is told of explicit casts.
const MODIFIERS: &str = "\
SELECT u.place, pg_catalog.format_type(u.oid, u.typmod), \
       pg_catalog.format('%I.%I', n.nspname, p.proname), p.pronargs OPERATOR(pg_catalog.=) 3::pg_catalog.int2 \
FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) \
     WITH ORDINALITY AS u(oid, element, typmod, place) \
JOIN pg_catalog.pg_cast AS c ON c.castsource OPERATOR(pg_catalog.=) u.element \
     AND c.casttarget OPERATOR(pg_catalog.=) u.element \
JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) c.castfunc \
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
WHERE u.typmod OPERATOR(pg_catalog.>=) 0 AND p.pronargs OPERATOR(pg_catalog.>) 1::pg_catalog.int2";

/// A value that is encoded already, in the type's binary form or as its text input.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) bytes: Option<&'a [u8]>,
    pub(super) text: bool,
}

impl ToSql for Field<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(bytes) = self.bytes else { return Ok(IsNull::Yes) };
        out.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        if self.text { Format::Text } else { Format::Binary }
    }

    to_sql_checked!();
}
