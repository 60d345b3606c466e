//! What users chose for the calls that come for them, in the database: a row for each service of a user that is not as
//! the settings file has it.

use std::time::Duration;

use dialtone_roles::services::{Change, Choice, Choices, ForwardKind};
use dialtone_wire::Status;
use rusqlite::{Connection, Transaction, params};
use smol_str::SmolStr;

/// The table, for the migration that makes it.
pub(super) const SCHEMA: &str = "
    CREATE TABLE services (
        aor TEXT NOT NULL,
        -- always, busy, no_answer, not_reachable, do_not_disturb or no_answer_after
        service TEXT NOT NULL,
        -- where to, which status, or how many milliseconds; NULL: off
        value TEXT,
        PRIMARY KEY (aor, service)
    ) STRICT, WITHOUT ROWID;
";

/// All that one user chose.
pub(crate) type OfUser = (SmolStr, Choices);

const DO_NOT_DISTURB: &str = "do_not_disturb";
const NO_ANSWER_AFTER: &str = "no_answer_after";

/// Puts what a user chose in place of what was there.
pub(super) fn put(transaction: &Transaction<'_>, aor: &str, choices: &Choices) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM services WHERE aor = ?1")?.execute([aor])?;
    let mut insert =
        transaction.prepare_cached("INSERT INTO services (aor, service, value) VALUES (?1, ?2, ?3)")?;
    let mut put = |service: &str, value: Option<&str>| insert.execute(params![aor, service, value]);
    for kind in ForwardKind::ALL {
        match choices.forward(kind) {
            Choice::AsConfigured => 0,
            Choice::Off => put(kind.word(), None)?,
            Choice::On(to) => put(kind.word(), Some(to))?,
        };
    }
    match choices.do_not_disturb {
        Choice::AsConfigured => 0,
        Choice::Off => put(DO_NOT_DISTURB, None)?,
        Choice::On(status) => put(DO_NOT_DISTURB, Some(&status.code().to_string()))?,
    };
    if let Some(after) = choices.no_answer_after {
        put(NO_ANSWER_AFTER, Some(&after.as_millis().to_string()))?;
    }
    Ok(())
}

/// All that users chose. A row that we could not have written is passed over.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Vec<OfUser>> {
    let mut statement =
        connection.prepare_cached("SELECT aor, service, value FROM services ORDER BY aor, service")?;
    let mut rows = statement.query([])?;
    let mut all: Vec<OfUser> = Vec::new();
    while let Some(row) = rows.next()? {
        let (aor, service) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        let Some(change) = change(service, row.get_ref(2)?.as_str_or_null()?) else { continue };
        if all.last().is_none_or(|(last, _)| last != aor) {
            all.push((SmolStr::new(aor), Choices::default()));
        }
        if let Some((_, choices)) = all.last_mut() {
            choices.apply(&change);
        }
    }
    Ok(all)
}

fn change(service: &str, value: Option<&str>) -> Option<Change> {
    if service == NO_ANSWER_AFTER {
        return Some(Change::NoAnswerAfter(Some(Duration::from_millis(value?.parse().ok()?))));
    }
    if service == DO_NOT_DISTURB {
        let Some(code) = value else { return Some(Change::DoNotDisturb(Choice::Off)) };
        let code: u16 = code.parse().ok().filter(|code| matches!(code, 480 | 486 | 603))?;
        return Some(Change::DoNotDisturb(Choice::On(Status::of(code))));
    }
    let kind = ForwardKind::ALL.into_iter().find(|kind| kind.word() == service)?;
    let choice = value.map_or(Choice::Off, |to| Choice::On(to.into()));
    Some(Change::Forward(kind, choice))
}
