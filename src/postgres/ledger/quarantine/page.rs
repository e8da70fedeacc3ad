//! Open entries with their bytes, page after page.
//!
//! Each page begins behind the last record of the one before: it costs the same wherever it stands, and none
//! is bigger than what one transaction writes.

use std::sync::Arc;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::super::{Ledger, LedgerError};
use super::chosen::Conditions;
use super::{CONDITIONS, QuarantineFilter};
use crate::engine::position::{Generation, Offset};
use crate::engine::record::RecordBlock;
use crate::engine::resolution::Origin;
use crate::postgres::session::Session;

/// How much of an origin is read at once.
#[derive(Clone, Copy, Debug)]
pub struct PageLimits {
    /// Entries.
    pub rows: i64,
    /// Bytes of keys, values and headers; a single entry may have more.
    pub bytes: i64,
}

/// Open entries of one origin, in the order of their offsets.
#[derive(Debug)]
pub struct OpenPage {
    /// Their records.
    pub records: RecordBlock,
    /// Why each of them is here.
    pub codes: Vec<Arc<str>>,
    /// The places of those of which only the head is kept.
    pub truncated: Vec<usize>,
}

impl OpenPage {
    fn read(origin: &Origin, rows: &[Row]) -> Result<Self, Error> {
        let records = RecordBlock::new(origin.partition.clone(), Generation(0));
        let (codes, truncated) = (Vec::with_capacity(rows.len()), Vec::new());
        let mut page = Self { records, codes, truncated };
        for (place, row) in rows.iter().enumerate() {
            let (offset, at_ms) = (Offset::new(row.try_get(0)?), row.try_get(1)?);
            let (key, value): (Option<&[u8]>, Option<&[u8]>) = (row.try_get(2)?, row.try_get(3)?);
            let (names, values): (Vec<&[u8]>, Vec<Option<&[u8]>>) = (row.try_get(4)?, row.try_get(5)?);
            page.records.push(offset, at_ms, key, value, names.into_iter().zip(values));
            let code: &str = row.try_get(6)?;
            let last = page.codes.last().filter(|last| ***last == *code);
            page.codes.push(last.map_or_else(|| Arc::from(code), Arc::clone));
            if row.try_get(7)? {
                page.truncated.push(place);
            }
        }
        Ok(page)
    }
}

impl Ledger {
    /// The next chosen entries of an origin behind an offset; there are no more where none comes.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn quarantine_page(
        &self,
        session: &Session,
        pipeline: &str,
        filter: &QuarantineFilter,
        origin: &Origin,
        behind: Option<Offset>,
        limits: PageLimits,
    ) -> Result<OpenPage, LedgerError> {
        let sql = self.sql(PAGE).replace("{conditions}", CONDITIONS);
        let filter = QuarantineFilter {
            topic: Some(origin.partition.topic.to_string()),
            partition: Some(origin.partition.partition),
            ..filter.clone()
        };
        let conditions = Conditions::of(session, pipeline, &filter);
        let behind = behind.map_or(i64::MIN, Offset::value);
        let mut parameters = conditions.parameters();
        let (topic_id, backfill) = (origin.topic_id.0, &*origin.backfill);
        parameters.extend([
            (&topic_id as &(dyn ToSql + Sync), Type::UUID),
            (&origin.span, Type::INT8),
            (&backfill, Type::TEXT),
            (&behind, Type::INT8),
            (&limits.rows, Type::INT8),
            (&limits.bytes, Type::INT8),
        ]);
        let failed = LedgerError::doing("reading the quarantine");
        let rows = session.client().query_typed(&sql, &parameters).await.map_err(&failed)?;
        OpenPage::read(origin, &rows).map_err(&failed)
    }
}

/// An entry stands on the page if those before it have fewer bytes than the page may have. Lengths are told
/// without fetching values that are stored apart.
const PAGE: &str = "\
SELECT record_offset, CAST(EXTRACT(epoch FROM record_at) * 1000 AS bigint), record_key, record_value, \
       header_names, header_values, code, truncated \
FROM (\
    SELECT record_offset, record_at, record_key, record_value, header_names, header_values, code, truncated, \
           pg_catalog.sum(COALESCE(pg_catalog.octet_length(record_key), 0) \
                + COALESCE(pg_catalog.octet_length(record_value), 0) \
                + pg_catalog.pg_column_size(header_names) + pg_catalog.pg_column_size(header_values)) \
              OVER (ORDER BY record_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before \
    FROM {ledger}.quarantine \
    WHERE {conditions} AND topic_id = $10 AND span = $11 AND backfill = $12 AND record_offset > $13 \
    ORDER BY record_offset LIMIT $14) AS page \
WHERE COALESCE(before, 0) < $15 \
ORDER BY record_offset";
