use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dialtone_dialog::digest::StoredCredential;

use super::*;

fn user(name: &str, password: &str) -> StoredCredential {
    StoredCredential::from_password(name, "sip.test", "sip.test", password)
}

fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(Folder::take(path)?)
}

fn names(store: &dyn Store) -> Vec<String> {
    store.users().expect("users").iter().map(|user| user.user().to_owned()).collect()
}

fn keeps_users(store: &mut dyn Store) {
    assert!(names(store).is_empty());
    assert!(!store.put_user(&user("bob", "1")).expect("a new user"));
    assert!(!store.put_user(&user("alice", "2")).expect("a new user"));
    assert!(store.put_user(&user("bob", "3")).expect("a replaced user"));
    assert_eq!(names(store), ["alice", "bob"]);
    assert_eq!(store.users().expect("users")[1], user("bob", "3"));
    assert!(!store.remove_user("other.test", "alice").expect("nobody there"));
    assert!(store.remove_user("sip.test", "alice").expect("alice goes"));
    assert!(!store.remove_user("sip.test", "alice").expect("she is gone"));
    assert_eq!(names(store), ["bob"]);
}

#[test]
fn both_engines_keep_replace_and_remove_users() {
    keeps_users(&mut MemoryStore::new());
    let folder = tempfile::tempdir().expect("a folder");
    keeps_users(&mut open(folder.path()).expect("a store"));
}

#[test]
fn users_outlive_the_process_and_passwords_are_not_in_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/data");
    let alice = user("alice", "correcthorsebattery1");
    open(&path).expect("a store").put_user(&alice).expect("a new user");
    let store = open(&path).expect("the same store");
    assert_eq!(store.users().expect("users"), [alice]);
    for entry in std::fs::read_dir(&path).expect("the folder") {
        let entry = entry.expect("a file");
        let bytes = std::fs::read(entry.path()).expect("its content");
        assert!(!bytes.windows(20).any(|window| window == b"correcthorsebattery1"), "{entry:?}");
    }
}

#[test]
fn nobody_else_may_read_the_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data");
    let mut store = open(&path).expect("a store");
    store.put_user(&user("alice", "1")).expect("a new user");
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(&path).expect("the folder") {
        let path = entry.expect("a file").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert!(files >= 2, "the database and the lock");
}

#[test]
fn the_secret_of_a_folder_is_made_once_and_a_damaged_one_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = || {
        let folder = Folder::take(folder.path()).expect("the folder");
        SqliteStore::open(folder).expect("a store").secret().expect("a secret")
    };
    let first = secret();
    assert_eq!(secret(), first);
    let other = tempfile::tempdir().expect("a folder");
    assert_ne!(Folder::take(other.path()).and_then(|folder| folder.secret()).expect("a secret"), first);
    std::fs::write(folder.path().join("secret"), &first[..31]).expect("the file can be written");
    let second = secret();
    assert_ne!(second, first);
    assert_eq!(secret(), second);
}

#[test]
fn a_folder_in_use_is_refused_until_it_is_free() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = open(folder.path()).expect("a store");
    let error = open(folder.path()).expect_err("it is in use");
    assert!(matches!(error, StoreError::Locked(_)), "{error}");
    drop(first);
    open(folder.path()).expect("it is free");
}

#[test]
fn newer_data_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).expect("a store");
    store.connection_for_tests().execute("UPDATE schema_version SET version = 99", []).expect("an update");
    drop(store);
    for _ in 0..2 {
        let error = open(folder.path()).expect_err("it is newer");
        assert!(matches!(error, StoreError::Newer { found: 99, known: SCHEMA_VERSION, .. }), "{error}");
        assert!(error.to_string().contains("newer"), "{error}");
    }
}

#[test]
fn a_file_that_is_no_database_of_ours_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(DATABASE_NAME);
    std::fs::write(&path, "this is a shopping list, not a database".repeat(100)).expect("a file");
    let before = std::fs::read(&path).expect("the file");
    assert!(matches!(open(folder.path()), Err(StoreError::Damaged(_))));
    assert_eq!(std::fs::read(&path).expect("the file"), before);

    std::fs::remove_file(&path).expect("it goes");
    let other = rusqlite::Connection::open(&path).expect("a database");
    other.execute_batch("CREATE TABLE shopping (item TEXT)").expect("a table");
    drop(other);
    assert!(matches!(open(folder.path()), Err(StoreError::Damaged(_))));
}

#[test]
fn a_folder_that_can_not_be_made_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let error = open(&file.join("data")).expect_err("a file is no folder");
    assert!(matches!(error, StoreError::File { .. }), "{error}");
    assert!(error.to_string().contains("data"), "{error}");
}
