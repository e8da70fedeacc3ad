//! The SQL text of writing rows, made once for each table and column set.
//!
//! Every name is quoted by [`identifier`] and qualified; every function and operator names its schema,
//! since the role's own `search_path` holds in the session. Keys are compared by the operators of the
//! unique index, which need not be those of `pg_catalog` (`citext`, …).

use std::fmt::Write as _;

use crate::engine::shape::{ColumnSet, Table};
use crate::postgres::identifier::{self, IdentifierError};

/// Column sets whose statements a session keeps; beyond that it starts afresh, since records can bring
/// any number of combinations.
pub(super) const SETS_MAX: usize = 256;

/// Picks rows of a stage: first and last ord, and the ords themselves where they leave some out between.
/// The bounds also keep the planner from expecting most of the stage, and so from joining it with a scan
/// of the whole target.
const OF_ORDS: &str = "s.ord OPERATOR(pg_catalog.>=) $1 AND s.ord OPERATOR(pg_catalog.<=) $2 \
     AND ($3::pg_catalog.int4[] IS NULL OR s.ord OPERATOR(pg_catalog.=) ANY ($3::pg_catalog.int4[]))";

/// The names with which a table's statements are made.
#[derive(Clone, Debug)]
pub(super) struct TableNames {
    /// The target, qualified.
    pub(super) target: String,
    /// Its columns, quoted, by place.
    pub(super) columns: Vec<String>,
    /// Its stage, qualified.
    pub(super) stage: String,
    /// Places of the key columns, each with its index's equality as `OPERATOR(schema.=)`.
    key: Vec<(usize, String)>,
}

/// The statements for rows of one column set.
#[derive(Debug)]
pub(super) struct SetSql {
    /// Into the target, binary.
    pub(super) copy_binary: String,
    /// Into the target, text.
    pub(super) copy_text: String,
    /// Into the stage, binary.
    pub(super) stage_binary: String,
    /// Into the stage, text.
    pub(super) stage_text: String,
    /// Ords → those whose key doesn't exist, and those whose row differs; the others are equal already.
    pub(super) compare: String,
    /// Ords → those whose row exists and differs, locked against updates in the order of ord.
    pub(super) lock_different: String,
    /// Ords → those whose row was updated; only rows that differ are.
    pub(super) update: String,
    /// Ords → inserts these rows.
    pub(super) insert: String,
}

/// The statements that only look at the key.
#[derive(Debug)]
pub(super) struct KeySql {
    /// First ord → whether two rows of the stage from there on have equal keys.
    pub(super) collides: String,
    /// Ords → those whose row exists, locked against everything in the order of ord.
    pub(super) lock: String,
    /// Ords → those whose row was deleted.
    pub(super) delete: String,
    /// One array for each key column → the places of those that exist, counted from 1.
    pub(super) probe: String,
    /// The same → place, version and key of each row that exists.
    pub(super) versions: VersionSql,
    /// The same, of arrays of text.
    pub(super) versions_of_text: VersionSql,
}

/// The statements that tell which version of a row stands under a key.
#[derive(Debug)]
pub(super) struct VersionSql {
    /// As it is.
    pub(super) look: String,
    /// The same, with the rows locked.
    pub(super) lock: String,
}

impl TableNames {
    /// Quotes all names of a table. `key` are places with the schema and name of their equality operator.
    ///
    /// # Errors
    /// When a name can't be quoted.
    pub(super) fn new(
        table: &Table,
        stage: &str,
        key: &[(usize, String, String)],
    ) -> Result<Self, IdentifierError> {
        Ok(Self {
            target: identifier::qualified(&table.schema, &table.name)?,
            columns: table
                .columns
                .iter()
                .map(|column| identifier::quote(&column.name))
                .collect::<Result<_, _>>()?,
            stage: identifier::qualified("pg_temp", stage)?,
            key: key
                .iter()
                .map(|(place, schema, operator)| {
                    Ok((*place, format!("OPERATOR({}.{operator})", identifier::quote(schema)?)))
                })
                .collect::<Result<_, IdentifierError>>()?,
        })
    }

