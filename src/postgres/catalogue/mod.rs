//! Target tables as the catalogue tells them: columns, types, key, and what may refuse a row.
//!
//! A shape is read whole, for one table and all its partitions, from one snapshot, and handed over as a
//! value of the engine. It is as old as its reading, and carries the version of the catalogue that it was
//! read from ([`version`]): every transaction compares that with the catalogue before it writes. What can't
//! be a target is refused here, with the SQL that mends it.

mod error;
mod expects;
mod key;
mod partitions;
mod privileges;
mod column_type;
mod connections;
pub mod version;

use tokio_postgres::types::Type;

use self::column_type::Types;
pub use self::connections::{ConnectionLimit, connection_limits};
pub use self::error::CatalogueError;
pub use self::expects::{Expected, expected};
pub use self::partitions::{Bounded, bounded_partitions};
pub use self::privileges::{
    ClosedSequence, MissingPrivilege, TableUse, closed_sequences, missing_privileges, stage_refusal,
};
use crate::engine::shape::{Column, KeyOrder, Table, TableTraits, Version};
use crate::nearest::nearest;
use crate::postgres::flush;
use crate::postgres::session::Session;

/// Loads a table and what decides how it is written, from one snapshot. `key` names the key's columns, none
/// for `append`. No lock on the table is waited for. The session must not be in a transaction. Takes four
/// round trips.
///
/// # Errors
/// When the table isn't there, can't be a target, or the key isn't one: see [`CatalogueError`].
pub async fn load_table(
    session: &Session,
    schema: &str,
    name: &str,
    key: &[String],
) -> Result<Table, CatalogueError> {
    let client = session.client();
    let failed = CatalogueError::doing("reading the table's shape from the catalogue");
    // The first look goes with BEGIN in one flush. Without a transaction it would only have been in vain.
    let begin = client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    let (begun, loaded) = futures_util::join!(begin, load_from_snapshot(session, schema, name, key));
    let ended = client.batch_execute("ROLLBACK").await;
    begun.map_err(&failed)?;
    let loaded = loaded?;
    ended.map_err(&failed)?;
    Ok(loaded)
}

async fn load_from_snapshot(
    session: &Session,
    schema: &str,
    name: &str,
    key: &[String],
) -> Result<Table, CatalogueError> {
    let relation = find_relation(session, schema, name).await?;
    // In one flush.
    let (read, indexes, found) = flush::three(
        load_columns(session, relation.oid),
        key::load_indexes(session, relation.oid),
        load_found(session, relation.oid),
    )
    .await?;
    let version = version::read(session, schema, name, &read.types).await?;
    let Some(version) = version else {
        return Err(CatalogueError::NoTable { table: format!("{schema}.{name}"), nearest: None });
    };
    refuse_unkept(&format!("{schema}.{name}"), &relation, &found)?;
    let mut columns = read.columns;
    let bytewise_index = match key {
        [] => false,
        key => key::check_key((schema, name), &columns, &indexes, key, &found.partitioned_by)?,
    };
    let bytewise_key = bytewise_index
        && key.iter().all(|wanted| {
            let place = columns.iter().position(|column| column.name == *wanted);
            place.is_some_and(|place| {
                read.deterministic[place] && column_type::is_bytewise(&columns[place].type_)
            })
        });
    if found.insert_triggers {
        // Such a trigger may fill what a record lacks: only the database can tell whether it does.
        for column in columns.iter_mut().filter(|column| column.not_null && !key.contains(&column.name)) {
            column.has_default = true;
        }
    }
    let traits = TableTraits {
        insert_triggers: found.insert_triggers,
        update_triggers: found.update_triggers,
        delete_triggers: found.delete_triggers,
        changes_others: found.any_trigger
            || found.insert_triggers
            || found.update_triggers
            || found.delete_triggers
            || found.leads_back,
        row_security: version.row_security,
        refuses_rows: found.any_trigger
            || found.constraints
            || relation.is_partitioned
            || relation.is_partition
            || version.row_security
            || read.constrained
            || indexes.iter().any(|index| index.refuses_rows(key)),
        bytewise_key,
        partitioned: relation.is_partitioned,
        key_order: if found.leads_back {
            KeyOrder::Always
        } else if key::sets_keys_against_each_other(&indexes, key) {
            KeyOrder::Changes
        } else {
            KeyOrder::Free
        },
    };
    let version::Read { own, tree, is_plain, .. } = version;
    let version = Version { own, tree, is_plain, types: read.types.into() };
    let (schema, name) = (schema.to_owned(), name.to_owned());
    Ok(Table { oid: relation.oid, schema, name, columns, traits, version })
}

struct Relation {
    oid: u32,
    is_partitioned: bool,
    is_partition: bool,
    persistence: String,
    has_children: bool,
}

