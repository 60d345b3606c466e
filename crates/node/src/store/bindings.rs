//! Bindings in the database, and how long they still hold when they are read again.
//!
//! A deadline on the time line of one process means nothing to the next one. What is kept is the time that was left
//! when a binding was written, and when that was: by the clock of the machine, and by the time since the machine was
//! started, which nobody can set. After a restart of the program the latter tells exactly how much of it has passed.
//! After a restart of the machine only its clock can: it may have been set, so a binding never gets more time than
//! it had left when it was written, and a clock that was set back counts as if no time had passed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use dialtone_roles::{Binding, Details};
use dialtone_wire::net::{Flow, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use rusqlite::{Connection, Row, Transaction, named_params, params};
use smol_str::SmolStr;

use crate::clock::Moment;

/// The tables, for the migration that makes them.
pub(super) const SCHEMA: &str = "
    CREATE TABLE boots (id INTEGER PRIMARY KEY, boot TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE bindings (
        aor TEXT NOT NULL,
        -- bindings of one address-of-record in the order in which they were made
        position INTEGER NOT NULL,
        contact TEXT NOT NULL,
        q_milli INTEGER NOT NULL,
        call_id TEXT NOT NULL,
        cseq INTEGER NOT NULL,
        transport TEXT NOT NULL,
        local TEXT NOT NULL,
        remote TEXT NOT NULL,
        behind_nat INTEGER NOT NULL,
        -- what was left when it was written, and when that was
        left_ms INTEGER NOT NULL,
        written_unix_ms INTEGER NOT NULL,
        written_boot_ms INTEGER NOT NULL,
        boot INTEGER NOT NULL,
        PRIMARY KEY (aor, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE calls (
        id INTEGER PRIMARY KEY,
        call_id TEXT NOT NULL,
        caller TEXT NOT NULL,
        callee TEXT NOT NULL,
        started_unix_ms INTEGER NOT NULL,
        -- NULL: it was never answered
        answered_unix_ms INTEGER,
        ended_unix_ms INTEGER NOT NULL,
        -- caller, callee, cancelled, refused, stopped or unknown
        ended_by TEXT NOT NULL,
        -- the status of a call that was not answered
        status INTEGER,
        -- the Reason header of who ended it (RFC 3326)
        reason TEXT
    ) STRICT;
    CREATE INDEX calls_by_start ON calls (started_unix_ms);
";

/// What the migration to version 3 adds: what only some phones say of a contact.
pub(super) const DETAILS: &str = "
    ALTER TABLE bindings ADD COLUMN params TEXT NOT NULL DEFAULT '';
    -- Path values (RFC 3327), one a line
    ALTER TABLE bindings ADD COLUMN path TEXT NOT NULL DEFAULT '';
    -- the number of the flow (RFC 5626); 0: none
    ALTER TABLE bindings ADD COLUMN reg_id INTEGER NOT NULL DEFAULT 0;
    -- the series of temporary GRUUs (RFC 5627); 0: none
    ALTER TABLE bindings ADD COLUMN gruu INTEGER NOT NULL DEFAULT 0;
";

/// All bindings of one address-of-record.
pub(crate) type OfOne = (SmolStr, Vec<Binding>);

/// The number of this start of the machine.
pub(super) fn boot_number(connection: &Connection, moment: &Moment) -> rusqlite::Result<i64> {
    connection.execute("INSERT OR IGNORE INTO boots (boot) VALUES (?1)", [moment.boot.as_str()])?;
    connection.query_row("SELECT id FROM boots WHERE boot = ?1", [moment.boot.as_str()], |row| row.get(0))
}

/// Puts bindings in place of those that an address-of-record had.
pub(super) fn put(
    transaction: &Transaction<'_>,
    moment: &Moment,
    boot: i64,
    aor: &str,
    bindings: &[Binding],
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO bindings (aor, position, contact, q_milli, call_id, cseq, transport, local, remote,
             behind_nat, left_ms, written_unix_ms, written_boot_ms, boot, params, path, reg_id, gruu)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?;
    for (position, binding) in bindings.iter().enumerate() {
        insert.execute(params![
            aor,
            number(position as u128),
            binding.contact.as_str(),
            binding.q_milli,
            binding.call_id.as_str(),
            binding.cseq,
            binding.flow.transport.token(),
            binding.flow.local.to_string(),
            binding.flow.remote.to_string(),
            binding.behind_nat,
            number(binding.expires_at.since(moment.now).as_millis()),
            number(moment.unix_ms.into()),
            number(moment.boot_ms.into()),
            boot,
            binding.params(),
            binding.path().join("\n"),
            binding.reg_id().map_or(0, NonZeroU32::get),
            // SQLite has signed numbers only.
            binding.details.as_ref().map_or(0, |details| details.gruu.cast_signed()),
        ])?;
    }
    let mut delete = transaction.prepare_cached("DELETE FROM bindings WHERE aor = ?1 AND position >= ?2")?;
    delete.execute(params![aor, number(bindings.len() as u128)])?;
    Ok(())
}

/// All bindings that hold now. Those that are over are removed; those of an earlier start of the machine are written
/// anew, so that their time goes on from here whatever is done to the clock.
pub(super) fn load(connection: &mut Connection, moment: &Moment) -> rusqlite::Result<Vec<OfOne>> {
    let transaction = connection.transaction()?;
    let boot = boot_number(&transaction, moment)?;
    let (unix_ms, boot_ms) = (number(moment.unix_ms.into()), number(moment.boot_ms.into()));
    // A container may start anew, and count from zero, without a start of the machine.
    transaction.execute(
        "UPDATE bindings
         SET left_ms = left_ms - max(0, :unix_ms - written_unix_ms),
             written_unix_ms = :unix_ms, written_boot_ms = :boot_ms, boot = :boot
         WHERE boot <> :boot OR written_boot_ms > :boot_ms",
        named_params! { ":unix_ms": unix_ms, ":boot_ms": boot_ms, ":boot": boot },
    )?;
    let over = "DELETE FROM bindings WHERE left_ms <= ?1 - written_boot_ms";
    transaction.execute(over, [boot_ms])?;
    transaction.execute("DELETE FROM boots WHERE id <> ?1", [boot])?;
    let found = read(&transaction, moment)?;
    transaction.commit()?;
    Ok(found)
}

fn read(connection: &Connection, moment: &Moment) -> rusqlite::Result<Vec<OfOne>> {
    let mut all: Vec<OfOne> = Vec::new();
    let mut statement = connection.prepare_cached(
        "SELECT aor, contact, q_milli, call_id, cseq, transport, local, remote, behind_nat,
                left_ms - (?1 - written_boot_ms), params, path, reg_id, gruu
         FROM bindings ORDER BY aor, position",
    )?;
    let mut rows = statement.query([number(moment.boot_ms.into())])?;
    while let Some(row) = rows.next()? {
        // A row that we could not have written is passed over: the phone will register again.
        let Some(binding) = binding(row, moment.now)? else { continue };
        let aor = row.get_ref(0)?.as_str()?;
        match all.last_mut().filter(|(last, _)| last == aor) {
            Some((_, bindings)) => bindings.push(binding),
            None => all.push((SmolStr::new(aor), vec![binding])),
        }
    }
    Ok(all)
}

fn binding(row: &Row<'_>, now: Instant) -> rusqlite::Result<Option<Binding>> {
    let text = |index| Ok::<_, rusqlite::Error>(row.get_ref(index)?.as_str()?);
    let contact = UriBuf::parse(text(1)?).ok();
    let transport = Transport::from_token(text(5)?.as_bytes());
    let (local, remote) = (text(6)?.parse().ok(), text(7)?.parse().ok());
    let left = Duration::from_millis(u64::try_from(row.get::<_, i64>(9)?).unwrap_or(0));
    let (Some(contact), Some(transport), Some(local), Some(remote)) = (contact, transport, local, remote)
    else {
        return Ok(None);
    };
    let details = Details {
        params: SmolStr::new(text(10)?),
        path: text(11)?.lines().map(SmolStr::new).collect(),
        reg_id: NonZeroU32::new(row.get(12)?),
        gruu: row.get::<_, i64>(13)?.cast_unsigned(),
    };
    Ok(Some(Binding {
        contact,
        q_milli: row.get(2)?,
        expires_at: now + left,
        call_id: SmolStr::new(text(3)?),
        cseq: row.get(4)?,
        flow: Flow { transport, local, remote, connection: None },
        behind_nat: row.get(8)?,
        details: (details != Details::default()).then(|| Arc::new(details)),
    }))
}

fn number(value: u128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
