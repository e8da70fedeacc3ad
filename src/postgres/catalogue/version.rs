//! Which state of the catalogue a shape belongs to.
//!
//! PostgreSQL never changes a row of its catalogue in place where that would change a table's meaning: each
//! change leaves a row of another `xmin`. The row versions of everything that a table is made of, hashed, are
//! therefore a version of the table, which costs some index look-ups and no walk over its meaning.
//!
//! `pg_class` tells by its own row that a first trigger, rule or policy came, how many CHECKs there are, and
//! that the storage changed; foreign keys show as triggers, and unique and exclusion constraints as indexes.
//! What is the session's (replication role, row security) counts too: a shape is read in one session and used
//! in another.

use std::fmt::Write as _;

use super::CatalogueError;
use crate::engine::shape::Table;
use crate::postgres::identifier::{self, IdentifierError};
use crate::postgres::session::Session;

/// What a version is made of, when it is read together with a shape.
pub(super) struct Read {
    /// See [`crate::engine::shape::Version::own`].
    pub(super) own: i64,
    /// See [`crate::engine::shape::Version::tree`].
    pub(super) tree: i64,
    /// See [`crate::engine::shape::Version::is_plain`].
    pub(super) is_plain: bool,
    /// Whether row-level security applies to this session's role.
    pub(super) row_security: bool,
}

/// Reads the version of the table that has this name now; `None` where none has.
pub(super) async fn read(
    session: &Session,
    schema: &str,
    name: &str,
    types: &[u32],
) -> Result<Option<Read>, CatalogueError> {
    let (own, named) = (own(types, false), named(schema, name)?);
    let sql = format!(
        "SELECT {own}, {TREE}, NOT ({RULED}), pg_catalog.row_security_active(c.oid) \
         FROM pg_catalog.pg_class AS c WHERE {named}"
    );
    let rows = session.client().query_typed(&sql, &[]).await;
    let rows = rows.map_err(CatalogueError::doing("reading the table's version from the catalogue"))?;
    Ok(rows.first().map(|row| Read {
        own: row.get(0),
        tree: row.get::<_, Option<i64>>(1).unwrap_or_default(),
        is_plain: row.get(2),
        row_security: row.get(3),
    }))
}

/// An expression that gives [`crate::engine::shape::Version::own`] of the table that has this name now; NULL
/// where none has. Every transaction evaluates it, so that it opens as few catalogues as it can: the name is
/// looked up in the server's cache, which knows at least as much as the statement's snapshot.
///
/// # Errors
/// When the name can't be quoted.
pub(in crate::postgres) fn own_of(table: &Table) -> Result<String, IdentifierError> {
    let own = own(&table.version.types, table.version.is_plain);
    let name = identifier::literal(&identifier::qualified(&table.schema, &table.name)?)?;
    Ok(format!(
        "(SELECT {own} FROM pg_catalog.pg_class AS c \
         WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({name}))"
    ))
}

/// A condition for a statement that writes to the table: its name and version are those of the shape.
///
/// The look into the catalogue is left to the plan: the ledger's function `shape` is evaluated when the plan
/// is made, and PostgreSQL makes it anew once the table, its indexes, constraints, triggers, rules or
/// policies have changed. What no plan depends on, types and the session's own state, is looked at each time,
/// and so is the name: where a statement waits for the table while it is analysed, its parts may mean
/// different ones.
///
/// The look at planning is as old as the statement's first snapshot, which is older than a wait for the
/// table's lock: the lock has to be held before the statement is sent.
///
/// # Errors
/// When the name can't be quoted.
pub(in crate::postgres) fn holds_in_plan(
    table: &Table,
    shape_function: &str,
) -> Result<String, IdentifierError> {
    let name = identifier::literal(&identifier::qualified(&table.schema, &table.name)?)?;
    let (oid, own) = (format!("'{}'::pg_catalog.oid", table.oid), table.version.own);
    let found = hashed(&format!("{shape_function}({oid})"), &oid, &table.version.types);
    Ok(format!(
        "pg_catalog.to_regclass({name}) OPERATOR(pg_catalog.=) {oid} \
         AND {found} OPERATOR(pg_catalog.=) '{own}'::pg_catalog.int8"
    ))
}

/// A query for the table that has this name now: its own version, and that of its tree.
///
/// # Errors
/// When the name can't be quoted.
fn whole_of(table: &Table) -> Result<String, IdentifierError> {
    let own = own(&table.version.types, table.version.is_plain);
    let named = named(&table.schema, &table.name)?;
    Ok(format!("SELECT {own}, {TREE} FROM pg_catalog.pg_class AS c WHERE {named}"))
}

/// Whether a shape is still the table's, as this session sees it now.
///
/// # Errors
/// When the catalogue can't be read.
pub async fn is_current(session: &Session, table: &Table) -> Result<bool, CatalogueError> {
    let query = whole_of(table)?;
    let rows = session.client().query_typed(&query, &[]).await;
    let rows = rows.map_err(CatalogueError::doing("comparing the table with the catalogue"))?;
    Ok(rows.first().is_some_and(|row| {
        let tree = row.get::<_, Option<i64>>(1).unwrap_or_default();
        row.get::<_, i64>(0) == table.version.own && tree == table.version.tree
    }))
}

/// Picks the row of `pg_class` that the name stands for.
fn named(schema: &str, name: &str) -> Result<String, IdentifierError> {
    let (schema, name) = (identifier::literal(schema)?, identifier::literal(name)?);
    Ok(format!(
        "c.relname OPERATOR(pg_catalog.=) {name}::pg_catalog.name AND c.relnamespace OPERATOR(pg_catalog.=) \
         (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname OPERATOR(pg_catalog.=) {schema}::pg_catalog.name)"
    ))
}

