use std::path::Path;

use dialtone_roles::settings::Secret;
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use rusqlite::params;

use super::*;
use crate::store::Store as _;
use crate::store::{DATABASE_NAME, Folder, SqliteStore};

const HOUR_MS: u64 = 3_600_000;

fn open(path: &Path) -> (SqliteStore, JournalStore) {
    let store = SqliteStore::open(Folder::take(path).expect("a folder")).expect("a store");
    let journal = store.journal().expect("a connection");
    (store, journal)
}

/// A moment of a process that has run for ten seconds.
fn moment(boot: &str, unix_ms: u64, boot_ms: u64) -> Moment {
    Moment { now: Instant::from_millis(10_000), unix_ms, boot: boot.into(), boot_ms }
}

fn binding(contact: &str, left_ms: u64) -> Binding {
    Binding {
        contact: UriBuf::parse(contact).expect("a URI"),
        q_milli: 700,
        expires_at: Instant::from_millis(10_000 + left_ms),
        call_id: "call".into(),
        cseq: 7,
        flow: Flow::udp(
            "192.0.2.1:5060".parse().expect("an address"),
            "192.0.2.9:5070".parse().expect("an address"),
        ),
        behind_nat: true,
        details: None,
    }
}

fn word(aor: &str, bindings: &[Binding]) -> JournalWord {
    JournalWord::Bindings { shard: 0, id: QueryId(1), aor: aor.into(), bindings: bindings.into() }
}

/// Milliseconds that are left of the binding of alice, read by another process at `later`.
fn left_at(later: &Moment, written: &Moment, left_ms: u64) -> Option<u64> {
    let folder = tempfile::tempdir().expect("a folder");
    let (_store, mut journal) = open(folder.path());
    journal.write(written, &[word("sip:alice@a.test", &[binding("sip:a@b", left_ms)])]).expect("written");
    let found = journal.load(later).expect("read");
    let again = journal.load(later).expect("read again");
    assert_eq!(found, again, "reading changes nothing");
    found.first().map(|(_, bindings)| bindings[0].expires_at.since(later.now).as_millis() as u64)
}

#[test]
fn bindings_come_back_as_they_were_and_what_is_put_later_wins() {
    let folder = tempfile::tempdir().expect("a folder");
    let now = moment("b", 1_000_000, 50_000);
    let (a, b, c) =
        (binding("sip:a@x", 60_000), binding("sips:b@[::1]:7", 70_000), binding("sip:c@x", 80_000));
    let (store, mut journal) = open(folder.path());
    let words = [
        word("sip:alice@a.test", &[a.clone(), b.clone(), c.clone()]),
        word("sip:bob@a.test", std::slice::from_ref(&a)),
        word("sip:carol@a.test", std::slice::from_ref(&a)),
    ];
    journal.write(&now, &words).expect("written");
    let words = [word("sip:alice@a.test", &[c.clone(), b.clone()]), word("sip:bob@a.test", &[])];
    journal.write(&now, &words).expect("written");
    drop((store, journal));
    let (_store, mut journal) = open(folder.path());
    let expected = vec![(SmolStr::new("sip:alice@a.test"), vec![c, b]), ("sip:carol@a.test".into(), vec![a])];
    assert_eq!(journal.load(&now).expect("read"), expected);
}

#[test]
fn while_the_machine_runs_no_setting_of_its_clock_changes_what_is_left() {
    let written = moment("b", 1_000 * HOUR_MS, 500_000);
    for unix_ms in [1_000 * HOUR_MS + 30_000, 999 * HOUR_MS, 1_001 * HOUR_MS, 0, u64::MAX] {
        let later = |passed: u64| moment("b", unix_ms, 500_000 + passed);
        assert_eq!(left_at(&later(30_000), &written, 90_000), Some(60_000));
        assert_eq!(left_at(&later(89_999), &written, 90_000), Some(1));
        assert_eq!(left_at(&later(90_000), &written, 90_000), None);
    }
}

#[test]
fn after_a_start_of_the_machine_its_clock_counts_and_gives_nobody_more_than_was_left() {
    let written = moment("b", 1_000 * HOUR_MS, 500_000);
    let later = |unix_ms| moment("c", unix_ms, 20_000);
    assert_eq!(left_at(&later(1_000 * HOUR_MS + 30_000), &written, 90_000), Some(60_000));
    assert_eq!(left_at(&later(1_000 * HOUR_MS + 90_000), &written, 90_000), None);
    assert_eq!(left_at(&later(999 * HOUR_MS), &written, 90_000), Some(90_000), "neither lost nor longer");
    assert_eq!(left_at(&later(0), &written, 90_000), Some(90_000));
    // A container counts its time from zero without a start of the machine.
    assert_eq!(left_at(&moment("b", 1_000 * HOUR_MS + 30_000, 9), &written, 90_000), Some(60_000));
}

