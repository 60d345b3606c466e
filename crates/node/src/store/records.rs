//! Call records in the database.

use dialtone_roles::io::{CallEnd, CallRecord};
use rusqlite::{Connection, Transaction, params};

use crate::clock::Moment;

/// Records that are deleted in one transaction at most: registrations wait for it.
const DELETED_MAX: usize = 10_000;

/// What the migration to version 5 adds: the names that the two showed.
pub(super) const NAMES: &str = "
    ALTER TABLE calls ADD COLUMN caller_name TEXT;
    ALTER TABLE calls ADD COLUMN callee_name TEXT;
";

/// A call that has ended, as it was recorded. Times are milliseconds of Unix time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCall {
    /// Rises from record to record.
    pub id: i64,
    /// Its Call-ID.
    pub call_id: String,
    /// The URI of From.
    pub caller: String,
    /// The display name of From.
    pub caller_name: Option<String>,
    /// The URI of To.
    pub callee: String,
    /// The display name of To.
    pub callee_name: Option<String>,
    /// When the INVITE came.
    pub started_unix_ms: i64,
    /// When it was answered, if it was.
    pub answered_unix_ms: Option<i64>,
    /// When it was over.
    pub ended_unix_ms: i64,
    /// The word for how it ended.
    pub ended_by: String,
    /// The status of a call that was refused.
    pub status: Option<u16>,
    /// The Reason header of who ended it.
    pub reason: Option<String>,
}

/// The `limit` records before this one, the last one first.
pub(super) fn page(
    connection: &Connection,
    before: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Vec<StoredCall>> {
    let mut select = connection.prepare_cached(
        "SELECT id, call_id, caller, callee, started_unix_ms, answered_unix_ms, ended_unix_ms, ended_by, status,
             reason, caller_name, callee_name
         FROM calls WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = select.query_map(params![before.unwrap_or(i64::MAX), limit], |row| {
        Ok(StoredCall {
            id: row.get(0)?,
            call_id: row.get(1)?,
            caller: row.get(2)?,
            callee: row.get(3)?,
            started_unix_ms: row.get(4)?,
            answered_unix_ms: row.get(5)?,
            ended_unix_ms: row.get(6)?,
            ended_by: row.get(7)?,
            status: row.get(8)?,
            reason: row.get(9)?,
            caller_name: row.get(10)?,
            callee_name: row.get(11)?,
        })
    })?;
    rows.collect()
}

/// Deletes records of calls that began before this time, the oldest first. True when there may be more.
pub(super) fn delete(connection: &Connection, started_before_unix_ms: u64) -> rusqlite::Result<bool> {
    let before = i64::try_from(started_before_unix_ms).unwrap_or(i64::MAX);
    let deleted = connection.execute(
        "DELETE FROM calls WHERE id IN
             (SELECT id FROM calls WHERE started_unix_ms < ?1 ORDER BY started_unix_ms LIMIT ?2)",
        params![before, i64::try_from(DELETED_MAX).unwrap_or(i64::MAX)],
    )?;
    Ok(deleted == DELETED_MAX)
}

/// Adds a record. Its times are those of the clock of the machine as it is now.
pub(super) fn put(
    transaction: &Transaction<'_>,
    moment: &Moment,
    record: &CallRecord,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO calls (call_id, caller, callee, started_unix_ms, answered_unix_ms, ended_unix_ms, ended_by,
             status, reason, caller_name, callee_name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    let unix_ms = |at| i64::try_from(moment.unix_ms_at(at)).unwrap_or(i64::MAX);
    let (ended_by, status) = match record.end {
        CallEnd::Caller => ("caller", None),
        CallEnd::Callee => ("callee", None),
        CallEnd::Cancelled => ("cancelled", None),
        CallEnd::Refused(status) => ("refused", Some(status.code())),
        CallEnd::RanOut => ("ran out", None),
        CallEnd::Stopped => ("stopped", None),
        // Ends that are not known here, and that of a call which nobody saw end.
        _ => ("unknown", None),
    };
    insert.execute(params![
        record.call_id.as_str(),
        record.caller.as_str(),
        record.callee.as_str(),
        unix_ms(record.started),
        record.answered.map(unix_ms),
        unix_ms(record.ended),
        ended_by,
        status,
        record.reason.as_deref(),
        record.caller_name.as_deref(),
        record.callee_name.as_deref(),
    ])?;
    Ok(())
}
