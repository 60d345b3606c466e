//! Call records in the database.

use dialtone_roles::io::{CallEnd, CallRecord};
use rusqlite::{Transaction, params};

use crate::clock::Moment;

/// Adds a record. Its times are those of the clock of the machine as it is now.
pub(super) fn put(
    transaction: &Transaction<'_>,
    moment: &Moment,
    record: &CallRecord,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO calls (call_id, caller, callee, started_unix_ms, answered_unix_ms, ended_unix_ms, ended_by,
             status, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let unix_ms = |at| i64::try_from(moment.unix_ms_at(at)).unwrap_or(i64::MAX);
    let (ended_by, status) = match record.end {
        CallEnd::Caller => ("caller", None),
        CallEnd::Callee => ("callee", None),
        CallEnd::Cancelled => ("cancelled", None),
        CallEnd::Refused(status) => ("refused", Some(status.code())),
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
    ])?;
    Ok(())
}