#[test]
fn after_a_clock_was_set_back_time_goes_on_from_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_store, mut journal) = open(folder.path());
    let written = moment("b", 1_000 * HOUR_MS, 500_000);
    journal.write(&written, &[word("sip:alice@a.test", &[binding("sip:a@b", 90_000)])]).expect("written");
    // The machine has started with its clock at 1970, which is put right later.
    for (unix_ms, boot_ms, left_ms) in
        [(0, 20_000, Some(90_000)), (60_000, 80_000, Some(30_000)), (1_000 * HOUR_MS, 110_000, None)]
    {
        let now = moment("c", unix_ms, boot_ms);
        let found = journal.load(&now).expect("read");
        let left = found.first().map(|(_, all)| all[0].expires_at.since(now.now).as_millis());
        assert_eq!(left, left_ms);
    }
}

#[test]
fn what_a_phone_says_of_its_contact_comes_back_and_data_without_it_is_brought_forward() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(DATABASE_NAME);
    let old = Connection::open(&path).expect("a database");
    old.execute_batch(crate::store::sqlite::VERSION_1).expect("the tables of version 1");
    old.execute_batch(bindings::SCHEMA).expect("the tables of version 2");
    old.execute_batch(
        "CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;
         INSERT INTO schema_version (version) VALUES (2);
         PRAGMA application_id = 0x4449414c;
         INSERT INTO boots VALUES (1, 'b');
         INSERT INTO bindings VALUES ('sip:alice@a.test', 0, 'sip:a@b', 700, 'call', 7, 'UDP', '192.0.2.1:5060',
             '192.0.2.9:5070', 1, 90000, 1000000, 50000, 1);",
    )
    .expect("a binding of version 2");
    drop(old);
    let (_store, mut journal) = open(folder.path());
    let now = moment("b", 1_000_000, 50_000);
    let plain = binding("sip:a@b", 90_000);
    let found = journal.load(&now).expect("read");
    assert_eq!(found, [(SmolStr::new("sip:alice@a.test"), vec![plain.clone()])]);
    let details = dialtone_roles::Details {
        params: ";+sip.instance=\"<urn:uuid:1>\";reg-id=2;audio".into(),
        path: ["<sip:one;lr>".into(), "<sip:two;lr;ob>".into()].into(),
        reg_id: std::num::NonZeroU32::new(2),
        gruu: u64::MAX - 5,
    };
    let detailed = Binding { details: Some(Arc::new(details)), ..plain.clone() };
    journal.write(&now, &[word("sip:alice@a.test", &[plain.clone(), detailed.clone()])]).expect("written");
    assert_eq!(journal.load(&now).expect("read")[0].1, [plain, detailed]);
}

#[test]
fn the_bindings_of_a_user_go_with_him() {
    use crate::store::Store as _;
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, mut journal) = open(folder.path());
    let now = moment("b", 1_000_000, 50_000);
    let one = [binding("sip:a@b", 90_000)];
    let words =
        [word("sip:alice@a.test", &one), word("sip:alice@b.test", &one), word("sip:bob@a.test", &one)];
    journal.write(&now, &words).expect("written");
    store.remove_user("a.test", "alice").expect("she goes");
    let left: Vec<SmolStr> = journal.load(&now).expect("read").into_iter().map(|(aor, _)| aor).collect();
    assert_eq!(left, ["sip:alice@b.test", "sip:bob@a.test"]);
}

#[test]
fn older_data_is_brought_forward_with_its_users() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(DATABASE_NAME);
    let old = Connection::open(&path).expect("a database");
    old.execute_batch(crate::store::sqlite::VERSION_1).expect("the tables of version 1");
    let sql = "INSERT INTO users VALUES ('a.test', 'alice', 'a.test', ?1, ?1, ?2, ?1, ?1, ?2, 5)";
    old.execute(sql, params![[7_u8; 32], [8_u8; 16]]).expect("a user");
    old.execute_batch(
        "CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;
         INSERT INTO schema_version (version) VALUES (1);
         PRAGMA application_id = 0x4449414c;",
    )
    .expect("marked as ours");
    drop(old);
    let (store, mut journal) = open(folder.path());
    let users = crate::store::Store::users(&store).expect("users");
    assert_eq!(users.iter().map(|user| user.user()).collect::<Vec<_>>(), ["alice"]);
    let now = moment("b", 0, 0);
    journal.write(&now, &[word("sip:alice@a.test", &[binding("sip:a@b", 1)])]).expect("the new tables");
    let version: u32 = journal
        .connection
        .query_row("SELECT version FROM schema_version", [], |row| row.get(0))
        .expect("a version");
    assert_eq!(version, crate::store::SCHEMA_VERSION);
}