    /// Makes the stage: the target's types, modifiers and collations, and none of its rules.
    pub(super) fn create_stage(&self, table: &Table) -> String {
        let mut columns = String::new();
        for (place, column) in table.columns.iter().enumerate().filter(|(_, column)| !column.generated) {
            let _ = (column, write!(columns, ", t.{} AS c{place}", self.columns[place]));
        }
        format!(
            "CREATE TEMPORARY TABLE {} ON COMMIT DELETE ROWS AS \
             SELECT NULL::pg_catalog.int4 AS ord{columns} FROM {} AS t WITH NO DATA",
            self.stage, self.target
        )
    }

    /// Drops the stage.
    pub(super) fn drop_stage(&self) -> String {
        format!("DROP TABLE IF EXISTS {}", self.stage)
    }

    /// `t.key = s.key` for all key columns, by the index's operators.
    pub(super) fn same_key(&self, left: &str, right: &str, left_is_target: bool) -> String {
        let terms: Vec<String> = self
            .key
            .iter()
            .map(|(place, operator)| {
                let column = if left_is_target {
                    format!("{left}.{}", self.columns[*place])
                } else {
                    format!("{left}.c{place}")
                };
                format!("{column} {operator} {right}.c{place}")
            })
            .collect();
        terms.join(" AND ")
    }