async fn find_relation(session: &Session, schema: &str, name: &str) -> Result<Relation, CatalogueError> {
    let failed = CatalogueError::doing("looking the table up in the catalogue");
    let client = session.client();
    // A name that the database can't hold is the name of nothing in it.
    let spelt = [schema, name].map(|name| session.repertoire().storable(name));
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&spelt[0], Type::NAME), (&spelt[1], Type::NAME)];
    let rows = client
        .query_typed(include_str!("../sql/catalogue_relation.sql"), &parameters)
        .await
        .map_err(&failed)?;
    let table = format!("{schema}.{name}");
    let Some(row) = rows.first() else {
        let rows =
            client.query_typed(include_str!("../sql/catalogue_names.sql"), &[]).await.map_err(&failed)?;
        let known: Vec<String> =
            rows.iter().map(|row| format!("{}.{}", row.get::<_, &str>(0), row.get::<_, &str>(1))).collect();
        let elsewhere = known.iter().find(|known| known.split_once('.').is_some_and(|(_, at)| at == name));
        let elsewhere = elsewhere.map(String::as_str);
        let nearest = elsewhere.or_else(|| nearest(&table, known.iter().map(String::as_str)));
        let nearest = nearest.map(str::to_owned);
        return Err(CatalogueError::NoTable { table, nearest });
    };
    let kind = match row.get::<_, &str>(1) {
        kind @ ("r" | "p") => {
            return Ok(Relation {
                oid: row.get(0),
                is_partitioned: kind == "p",
                persistence: row.get(2),
                is_partition: row.get(3),
                has_children: row.get(4),
            });
        }
        "v" => "a view",
        "m" => "a materialized view",
        "f" => "a foreign table",
        "S" => "a sequence",
        "i" | "I" => "an index",
        "c" => "a composite type",
        _ => "a relation of another kind",
    };
    Err(CatalogueError::NotATable { table, kind })
}

struct Columns {
    columns: Vec<Column>,
    /// Of each column, whether its collation is deterministic.
    deterministic: Vec<bool>,
    /// A domain's constraint or a generated column's expression can refuse a row.
    constrained: bool,
    /// What the columns are made of, without PostgreSQL's own types.
    types: Vec<u32>,
}

async fn load_columns(session: &Session, table: u32) -> Result<Columns, CatalogueError> {
    let columns = async {
        session
            .client()
            .query_typed(include_str!("../sql/catalogue_columns.sql"), &[(&table, Type::OID)])
            .await
            .map_err(CatalogueError::doing("reading columns from the catalogue"))
    };
    let (rows, types) = flush::two(columns, Types::load(session, table)).await?;
    let oids: Vec<u32> = rows.iter().map(|row| row.get(1)).collect();
    let mut constrained = false;
    let mut columns = Vec::with_capacity(rows.len());
    for (row, &oid) in rows.iter().zip(&oids) {
        let (identity, computed): (&str, bool) = (row.get(5), row.get(6));
        constrained |= computed || types.has_constraint(oid);
        columns.push(Column {
            name: row.get(0),
            type_: types.column_type(oid, row.get(2)),
            not_null: row.get::<_, bool>(3) || types.refuses_null(oid),
            has_default: row.get::<_, bool>(4) || !identity.is_empty() || types.has_default(oid),
            generated: computed || identity == "a",
        });
    }
    let deterministic = rows.iter().map(|row| row.get(7)).collect();
    Ok(Columns { columns, deterministic, constrained, types: types.changeable() })
}

/// What was found on the table and its partitions.
struct Found {
    insert_triggers: bool,
    update_triggers: bool,
    delete_triggers: bool,
    any_trigger: bool,
    constraints: bool,
    foreign_partitions: Option<String>,
    unlogged_partitions: Option<String>,
    /// A foreign key leads back to the table, or a constraint trigger judges its rows.
    leads_back: bool,
    /// Columns by which the table and its partitions are partitioned.
    partitioned_by: Vec<String>,
}

async fn load_found(session: &Session, table: u32) -> Result<Found, CatalogueError> {
    let failed = CatalogueError::doing("reading triggers and constraints from the catalogue");
    let rows = session
        .client()
        .query_typed(include_str!("../sql/catalogue_traits.sql"), &[(&table, Type::OID)])
        .await
        .map_err(failed)?;
    let row = rows.first().expect("a SELECT without FROM has one row");
    Ok(Found {
        insert_triggers: row.get(0),
        update_triggers: row.get(1),
        delete_triggers: row.get(2),
        any_trigger: row.get(3),
        constraints: row.get(4),
        foreign_partitions: row.get(5),
        unlogged_partitions: row.get(6),
        leads_back: row.get(7),
        partitioned_by: row.get(8),
    })
}

/// Refuses tables whose rows don't live and die with progress.
fn refuse_unkept(table: &str, relation: &Relation, found: &Found) -> Result<(), CatalogueError> {
    let refuse = |why: String| Err(CatalogueError::NotTransactional { table: table.to_owned(), why });
    if let Some(foreign) = &found.foreign_partitions {
        return refuse(format!(
            "its partitions {foreign} are foreign tables, which another server commits: detach them, or \
             name the local partition as the target"
        ));
    }
    if let Some(unlogged) = &found.unlogged_partitions {
        return refuse(match relation.persistence.as_str() {
            "t" => "it is temporary and ends with its session: name a permanent table".into(),
            _ => format!(
                "{unlogged} is unlogged, so that a crash of the server empties it while progress stays: \
                 ALTER TABLE … SET LOGGED"
            ),
        });
    }
    if relation.has_children {
        return refuse(
            "it has child tables by inheritance, which its unique index doesn't cover: name a child table, \
             or use partitions instead"
                .into(),
        );
    }
    Ok(())
}
