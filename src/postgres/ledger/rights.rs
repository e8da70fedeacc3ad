//! What the role lacks to keep the ledger.

use tokio_postgres::types::Type;

use super::{Ledger, LedgerError};
use crate::postgres::identifier;
use crate::postgres::session::Session;

/// What a running process needs of the ledger's tables, as `tidegate_writer` is granted it; a test compares.
const TABLES: [(&str, &[&str]); 11] = [
    ("version", &["SELECT"]),
    ("pipelines", &["SELECT", "INSERT", "UPDATE"]),
    ("decisions", &["SELECT", "INSERT"]),
    ("spans", &["SELECT", "INSERT"]),
    ("progress", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("quarantine", &["SELECT", "INSERT", "UPDATE"]),
    ("pauses", &["SELECT", "INSERT", "DELETE"]),
    ("skips", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    (RETRIED, &["SELECT", "INSERT"]),
    ("rule_failures", &["SELECT", "INSERT", "UPDATE"]),
    (PROCESSES, &["SELECT", "INSERT", "UPDATE", "DELETE"]),
];

/// The tables without which records are applied all the same.
const PROCESSES: &str = "processes";
const RETRIED: &str = "retried";

const LACKING: &str = "SELECT wanted.name, wanted.privilege \
     FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) WITH ORDINALITY \
     AS wanted(name, privilege, place) \
     JOIN pg_catalog.pg_class AS relation ON relation.relname = wanted.name \
     JOIN pg_catalog.pg_namespace AS home ON home.oid = relation.relnamespace AND home.nspname = $1 \
     WHERE NOT pg_catalog.has_table_privilege(relation.oid, wanted.privilege) \
     ORDER BY wanted.place";

const SCHEMA: &str = "SELECT (SELECT pg_catalog.has_schema_privilege(oid, 'USAGE') \
     FROM pg_catalog.pg_namespace WHERE nspname = $1), \
     pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), \
     EXISTS (SELECT FROM pg_catalog.pg_roles AS writer, pg_catalog.pg_namespace AS home \
     WHERE writer.rolname = 'tidegate_writer' AND home.nspname = $1 \
     AND pg_catalog.has_schema_privilege(writer.oid, home.oid, 'USAGE') \
     AND NOT pg_catalog.pg_has_role(writer.oid, 'MEMBER'))";

/// What the session's role may do with the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LedgerRights {
    /// There is no such schema, and whether the role may create it.
    Absent {
        /// CREATE on the database.
        may_create: bool,
    },
    /// Rights that are missing; empty where all is well.
    Lacking(Vec<MissingRight>),
}

/// A right that the role lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MissingRight {
    /// The right, in words.
    pub right: String,
    /// The statement that grants it.
    pub grant: String,
    /// Whether no record is applied without it.
    pub is_vital: bool,
}

impl Ledger {
    /// What the session's role may do with the ledger, as the catalogue says: no right is needed to ask.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn rights(&self, session: &Session) -> Result<LedgerRights, LedgerError> {
        let failed = LedgerError::doing("reading the rights on the ledger");
        let client = session.client();
        let schema = &[(&self.schema() as &(dyn tokio_postgres::types::ToSql + Sync), Type::NAME)];
        let row = client.query_typed_one(SCHEMA, schema).await.map_err(&failed)?;
        let Some(usage) = row.get::<_, Option<bool>>(0) else {
            return Ok(LedgerRights::Absent { may_create: row.get(1) });
        };
        let role = identifier::quote(session.role()).expect("a role's name from the server holds no NUL");
        let mut lacking = Vec::new();
        if !usage && row.get(2) {
            // One grant, where a list of all that the role brings would hide what is to be done.
            let right = format!("USAGE on the schema {}, and the rights on its tables", self.schema());
            let grant = format!("GRANT tidegate_writer TO {role}");
            return Ok(LedgerRights::Lacking(vec![MissingRight { right, grant, is_vital: true }]));
        }
        if !usage {
            let grant = self.sql(&format!("GRANT USAGE ON SCHEMA {{ledger}} TO {role}"));
            let right = format!("USAGE on the schema {}", self.schema());
            lacking.push(MissingRight { right, grant, is_vital: true });
        }
        let pairs = || TABLES.iter().flat_map(|(name, rights)| rights.iter().map(|right| (*name, *right)));
        let (names, rights): (Vec<&str>, Vec<&str>) = pairs().unzip();
        let wanted: [super::Parameter<'_>; 3] =
            [(&self.schema(), Type::NAME), (&names, Type::TEXT_ARRAY), (&rights, Type::TEXT_ARRAY)];
        for row in client.query_typed(LACKING, &wanted).await.map_err(&failed)? {
            let (name, right): (&str, &str) = (row.get(0), row.get(1));
            let grant = self.sql(&format!("GRANT {right} ON {{ledger}}.{name} TO {role}"));
            let right = format!("{right} on {}.{name}", self.schema());
            lacking.push(MissingRight { right, grant, is_vital: ![PROCESSES, RETRIED].contains(&name) });
        }
        Ok(LedgerRights::Lacking(lacking))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::schema::ROLES;
    use super::*;

    #[test]
    fn a_process_needs_what_the_role_for_it_is_granted() {
        let roles = ROLES.replace('\n', " ");
        let mut granted = BTreeSet::new();
        for statement in roles.split(';').filter_map(|text| text.split("GRANT ").nth(1)) {
            let Some((rights, rest)) = statement.split_once(" ON ") else { continue };
            let Some((tables, roles)) = rest.split_once(" TO ") else { continue };
            let tables = tables.split(',').filter_map(|table| table.trim().strip_prefix("{ledger}."));
            if roles.contains("tidegate_writer") {
                granted.extend(tables.flat_map(|table| rights.split(", ").map(move |right| (table, right))));
            }
        }
        // Views are for people.
        granted.retain(|(name, _)| !["lag", "outcomes", "duplicates", "open_quarantine"].contains(name));
        let needed: BTreeSet<_> =
            TABLES.iter().flat_map(|(name, rights)| rights.iter().map(|right| (*name, *right))).collect();
        assert_eq!(needed, granted);
    }
}