    /// The places of the key's columns.
    pub(super) fn key_places(&self) -> impl Iterator<Item = usize> + '_ {
        self.key.iter().map(|(place, _)| *place)
    }

    /// The columns of a set that are no part of the key.
    fn data(&self, set: &ColumnSet) -> Vec<usize> {
        set.iter().filter(|place| self.key.iter().all(|(key, _)| key != place)).collect()
    }

    /// Whether the rows `t` of the target and `s` are equal in all columns of the set.
    pub(super) fn same_row(&self, set: &ColumnSet) -> String {
        let data = self.data(set);
        if data.is_empty() {
            return "true".to_owned();
        }
        // The casts keep the parser from comparing column by column.
        format!(
            "(ROW({})::pg_catalog.record OPERATOR(pg_catalog.*=) ROW({})::pg_catalog.record)",
            list(&data, |place| format!("t.{}", self.columns[place])),
            list(&data, |place| format!("s.c{place}"))
        )
    }

    /// Sets all columns of the set but the key's to those of `s`.
    pub(super) fn assignments(&self, set: &ColumnSet) -> String {
        list(&self.data(set), |place| format!("{} = s.c{place}", self.columns[place]))
    }

    /// The statements of one column set.
    pub(super) fn for_set(&self, set: &ColumnSet) -> SetSql {
        let places: Vec<usize> = set.iter().collect();
        let names = list(&places, |place| self.columns[place].clone());
        let staged: String =
            places.iter().fold(String::from("ord"), |list, place| format!("{list}, c{place}"));
        let values = list(&places, |place| format!("s.c{place}"));
        let (same, assignments) = (self.same_row(set), self.assignments(set));
        let (target, stage) = (&self.target, &self.stage);
        let same_key = self.same_key("t", "s", true);
        let into = if places.is_empty() { String::new() } else { format!(" ({names})") };
        SetSql {
            copy_binary: format!("COPY {target} ({names}) FROM STDIN (FORMAT binary)"),
            copy_text: format!("COPY {target} ({names}) FROM STDIN (FORMAT text)"),
            stage_binary: format!("COPY {stage} ({staged}) FROM STDIN (FORMAT binary)"),
            stage_text: format!("COPY {stage} ({staged}) FROM STDIN (FORMAT text)"),
            compare: format!(
                "SELECT pg_catalog.array_agg(s.ord) FILTER (WHERE x.same IS NULL), \
                 pg_catalog.array_agg(s.ord) FILTER (WHERE NOT x.same) \
                 FROM {stage} AS s LEFT JOIN LATERAL \
                 (SELECT {same} AS same FROM {target} AS t WHERE {same_key} OFFSET 0) AS x ON true \
                 WHERE {OF_ORDS}"
            ),
            lock_different: format!(
                "SELECT pg_catalog.array_agg(x.ord) FROM (SELECT s.ord FROM {stage} AS s \
                 JOIN {target} AS t ON {same_key} WHERE {OF_ORDS} AND NOT {same} \
                 ORDER BY s.ord FOR NO KEY UPDATE OF t) AS x"
            ),
            update: format!(
                "WITH done AS (UPDATE {target} AS t SET {assignments} FROM {stage} AS s \
                 WHERE {same_key} AND {OF_ORDS} AND NOT {same} RETURNING s.ord) \
                 SELECT pg_catalog.array_agg(done.ord) FROM done"
            ),
            insert: format!(
                "INSERT INTO {target}{into} SELECT {values} FROM {stage} AS s WHERE {OF_ORDS} ORDER BY s.ord"
            ),
        }
    }

    /// The statements that only look at the key.
    pub(super) fn for_key(&self, array_types: &[String]) -> KeySql {
        let (target, stage) = (&self.target, &self.stage);
        let same_key = self.same_key("t", "s", true);
        let twins = self.same_key("a", "b", false);
        let arrays = (1..=self.key.len())
            .map(|number| format!("pg_catalog.unnest(${number}::{})", array_types[number - 1]))
            .collect::<Vec<_>>()
            .join(", ");
        let texts = (1..=self.key.len())
            .map(|number| {
                format!("pg_catalog.unnest(${number}::pg_catalog.text[]::{})", array_types[number - 1])
            })
            .collect::<Vec<_>>()
            .join(", ");
        let probed: Vec<usize> = self.key.iter().map(|(place, _)| *place).collect();
        let aliases = list(&probed, |place| format!("c{place}"));
        let own_key = list(&probed, |place| format!("t.{}", self.columns[place]));
        // The laterals keep the planner from joining with a scan of the whole target.
        let version = |arrays: &str, tail: &str| {
            format!(
                "SELECT s.place::pg_catalog.int4, t.tableoid, t.ctid, t.xmin, {own_key} \
                 FROM ROWS FROM ({arrays}) WITH ORDINALITY AS s({aliases}, place) CROSS JOIN LATERAL \
                 (SELECT t.tableoid, t.ctid, t.xmin, {own_key} FROM {target} AS t WHERE {same_key} {tail}) AS t"
            )
        };
        let versions = |arrays: &str| VersionSql {
            look: version(arrays, "OFFSET 0"),
            lock: version(arrays, "FOR UPDATE OF t"),
        };
        KeySql {
            versions: versions(&arrays),
            versions_of_text: versions(&texts),
            // Counted rather than asked with EXISTS, which would be planned for its first row: a nested loop.
            collides: format!(
                "SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 FROM {stage} AS a JOIN {stage} AS b \
                 ON {twins} AND a.ord OPERATOR(pg_catalog.<) b.ord \
                 WHERE a.ord OPERATOR(pg_catalog.>=) $1 AND b.ord OPERATOR(pg_catalog.>=) $1"
            ),
            lock: format!(
                "SELECT pg_catalog.array_agg(x.ord) FROM (SELECT s.ord FROM {stage} AS s \
                 JOIN {target} AS t ON {same_key} WHERE {OF_ORDS} ORDER BY s.ord FOR UPDATE OF t) AS x"
            ),
            delete: format!(
                "WITH done AS (DELETE FROM {target} AS t USING {stage} AS s \
                 WHERE {same_key} AND {OF_ORDS} RETURNING s.ord) \
                 SELECT pg_catalog.array_agg(done.ord) FROM done"
            ),
            probe: format!(
                "SELECT pg_catalog.array_agg(s.place::pg_catalog.int4) \
                 FROM ROWS FROM ({arrays}) WITH ORDINALITY AS s({aliases}, place) CROSS JOIN LATERAL \
                 (SELECT 1 FROM {target} AS t WHERE {same_key} OFFSET 0) AS t"
            ),
        }
    }
}

/// Renders places, separated by commas.
pub(super) fn list(places: &[usize], render: impl Fn(usize) -> String) -> String {
    places.iter().map(|&place| render(place)).collect::<Vec<_>>().join(", ")
}