#[test]
fn calls_of_the_version_before_are_kept_without_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = Connection::open(folder.path().join(DATABASE_NAME)).expect("a database");
    for tables in
        [crate::store::sqlite::VERSION_1, bindings::SCHEMA, bindings::DETAILS, crate::store::services::SCHEMA]
    {
        old.execute_batch(tables).expect("the tables of version 4");
    }
    old.execute_batch(
        "CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;
         INSERT INTO schema_version (version) VALUES (4);
         PRAGMA application_id = 0x4449414c;
         INSERT INTO calls VALUES (7, 'c', 'sip:a@a.test', 'sip:b@a.test', 1000, 2000, 9000, 'caller', NULL, NULL);",
    )
    .expect("a call of version 4");
    drop(old);
    let (store, mut journal) = open(folder.path());
    let new = CallRecord {
        call_id: "d".into(),
        caller: "sip:z@a.test".into(),
        caller_name: Some("Zoë 漢字".into()),
        callee: "sip:b@a.test".into(),
        callee_name: Some("Bob".into()),
        started: Instant::from_millis(1_000),
        answered: None,
        ended: Instant::from_millis(2_000),
        end: dialtone_roles::io::CallEnd::Cancelled,
        reason: None,
    };
    journal.write(&moment("b", 1_000_000, 0), &[JournalWord::Record(Box::new(new))]).expect("written");
    let calls = crate::store::Store::ended_calls(&store, None, 10).expect("a page");
    let shown: Vec<_> = calls
        .iter()
        .map(|call| (call.id, call.caller.as_str(), call.caller_name.as_deref(), call.callee_name.as_deref()))
        .collect();
    assert_eq!(shown, [(8, "sip:z@a.test", Some("Zoë 漢字"), Some("Bob")), (7, "sip:a@a.test", None, None)]);
}

#[test]
fn each_shard_gets_its_own_bindings_in_pieces() {
    let settings = Settings { shards: 3, ..Settings::new(Secret([7; 32])) };
    let all: Vec<OfOne> = (0..7_000).map(|n| (SmolStr::new(format!("sip:{n}@a.test")), Vec::new())).collect();
    let shards = divided(&settings, all);
    assert_eq!(shards.len(), 3);
    for (number, pieces) in shards.iter().enumerate() {
        assert!(pieces.iter().all(|piece| (1..=PIECE).contains(&piece.len())));
        let own = pieces.iter().flatten().all(|(aor, _)| usize::from(shard_of_aor(&settings, aor)) == number);
        assert!(own, "shard {number} gets bindings of another");
    }
    assert_eq!(shards.iter().flatten().flatten().count(), 7_000);
}

#[test]
fn what_users_chose_is_read_as_it_was_written() {
    use dialtone_roles::services::{Change, Choice, Choices, ForwardKind};
    use dialtone_wire::Status;
    let folder = tempfile::tempdir().expect("a folder");
    let (_store, mut journal) = open(folder.path());
    let mut all = Choices::default();
    for kind in ForwardKind::ALL {
        all.apply(&Change::Forward(kind, Choice::On(kind.word().into())));
    }
    all.apply(&Change::Forward(ForwardKind::Busy, Choice::Off));
    all.apply(&Change::NoAnswerAfter(Some(Duration::from_millis(7_500))));
    all.apply(&Change::DoNotDisturb(Choice::On(Status::of(603))));
    let mut off = Choices::default();
    off.apply(&Change::DoNotDisturb(Choice::Off));
    let word = |aor: &str, choices: &Choices| JournalWord::Services {
        shard: 0,
        id: QueryId::UNANSWERED,
        aor: aor.into(),
        choices: Arc::new(choices.clone()),
    };
    let words = [word("sip:b@x", &off), word("sip:a@x", &all), word("sip:c@x", &all)];
    journal.write(&moment("b", 0, 0), &words).expect("written");
    journal.write(&moment("b", 0, 0), &[word("sip:c@x", &Choices::default())]).expect("written");
    let read = journal.load_services().expect("read");
    assert_eq!(read, [("sip:a@x".into(), all), ("sip:b@x".into(), off)]);
}

