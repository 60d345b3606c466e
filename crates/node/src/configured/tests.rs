use std::cell::RefCell;
use std::path::Path;

use dialtone_roles::settings::Secret;

use super::*;

fn told(domains: &[&str]) -> ServerConfig {
    let domains = domains.iter().map(|name| (*name).to_owned()).collect();
    ServerConfig { domains, ..ServerConfig::new(Data::Memory) }
}

fn domains(names: &[&str]) -> Vec<Domain> {
    told(names).resolve().expect("they are names").1.domains
}

#[test]
fn domains_are_lower_case_and_differ_and_the_first_has_the_names_of_the_machine() {
    let domains = domains(&["Sip.Test.", "sip.test", "b.test"]);
    assert_eq!(domains.iter().map(|domain| domain.name.as_str()).collect::<Vec<_>>(), ["sip.test", "b.test"]);
    assert!(domains[0].aliases.iter().any(|alias| alias == "localhost"));
    assert!(domains[1].aliases.is_empty());
}

#[test]
fn without_a_domain_it_is_that_of_the_machine() {
    let domains = domains(&[]);
    assert_eq!(domains.len(), 1);
    assert_eq!(domains[0].name, machine_name());
}

#[test]
fn a_name_that_no_uri_can_hold_is_refused() {
    for name in ["", "a b", "sip:a", "a@b"] {
        assert!(matches!(told(&[name]).resolve(), Err(StartError::Domain(_))), "{name:?}");
    }
}

/// A server as far as its settings go: a file, and what the engines were given last.
struct Bench {
    folder: tempfile::TempDir,
    configured: Configured,
    running: Settings,
    given: RefCell<Option<Arc<Settings>>>,
}

impl Bench {
    fn new(text: &str, change: impl FnOnce(&mut ServerConfig)) -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("dialtone.toml");
        fs::write(&file, text).expect("a file");
        let mut told = ServerConfig { file: Some(file), ..told(&[]) };
        change(&mut told);
        let (config, resolved) = told.resolve().expect("good settings");
        let running = Settings { journal: true, ..resolved.settings(0, Secret([7; 32]), 5, Vec::new()) };
        let configured = Configured::new(told, config, resolved);
        Bench { folder, configured, running, given: RefCell::new(None) }
    }

    fn reload(&self, text: &str) -> ReloadReport {
        fs::write(self.folder.path().join("dialtone.toml"), text).expect("a file");
        self.configured.reload(&self.running, |settings| {
            self.given.replace(Some(settings));
        })
    }

    fn given(&self) -> Arc<Settings> {
        self.given.borrow().clone().expect("the engines were given settings")
    }
}

#[test]
fn a_reload_names_what_changed_and_gives_it_to_the_engines() {
    let bench = Bench::new("", |_| ());
    let report = bench.reload("[registrar]\nexpires_max = \"3h\"\n[[domain]]\nname = \"b.test\"\n");
    assert_eq!(report.changed, ["registrar.expires_max", "domain"]);
    assert!(report.needs_restart.is_empty() && report.problems.is_empty(), "{report:?}");
    let given = bench.given();
    assert_eq!((given.registrar.expires_max_s, given.version), (10_800, 1));
    assert_eq!(given.domains[0].name, "b.test");
    assert!(given.journal, "registrations are journalled as before");
    assert_eq!((given.unix_start_s, given.secret == Secret([7; 32])), (5, true));
    assert_eq!(bench.reload("").changed, ["registrar.expires_max", "domain"]);
    assert_eq!((bench.given().registrar.expires_max_s, bench.given().version), (7_200, 2));
}

#[test]
fn a_bad_file_changes_nothing_and_says_where() {
    let bench = Bench::new("", |_| ());
    let report = bench.reload("[registrar]\nexpires_max = \"3h\"\nexpire_min = 5\n");
    assert!(report.changed.is_empty(), "{report:?}");
    assert_eq!(report.problems.len(), 1);
    assert_eq!((report.problems[0].line, report.problems[0].key.as_str()), (3, "registrar.expire_min"));
    assert!(bench.given.borrow().is_none());
    fs::remove_file(bench.folder.path().join("dialtone.toml")).expect("it is there");
    assert_eq!(bench.configured.reload(&bench.running, |_| panic!("nothing to give")).problems.len(), 1);
}

#[test]
fn keys_that_need_a_restart_are_named_until_the_file_says_what_the_start_read() {
    let bench = Bench::new("", |_| ());
    let text = "[server]\nshards = 4\n[digest]\nnonce_life = \"1h\"\n[limits]\nmessage_bytes = \"1MiB\"\n";
    for _ in 0..2 {
        let needed = ["server.shards", "digest.nonce_life", "limits.message_bytes"];
        assert_eq!(bench.reload(text).needs_restart, needed);
        assert_eq!((bench.given().shards, bench.given().digest), (1, bench.running.digest));
        assert_eq!(bench.given().limits, bench.running.limits);
    }
    assert!(bench.reload("").needs_restart.is_empty());
}

#[test]
fn what_the_command_line_overrides_is_no_change() {
    let bench = Bench::new("", |told| {
        told.shards = Some(2);
        told.listen = vec!["udp:127.0.0.1:0".parse().expect("an address")];
    });
    let report = bench.reload("[server]\nshards = 4\nlisten = [\"udp:127.0.0.1:5060\"]\n");
    assert_eq!(report, ReloadReport::default());
}

#[test]
fn a_server_that_was_started_in_public_is_not_opened_by_a_file_that_forgets_it() {
    let bench = Bench::new("[server]\npublic = true\n", |_| ());
    let report = bench.reload("[digest]\nrequired = false\n");
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert!(bench.given.borrow().is_none());
}

#[test]
fn a_reload_while_it_drains_lets_no_new_call_in() {
    let bench = Bench::new("", |_| ());
    bench.configured.drain(&bench.running, |settings| assert!(settings.draining && settings.version == 1));
    bench.reload("[proxy]\ntimer_c = \"5m\"\n");
    assert!(bench.given().draining);
}

#[test]
fn the_log_is_told_its_level() {
    let (sender, levels) = std::sync::mpsc::channel();
    let bench = Bench::new("", |told| {
        told.log = Some(LogControl(Arc::new(move |level| sender.send(level).expect("it is awaited"))));
    });
    bench.reload("[log]\nlevel = \"debug\"\n");
    assert_eq!(levels.try_recv(), Ok(LogLevel::Debug));
}

#[test]
fn a_file_is_checked_without_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dialtone.toml");
    fs::write(&file, "[serve]\n").expect("a file");
    let problems = check(Some(file), Path::new("data").into()).expect_err("there is no such table");
    assert!(list(&problems).contains("help: did you mean `[server]`?"), "{problems:?}");
    assert!(check(None, Path::new("data").into()).is_ok());
}