/// The number that stands for all of a table's own row versions. What a plain table has none of is left out:
/// NULL counts for nothing in it, and with the first of them the row of `pg_class` is another one.
fn own(types: &[u32], is_plain: bool) -> String {
    let parts = if is_plain { OWN.to_owned() } else { format!("{OWN}, {OF_RULES}") };
    hashed(&parts, "c.oid", types)
}

fn hashed(parts: &str, relation: &str, types: &[u32]) -> String {
    let mut parts = format!("{parts}, {}", SESSION.replace("{relation}", relation));
    if !types.is_empty() {
        let list = types.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let _ = write!(parts, "{}", OF_TYPES.replace("{types}", &format!("'{{{list}}}'::pg_catalog.oid[]")));
    }
    format!("pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', {parts}), 0)")
}

/// What the ledger's function `shape` gives for the table `c`: the parts that a plan depends on, as one text.
pub(in crate::postgres) fn parts() -> String {
    format!("pg_catalog.concat_ws(' ', {OWN}, {OF_RULES})")
}

/// Row versions of the table `c` itself.
const OWN: &str = "c.oid, c.xmin, \
     ARRAY(SELECT a.xmin FROM pg_catalog.pg_attribute AS a \
     WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 ORDER BY a.attnum), \
     ARRAY(SELECT i.xmin FROM pg_catalog.pg_index AS i \
     WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid ORDER BY i.indexrelid)";

/// Whether the table `c` has, or had once, triggers, rules or policies.
const RULED: &str = "c.relhastriggers OR c.relhasrules OR c.relrowsecurity";

/// Row versions of what few tables have.
const OF_RULES: &str = "CASE WHEN c.relhastriggers THEN ARRAY(SELECT t.xmin FROM pg_catalog.pg_trigger AS t \
     WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid ORDER BY t.tgname) END, \
     CASE WHEN c.relhasrules THEN ARRAY(SELECT r.xmin FROM pg_catalog.pg_rewrite AS r \
     WHERE r.ev_class OPERATOR(pg_catalog.=) c.oid ORDER BY r.rulename) END, \
     CASE WHEN c.relrowsecurity THEN ARRAY(SELECT p.xmin FROM pg_catalog.pg_policy AS p \
     WHERE p.polrelid OPERATOR(pg_catalog.=) c.oid ORDER BY p.polname) END";

/// What is the session's.
const SESSION: &str =
    "pg_catalog.row_security_active({relation}), pg_catalog.current_setting('session_replication_role')";

/// Row versions of types: their own, labels of enums, constraints of domains, fields of composites.
const OF_TYPES: &str = ", \
     ARRAY(SELECT y.xmin FROM pg_catalog.pg_type AS y \
     WHERE y.oid OPERATOR(pg_catalog.=) ANY ({types}) ORDER BY y.oid), \
     ARRAY(SELECT e.xmin FROM pg_catalog.pg_enum AS e \
     WHERE e.enumtypid OPERATOR(pg_catalog.=) ANY ({types}) ORDER BY e.oid), \
     ARRAY(SELECT k.xmin FROM pg_catalog.pg_constraint AS k \
     WHERE k.contypid OPERATOR(pg_catalog.=) ANY ({types}) ORDER BY k.oid), \
     ARRAY(SELECT a.xmin FROM pg_catalog.pg_type AS y JOIN pg_catalog.pg_attribute AS a \
     ON a.attrelid OPERATOR(pg_catalog.=) y.typrelid AND a.attnum OPERATOR(pg_catalog.>) 0 \
     WHERE y.oid OPERATOR(pg_catalog.=) ANY ({types}) AND y.typrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
     ORDER BY y.oid, a.attnum)";

/// Row versions of everything below the table `c`, as one number; NULL where nothing is.
const TREE: &str = "(WITH RECURSIVE tree AS (\
     SELECT n.inhrelid, n.xmin FROM pg_catalog.pg_inherits AS n WHERE n.inhparent OPERATOR(pg_catalog.=) c.oid \
     UNION ALL \
     SELECT n.inhrelid, n.xmin FROM tree JOIN pg_catalog.pg_inherits AS n \
     ON n.inhparent OPERATOR(pg_catalog.=) tree.inhrelid) \
     SELECT pg_catalog.bit_xor(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', p.oid, p.xmin, tree.xmin, \
     ARRAY(SELECT a.xmin FROM pg_catalog.pg_attribute AS a \
     WHERE a.attrelid OPERATOR(pg_catalog.=) p.oid AND a.attnum OPERATOR(pg_catalog.>) 0 ORDER BY a.attnum), \
     ARRAY(SELECT i.xmin FROM pg_catalog.pg_index AS i \
     WHERE i.indrelid OPERATOR(pg_catalog.=) p.oid ORDER BY i.indexrelid), \
     CASE WHEN p.relhastriggers THEN ARRAY(SELECT t.xmin FROM pg_catalog.pg_trigger AS t \
     WHERE t.tgrelid OPERATOR(pg_catalog.=) p.oid ORDER BY t.tgname) END, \
     CASE WHEN p.relhasrules THEN ARRAY(SELECT r.xmin FROM pg_catalog.pg_rewrite AS r \
     WHERE r.ev_class OPERATOR(pg_catalog.=) p.oid ORDER BY r.rulename) END), 0)) \
     FROM tree JOIN pg_catalog.pg_class AS p ON p.oid OPERATOR(pg_catalog.=) tree.inhrelid)";