#[test]
fn call_records_are_deleted_when_they_are_too_old_and_no_sooner() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, mut journal) = open(folder.path());
    let words: Vec<JournalWord> = (0..10_050)
        .map(|second| {
            let at = Instant::from_millis(second * 1_000);
            JournalWord::Record(Box::new(CallRecord {
                call_id: "c".into(),
                caller: "sip:a@a.test".into(),
                caller_name: None,
                callee: "sip:b@a.test".into(),
                callee_name: None,
                started: at,
                answered: None,
                ended: at,
                end: dialtone_roles::io::CallEnd::Cancelled,
                reason: None,
            }))
        })
        .collect();
    // The clock of the machine: Unix time 20,000 s at the tenth millionth millisecond of the process.
    journal.write(&moment("b", 20_000_000, 0), &words).expect("written");
    let left = || store.ended_calls(None, 100_000).expect("a page");
    let oldest = left().last().expect("a call").started_unix_ms;
    let before = u64::try_from(oldest).expect("a time") + 10_020_000;
    // No more than some thousand at a time.
    assert!(journal.delete_records(before).expect("deleted"));
    assert_eq!(left().len(), 50);
    assert!(!journal.delete_records(before).expect("deleted"));
    let left = left();
    assert_eq!((left.len(), left.last().map(|call| call.started_unix_ms - oldest)), (30, Some(10_020_000)));
}

#[test]
fn call_records_are_kept_with_the_time_of_the_clock() {
    use dialtone_roles::io::CallEnd;
    use dialtone_wire::Status;
    let folder = tempfile::tempdir().expect("a folder");
    let (store, mut journal) = open(folder.path());
    let record = |end, answered| {
        let (caller, callee) = ("sip:a@a.test".into(), "sip:b@a.test".into());
        let (started, ended) = (Instant::from_millis(1_000), Instant::from_millis(9_000));
        let record = CallRecord {
            call_id: "c".into(),
            caller,
            caller_name: Some("Zoë 漢字".into()),
            callee,
            callee_name: None,
            started,
            answered,
            ended,
            end,
            reason: None,
        };
        JournalWord::Record(Box::new(record))
    };
    let words = [
        record(CallEnd::Callee, Some(Instant::from_millis(4_000))),
        record(CallEnd::Refused(Status::of(486)), None),
    ];
    journal.write(&moment("b", 1_000_000, 0), &words).expect("written");
    // The last one first, page by page.
    let page = |before| store.ended_calls(before, 1).expect("a page").pop();
    let last = page(None).expect("a call");
    assert_eq!(
        (last.ended_by.as_str(), last.status, last.caller.as_str()),
        ("refused", Some(486), "sip:a@a.test")
    );
    assert_eq!((last.caller_name.as_deref(), last.callee_name), (Some("Zoë 漢字"), None));
    let first = page(Some(last.id)).expect("another call");
    assert_eq!((first.answered_unix_ms, first.ended_by.as_str()), (Some(994_000), "callee"));
    assert_eq!(page(Some(first.id)), None);
    let sql =
        "SELECT started_unix_ms, answered_unix_ms, ended_unix_ms, ended_by, status FROM calls ORDER BY id";
    let mut statement = journal.connection.prepare(sql).expect("a table");
    let rows = statement.query_map([], |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, Option<i64>>(1)?,
            row.get::<_, i64>(2)?,
            row.get::<_, String>(3)?,
            row.get::<_, Option<u16>>(4)?,
        ))
    });
    let rows: Vec<_> = rows.expect("rows").map(|row| row.expect("a row")).collect();
    assert_eq!(
        rows,
        [
            (991_000, Some(994_000), 999_000, "callee".to_owned(), None),
            (991_000, None, 999_000, "refused".to_owned(), Some(486))
        ]
    );
}

#[test]
fn a_mark_comes_back_when_the_records_before_it_are_in_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, journal) = open(folder.path());
    let parts = JournalParts { store: journal, batch: Duration::from_millis(5), keep_records: Duration::MAX };
    let settings = Arc::new(Settings::new(Secret([7; 32])));
    let (sender, thread) = start(parts, settings, Vec::new(), Arc::default()).expect("a thread");
    for count in 1..=3 {
        let now = clock::now();
        let record = CallRecord {
            call_id: "c".into(),
            caller: "sip:a@a.test".into(),
            caller_name: None,
            callee: "sip:b@a.test".into(),
            callee_name: None,
            started: now,
            answered: None,
            ended: now,
            end: dialtone_roles::io::CallEnd::Cancelled,
            reason: None,
        };
        sender.record(Box::new(record));
        let (to, from) = sync_channel(1);
        assert!(sender.send(JournalWord::Mark(to)));
        from.recv().expect("the mark");
        assert_eq!(store.ended_calls(None, 10).expect("a page").len(), count);
    }
    drop(sender);
    thread.join().expect("its end");
}
