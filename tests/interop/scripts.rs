//! `dialtone phone` as a person or a script has it: keys, screens and lines, against each other and against real phones.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{ADDRESS, Lab, Network, dialtone, lab, system};
use crate::phone::{Phone, Setup};
use crate::process::Process;
use crate::serve::{DOMAIN, PORT, Server, User};
use crate::services::{B2BUA, serve};
use crate::sipp::{listening, sipp_to};
use crate::terminal::Terminal;

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(20);

const OK: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const BUSY: i32 = 10;
const WRONG_PASSWORD: i32 = 13;
const NOBODY_THERE: i32 = 14;

/// One user more than the two of the start.
pub(crate) fn add_user(lab: &Lab, name: &str) -> User {
    let user = User { name: name.to_owned(), password: format!("secret-of-{name}") };
    let mut command = Command::new(dialtone());
    command.args(["user", "add", name, "--password", &user.password, "--data"]).arg(lab.path("data"));
    system(&mut command);
    user
}

/// The arguments of a phone of this user of our server.
fn arguments(server: &Server, user: &User) -> Vec<String> {
    let proxy = server.address.to_string();
    let all =
        ["phone", "--user", &user.name, "--password", &user.password, "--domain", DOMAIN, "--proxy", &proxy];
    all.map(str::to_owned).to_vec()
}

/// A phone that does what these lines say, its events as JSON.
pub(crate) fn script(lab: &Lab, server: &Server, name: &str, more: &[&str], lines: &str) -> Process {
    script_of(lab, server, &server.user(name), more, lines)
}

pub(crate) fn script_of(lab: &Lab, server: &Server, user: &User, more: &[&str], lines: &str) -> Process {
    let path = lab.path(&format!("{}.script", user.name));
    std::fs::write(&path, lines).expect("a file of the lab");
    let mut command = Command::new(dialtone());
    command.args(arguments(server, user)).arg("--json").args(more);
    Process::start(command.arg("--script").arg(&path))
}

/// A phone that answers by itself, registered.
pub(crate) fn answering(server: &Server, user: &User, more: &[&str]) -> Process {
    let mut command = Command::new(dialtone());
    command.args(arguments(server, user)).args(["--json", "--answer"]).args(more);
    let mut phone = Process::start(&mut command);
    phone.wait_for("\"registered\"", PATIENCE);
    phone
}

/// Waits for the end of a script, and gives its events.
#[track_caller]
pub(crate) fn finish(mut phone: Process, code: i32) -> Vec<Value> {
    let status = phone.finish(PATIENCE);
    assert_eq!(status.code(), Some(code), "{}", phone.output());
    let event = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    phone.out().iter().map(event).collect()
}

/// The words of the events of calls; that a session was changed is told beside who is held by it.
pub(crate) fn words(events: &[Value]) -> Vec<&str> {
    let calls = events.iter().filter(|event| event["call"].is_u64() && event["event"] != "session-changed");
    calls.map(|event| event["event"].as_str().unwrap_or_default()).collect()
}

pub(crate) fn last_of<'a>(events: &'a [Value], word: &str) -> &'a Value {
    let found = events.iter().rev().find(|event| event["event"] == word);
    found.unwrap_or_else(|| panic!("no event {word} in {events:?}"))
}

#[test]
fn two_phones_call_hold_resume_and_hang_up_as_their_scripts_say() {
    lab(|lab| {
        let server = Server::start(lab);
        let mut bob = script(
            lab,
            &server,
            "bob",
            &["--tone", "1000"],
            "wait for registered\nwait for incoming\nanswer\nwait for answered\nwait for held-by-peer\n\
             wait for resumed-by-peer\nwait for ended\n",
        );
        bob.wait_for("\"registered\"", PATIENCE);
        let alice = script(
            lab,
            &server,
            "alice",
            &["--tone", "440"],
            "wait for registered\ncall bob\nwait for ringing\nwait for answered within 5s\nwait 1s\nhold\n\
             wait for held\nwait 1s\nresume\nwait for resumed\nwait 2s\nhangup\nwait for ended\nunregister\n\
             wait for unregistered\n",
        );
        let alice = finish(alice, OK);
        assert_eq!(words(&alice), ["calling", "ringing", "answered", "held", "resumed", "ended"]);
        let bob = finish(bob, OK);
        assert_eq!(words(&bob), ["incoming", "answered", "held-by-peer", "resumed-by-peer", "ended"]);
        for (events, hertz) in [(&alice, 1000.0), (&bob, 440.0)] {
            let audio = &last_of(events, "ended")["audio"];
            let heard = audio["received"]["tone_hz"].as_f64();
            assert!(heard.is_some_and(|heard| (heard - hertz).abs() < 5.0), "{audio}");
        }
        // Bob is silent while he is held: alice hears a second less of him than he of her.
        let packets = |events: &[Value]| last_of(events, "ended")["audio"]["received"]["packets"].as_u64();
        assert!(packets(&alice).zip(packets(&bob)).is_some_and(|(alice, bob)| alice + 30 < bob), "{alice:?}");
    });
}

#[test]
fn the_second_call_waits_and_its_answer_holds_the_first() {
    lab(|lab| {
        let server = Server::start(lab);
        let mut bob = script(
            lab,
            &server,
            "bob",
            &[],
            "wait for incoming\nanswer\nwait for answered\nwait for incoming\nanswer\nwait for held\n\
             wait for answered\nhangup\nwait for ended\nresume\nwait for resumed\nhangup\nwait for ended\n",
        );
        bob.wait_for("\"registered\"", PATIENCE);
        let first = "wait for registered\ncall bob\nwait for answered\nwait for held-by-peer\nwait for resumed-by-peer\n\
                     wait for ended\n";
        let mut alice = script(lab, &server, "alice", &[], first);
        alice.wait_for("\"answered\"", PATIENCE);
        let second = "wait for registered\ncall bob\nwait for answered\nwait for ended\n";
        let carol = script_of(lab, &server, &add_user(lab, "carol"), &[], second);
        assert_eq!(words(&finish(carol, OK)), ["calling", "ringing", "answered", "ended"]);
        finish(alice, OK);
        let bob = finish(bob, OK);
        assert_eq!(
            bob.iter()
                .filter(|event| event["event"] == "ended")
                .map(|event| &event["call"])
                .collect::<Vec<_>>(),
            [2, 1]
        );
    });
}

#[test]
fn a_script_that_does_not_go_on_names_its_line_and_ends_with_the_code_of_its_reason() {
    lab(|lab| {
        let server = Server::start(lab);
        let bob = answering(&server, &server.user("bob"), &[]);
        for (lines, code, words) in [
            ("# fine\nhodl\n", USAGE, "line 2: \"hodl\" is no action: expected one of call"),
            ("wait for registered\nhold\n", FAILED, "line 2: there is no call"),
            (
                "wait for registered\nwait for incoming within 0.2s\n",
                FAILED,
                "line 2: expected \"incoming\" within 0.2 s, and nothing happened",
            ),
            (
                "wait for registered\ncall nobody\nwait for answered\n",
                NOBODY_THERE,
                "line 3: expected \"answered\", and the call is over: nobody there",
            ),
            (
                "wait for registered\ncall bob\nwait for answered\nwait for held within 0.5s\n",
                FAILED,
                "line 4: expected \"held\" within 0.5 s",
            ),
        ] {
            let mut alice = script(lab, &server, "alice", &[], lines);
            let status = alice.finish(PATIENCE);
            assert_eq!(status.code(), Some(code), "{lines}\n{}", alice.output());
            assert!(alice.errors().iter().any(|line| line.contains(words)), "{words}\n{}", alice.output());
            if code == USAGE {
                assert!(alice.out().is_empty(), "nothing is done: {}", alice.output());
            } else {
                assert!(alice.output().contains("\"unregistered\""), "{}", alice.output());
            }
        }
        drop(bob);
        let _bob = script(lab, &server, "bob", &["--busy"], "wait for ended\n");
        let busy = "wait for registered\nwait 1s\ncall bob\nwait for answered\n";
        finish(script(lab, &server, "alice", &[], busy), BUSY);
        let guessed = User { name: "alice".to_owned(), password: "guessed".to_owned() };
        let path = lab.path("alice.script");
        std::fs::write(&path, "wait for registered\n").expect("a file of the lab");
        let mut command = Command::new(dialtone());
        command.args(arguments(&server, &guessed)).arg("--script").arg(&path);
        let mut alice = Process::start(&mut command);
        assert_eq!(alice.finish(PATIENCE).code(), Some(WRONG_PASSWORD), "{}", alice.output());
        assert!(alice.output().contains("the password was refused"), "{}", alice.output());
        let mut command = Command::new(dialtone());
        command.args(arguments(&server, &server.user("alice")));
        let mut alice = Process::start(&mut command);
        assert_eq!(alice.finish(PATIENCE).code(), Some(USAGE), "{}", alice.output());
        assert!(alice.output().contains("--script FILE"), "it says what to do: {}", alice.output());
    });
}

#[test]
fn lines_of_standard_input_are_done_as_they_come() {
    lab(|lab| {
        let server = Server::start(lab);
        let _bob = answering(&server, &server.user("bob"), &[]);
        let mut command = Command::new(dialtone());
        command.args(arguments(&server, &server.user("alice"))).args(["--json", "--script", "-"]);
        let mut alice = Process::start_with_input(&mut command);
        alice.wait_for("\"registered\"", PATIENCE);
        alice.say("call bob");
        alice.wait_for("\"answered\"", PATIENCE);
        alice.say("hangup\nwait for ended");
        alice.say_no_more();
        let events = finish(alice, OK);
        assert_eq!(words(&events), ["calling", "ringing", "answered", "ended"]);
    });
}

#[test]
fn a_call_whose_other_phone_was_killed_can_be_ended() {
    lab(|lab| {
        let server = Server::start(lab);
        let mut bob = answering(&server, &server.user("bob"), &[]);
        let lines =
            "wait for registered\ncall bob\nwait for answered\nwait 2s\nhangup\nwait for ended within 40s\n";
        let mut alice = script(lab, &server, "alice", &[], lines);
        alice.wait_for("\"answered\"", PATIENCE);
        system(Command::new("sh").args(["-c", &format!("kill -KILL {}", bob.id())]));
        bob.finish(PATIENCE);
        let status = alice.finish(Duration::from_secs(60));
        assert_eq!(status.code(), Some(OK), "{}", alice.output());
    });
}

/// The far end rings for a second, then is heard, then rings again, then answers.
#[test]
fn a_script_sees_ringing_then_early_media_then_the_answer() {
    lab(|lab| {
        let (port, bob) = (5160, User { name: "bob".to_owned(), password: String::new() });
        let to = SocketAddr::new(ADDRESS.parse().expect("an address"), PORT);
        let mut ringing = listening(sipp_to(lab, to, "ring_then_early_media", &bob, port).args(["-m", "1"]));
        let path = lab.path("alice.script");
        let lines = "call bob\nwait for ringing\nwait for early-media within 3s\nwait for answered\nhangup\nwait for ended\n";
        std::fs::write(&path, lines).expect("a file of the lab");
        let mut command = Command::new(dialtone());
        command.args(["phone", "--user", "alice", "--no-register", "--proxy", &format!("{ADDRESS}:{port}")]);
        let alice = Process::start(command.arg("--json").arg("--script").arg(&path));
        assert_eq!(words(&finish(alice, OK)), ["calling", "ringing", "early-media", "answered", "ended"]);
        let status = ringing.finish(PATIENCE);
        assert!(status.success(), "{status}\n{}", ringing.output());
    });
}

/// Bob, whom alice has called, gives her to carol.
#[test]
fn three_phones_transfer_a_call_without_asking_first() {
    lab(|lab| {
        let bob = "wait for incoming\nanswer\nwait for answered\nhold\nwait for held\ntransfer carol\n\
                   wait for transferred\nwait for ended\n";
        let carol = "wait for incoming\nanswer\nwait for answered\nwait for ended\n";
        let [alice, bob, carol] = transfer(lab, bob, carol);
        assert_eq!(words(&bob)[..4], ["incoming", "answered", "held", "transfer-progress"]);
        assert_eq!(words(&carol), ["incoming", "answered", "ended"]);
        let asked = last_of(&alice, "transfer-asked");
        assert!(
            asked["replaces"] == false && asked["to"].as_str().is_some_and(|to| to.contains("carol")),
            "{asked}"
        );
    });
}

/// Bob asks carol first, and gives alice his place in that call.
#[test]
fn three_phones_transfer_a_call_after_asking() {
    lab(|lab| {
        let bob = "wait for incoming\nanswer\nwait for answered\ncall carol\nwait for held\nwait for answered\n\
                   select 1\ntransfer to 2\nwait for transferred\nwait for ended\nwait for ended\n";
        let carol = "wait for incoming\nanswer\nwait for answered\nwait for replaced\nwait for ended\n\
                     wait for ended\n";
        let [alice, bob, carol] = transfer(lab, bob, carol);
        assert_eq!(last_of(&alice, "transfer-asked")["replaces"], true);
        assert_eq!(last_of(&carol, "replaced")["new_call"], 2);
        assert_eq!(bob.iter().filter(|event| event["event"] == "ended").count(), 2);
    });
}

/// Alice calls bob, does what he asks for, and hangs up two seconds after she talks to carol; each of them hears the other.
fn transfer(lab: &Lab, bob: &str, carol: &str) -> [Vec<Value>; 3] {
    let server = Server::start(lab);
    let mut carol = script_of(lab, &server, &add_user(lab, "carol"), &["--tone", "1500"], carol);
    let mut bob = script(lab, &server, "bob", &["--tone", "1000"], bob);
    for phone in [&mut carol, &mut bob] {
        phone.wait_for("\"registered\"", PATIENCE);
    }
    let alice = "wait for registered\ncall bob\nwait for answered\nwait for transfer-asked\naccept\n\
                 wait for transfer-begun\nwait for answered\nwait 2s\nselect 2\nhangup\nwait for ended\n";
    let alice = script(lab, &server, "alice", &["--tone", "440"], alice);
    let all = [finish(alice, OK), finish(bob, OK), finish(carol, OK)];
    for (events, hertz) in [(&all[0], 1500.0), (&all[2], 440.0)] {
        let audio = &last_of(events, "ended")["audio"];
        let heard = audio["received"]["tone_hz"].as_f64();
        assert!(heard.is_some_and(|heard| (heard - hertz).abs() < 5.0), "{audio}");
    }
    all
}

#[test]
fn a_transfer_that_nobody_takes_gives_the_call_back() {
    lab(|lab| {
        let server = Server::start(lab);
        let lines = "wait for incoming\nanswer\nwait for answered\nhold\nwait for held\ntransfer nobody\n\
                     wait for transfer-failed\nwait for resumed\nwait 1s\nhangup\nwait for ended\n";
        let mut bob = script(lab, &server, "bob", &[], lines);
        bob.wait_for("\"registered\"", PATIENCE);
        let lines = "wait for registered\ncall bob\nwait for answered\nwait for ended\nwait for ended\n";
        let alice = script(lab, &server, "alice", &["--transfers", "accept"], lines);
        let failed = finish(bob, OK);
        let failed = last_of(&failed, "transfer-failed");
        assert_eq!((&failed["reason"], &failed["status"]), (&"call-failed".into(), &404.into()));
        finish(alice, OK);
    });
}

#[test]
fn keys_of_a_telephone_and_early_media_arrive() {
    lab(|lab| {
        let server = Server::start(lab);
        let lines = "wait for incoming\nprogress\nwait 1s\nanswer\nwait for answered\nwait for dtmf\nwait for dtmf\n\
                     wait for dtmf\nwait for held-by-peer\nwait for refreshed-by-peer\nwait for resumed-by-peer\n\
                     wait for ended\n";
        let mut bob = script(lab, &server, "bob", &["--tone", "1000"], lines);
        bob.wait_for("\"registered\"", PATIENCE);
        let lines = "wait for registered\ncall bob\nwait for early-media\nwait for answered\ndtmf 1#A\n\
                     wait for info-answered\nhold by update\nwait for held\nupdate\n\
                     wait for refreshed\nresume by update\n\
                     wait for resumed\nhangup\nwait for ended\n";
        let alice = finish(script(lab, &server, "alice", &[], lines), OK);
        assert_eq!(last_of(&alice, "info-answered")["status"], 200);
        let bob = finish(bob, OK);
        let digits: Vec<&str> = bob.iter().filter_map(|event| event["digit"].as_str()).collect();
        assert_eq!(digits, ["1", "#", "A"]);
        // A second of bob's tone before he answered.
        let audio = &last_of(&alice, "ended")["audio"];
        let hertz = audio["received"]["tone_hz"].as_f64();
        assert!(hertz.is_some_and(|hertz| (hertz - 1000.0).abs() < 5.0), "{audio}");
        assert!(audio["received"]["packets"].as_u64() > Some(45), "{audio}");
    });
}

fn setup<'a>(user: &'a User, home: &'a Network, answers: bool) -> Setup<'a> {
    let (number, hertz) = if answers { (2, 1000.0) } else { (1, 440.0) };
    Setup { number, network: home, user, hertz, answers, transport: "udp", codec: "PCMA" }
}

#[test]
fn a_script_calls_and_holds_a_real_phone() {
    lab(|lab| {
        let server = Server::start(lab);
        let (home, bob) = (Network::home(), server.user("bob"));
        let mut theirs = Phone::register(lab, &setup(&bob, &home, true));
        let lines = "wait for registered\ncall bob\nwait for answered\nwait 2s\nhold\nwait for held\nwait 1s\nresume\n\
                     wait for resumed\nwait 2s\nhangup\nwait for ended\n";
        let events = finish(script(lab, &server, "alice", &["--tone", "440", "--codec", "PCMA"], lines), OK);
        let audio = &last_of(&events, "ended")["audio"];
        assert!(audio["received"]["tone_hz"].as_f64().is_some_and(|hz| (hz - 1000.0).abs() < 5.0), "{audio}");
        theirs.wait_for_the_end();
        let heard = theirs.recording().find(440.0);
        assert!(heard.is_heard(), "the phone does not hear us: {heard:?}");
    });
}

/// The real phone has called bob, who gives it to carol, both ours; the other way round the real phone gives bob away.
fn with_a_real_phone(lab: &Lab, bob_does: &str, real_phone_does: Option<(&str, &str)>) {
    let server = Server::start(lab);
    let (home, alice) = (Network::home(), server.user("alice"));
    let carol = "wait for incoming\nanswer\nwait for answered\nwait for ended\n";
    let mut carol = script_of(lab, &server, &add_user(lab, "carol"), &["--tone", "1500"], carol);
    let mut bob = script(lab, &server, "bob", &["--tone", "1000"], bob_does);
    for phone in [&mut carol, &mut bob] {
        phone.wait_for("\"registered\"", PATIENCE);
    }
    let mut theirs = Phone::register(lab, &setup(&alice, &home, false));
    theirs.call(&format!("sip:bob@{DOMAIN}"));
    if let Some((action, to)) = real_phone_does {
        theirs.act(action, to);
    }
    // The first call ends once the second one stands.
    theirs.wait_for_the_end();
    if real_phone_does.is_none() {
        theirs.talk(Duration::from_secs(2));
        theirs.hang_up();
    }
    let hertz = if real_phone_does.is_none() { 440.0 } else { 1000.0 };
    let carol = finish(carol, OK);
    let audio = &last_of(&carol, "ended")["audio"];
    let heard = audio["received"]["tone_hz"].as_f64();
    assert!(heard.is_some_and(|heard| (heard - hertz).abs() < 5.0), "{audio}");
    finish(bob, OK);
}

#[test]
fn a_script_transfers_a_real_phone() {
    let bob = "wait for incoming\nanswer\nwait for answered\ntransfer carol\nwait for transferred\nwait for ended\n";
    lab(|lab| with_a_real_phone(lab, bob, None));
}

#[test]
fn a_real_phone_transfers_a_script() {
    let carol = format!("sip:carol@{DOMAIN}");
    let bob = "wait for incoming\nanswer\nwait for answered\nwait for transfer-asked\naccept\n\
               wait for transfer-begun\nwait for answered\nwait 2s\nselect 2\nhangup\nwait for ended\n";
    lab(|lab| with_a_real_phone(lab, bob, Some(("transfer", &carol))));
}

#[test]
fn a_script_answers_a_real_phone() {
    lab(|lab| {
        let server = Server::start(lab);
        let (home, bob) = (Network::home(), server.user("bob"));
        let lines = "wait for incoming\nanswer\nwait for answered\nwait for ended\n";
        let mut ours = script(lab, &server, "alice", &["--tone", "1000"], lines);
        ours.wait_for("\"registered\"", PATIENCE);
        let mut theirs = Phone::register(lab, &setup(&bob, &home, false));
        theirs.call(&format!("sip:alice@{DOMAIN}"));
        theirs.talk(Duration::from_secs(3));
        theirs.hang_up();
        assert_eq!(last_of(&finish(ours, OK), "ended")["reason"], "remote-hangup");
        let heard = theirs.recording().find(1000.0);
        assert!(heard.is_heard(), "the phone does not hear ours: {heard:?}");
    });
}

/// The phone of a user in a terminal, with its screen, registered.
fn in_terminal(server: &Server, name: &str, more: &str) -> Terminal {
    let line = format!("{} {} {more}", dialtone().display(), arguments(server, &server.user(name)).join(" "));
    let mut terminal = Terminal::start(&line);
    terminal.wait_for("registered for", PATIENCE);
    assert!(terminal.screen().is_alternate);
    terminal
}

#[test]
fn keys_call_hold_resume_and_end_and_the_screen_shows_it() {
    lab(|lab| {
        let server = Server::start(lab);
        let _bob = answering(&server, &server.user("bob"), &["--tone", "1000"]);
        let mut alice = in_terminal(&server, "alice", "--tone 440");
        alice.wait_for("none: c calls somebody", PATIENCE);
        alice.press("cbox\x7fb");
        alice.wait_for("> call bob", PATIENCE);
        alice.press("\r");
        alice.wait_for("talking", PATIENCE);
        alice.wait_for(">1 to sip:bob@sip.test  talking 0:0", PATIENCE);
        // Both needles rise, and nothing is lost.
        let rises = |screen: &crate::terminal::Screen, name: &str| {
            screen.line(name).is_some_and(|line| line.contains("█████████████") && line.contains("-16"))
        };
        alice.wait_until("meters", PATIENCE, |screen| rises(screen, "  in ") && rises(screen, "  out "));
        let heard = alice.screen().line("  in ").unwrap_or_default();
        assert!(heard.contains("lost 0 (0.0 %)") && heard.contains("jitter"), "{heard}");
        alice.press("h");
        alice.wait_for("on hold 0:", PATIENCE);
        alice.wait_until("no sound", PATIENCE, |screen| {
            screen.line("  in ").is_some_and(|line| line.contains("-96.0 dBFS"))
        });
        alice.press("h");
        alice.wait_for("call 1: not on hold any more", PATIENCE);
        alice.wait_until("meters", PATIENCE, |screen| rises(screen, "  in "));
        alice.press("e");
        alice.wait_for("call 1: over, we hung up", PATIENCE);
        alice.press("e");
        alice.wait_for("hangup: there is no call", PATIENCE);
        alice.press(":hodl\r");
        alice.wait_for("is no action", PATIENCE);
        alice.press("q");
        alice.wait_for_the_end(OK, PATIENCE);
    });
}

#[test]
fn a_call_rings_on_the_screen_until_a_key_answers_or_declines_it() {
    lab(|lab| {
        let server = Server::start(lab);
        let mut alice = in_terminal(&server, "alice", "");
        let call = || {
            let lines =
                "wait for registered\ncall alice\nwait for ringing\nwait for answered\nwait for ended\n";
            script(lab, &server, "bob", &[], lines)
        };
        let bob = call();
        alice.wait_for(">1 from sip:bob@sip.test  rings here", PATIENCE);
        alice.press("a");
        alice.wait_for("talking 0:0", PATIENCE);
        alice.press("e");
        assert_eq!(words(&finish(bob, OK)), ["calling", "ringing", "answered", "ended"]);
        let bob = call();
        alice.wait_for("from sip:bob@sip.test  rings here", PATIENCE);
        alice.press("d");
        finish(bob, BUSY);
        alice.wait_for("none: c calls somebody", PATIENCE);
        // Ctrl-C.
        alice.press("\x03");
        alice.wait_for_the_end(OK, PATIENCE);
    });
}

#[test]
fn who_waits_in_a_queue_sees_his_place_there() {
    lab(|lab| {
        let group = "[[group]]\nname = \"sales\"\nmembers = [\"bob\"]\nqueue = \"1m\"\n";
        let server = serve(lab, B2BUA, group);
        let busy = ["--json", "--busy"];
        let mut command = Command::new(dialtone());
        command.args(arguments(&server, &server.user("bob"))).args(busy);
        let mut bob = Process::start(&mut command);
        bob.wait_for("\"registered\"", PATIENCE);
        let mut alice = in_terminal(&server, "alice", "");
        alice.press("csales\r");
        alice.wait_for(">1 to sip:sales@sip.test  waits in a queue: Queued, position 1 0:0", PATIENCE);
        alice.wait_for("call 1: waits in a queue: Queued, position 1", PATIENCE);
        let lines = "wait for registered\ncall sales\nwait for queued\nhangup\nwait for ended\n";
        let events = finish(script_of(lab, &server, &add_user(lab, "carol"), &[], lines), OK);
        let queued = last_of(&events, "queued");
        assert_eq!(
            (queued["status"].as_u64(), queued["queue"].as_str()),
            (Some(182), Some("Queued, position 2"))
        );
        alice.press("q");
        alice.wait_for_the_end(OK, PATIENCE);
    });
}

#[test]
fn the_terminal_is_given_back_whatever_ends_the_phone() {
    lab(|lab| {
        let server = Server::start(lab);
        let _bob = answering(&server, &server.user("bob"), &[]);
        for signal in ["TERM", "HUP"] {
            let mut alice = in_terminal(&server, "alice", "");
            alice.press("cbob\r");
            alice.wait_for("talking", PATIENCE);
            signal_program(signal, "alice");
            alice.wait_for_the_end(OK, PATIENCE);
        }
        let guessed = User { name: "alice".to_owned(), password: "guessed".to_owned() };
        let line = format!("{} {}", dialtone().display(), arguments(&server, &guessed).join(" "));
        let mut alice = Terminal::start(&line);
        alice.wait_for_the_end(WRONG_PASSWORD, PATIENCE);
        assert!(alice.screen().text().contains("the password was refused"), "{}", alice.screen().text());
    });
}

/// Sends a signal to the phone of a user: the programs of a lab are alone in their namespace.
fn signal_program(signal: &str, user: &str) {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let is_phone = words.first().is_some_and(|program| program.ends_with(b"dialtone"));
        if is_phone && words.contains(&user.as_bytes()) {
            pids.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    let [pid] = pids.as_slice() else { panic!("one phone of {user}, not {pids:?}") };
    system(Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]));
}

#[test]
fn three_phones_talk_and_the_two_hear_each_other_through_the_third() {
    lab(|lab| {
        let server = Server::start(lab);
        let answers = "wait for incoming\nanswer\nwait for answered\nwait for ended within 60s\n";
        let mut bob = script(lab, &server, "bob", &["--tone", "1000"], answers);
        let mut carol = script_of(lab, &server, &add_user(lab, "carol"), &["--tone", "440"], answers);
        for phone in [&mut bob, &mut carol] {
            phone.wait_for("\"registered\"", PATIENCE);
        }
        let mut alice = in_terminal(&server, "alice", "");
        alice.press("cbob\r");
        alice.wait_for(">1 to sip:bob@sip.test  talking 0:0", PATIENCE);
        alice.press("ccarol\r");
        alice.wait_for(">2 to sip:carol@sip.test  talking 0:0", PATIENCE);
        alice.wait_for(" 1 to sip:bob@sip.test  on hold 0:", PATIENCE);
        alice.press("j");
        alice.wait_for("call 1: is part of a three-way call", PATIENCE);
        alice.wait_for("call 2: is part of a three-way call", PATIENCE);
        for call in [" 1 to sip:bob@sip.test", ">2 to sip:carol@sip.test"] {
            alice.wait_for(&format!("{call}  talking, in a three-way call 0:"), PATIENCE);
        }
        let seconds = |screen: &crate::terminal::Screen| -> Option<u32> {
            let line = screen.line("sip:carol@sip.test  talking")?;
            let (minutes, seconds) = line.split_whitespace().find_map(|word| {
                word.split_once(':')?.0.parse::<u32>().ok().zip(word.split_once(':')?.1.parse::<u32>().ok())
            })?;
            Some(60 * minutes + seconds)
        };
        let joined_at = seconds(alice.screen()).expect("a call has its time");
        alice.wait_until("4 s more", PATIENCE, |screen| {
            seconds(screen).is_some_and(|now| now >= joined_at + 4)
        });
        alice.press(":hangup all\r");
        for (phone, hertz) in [(bob, 440.0), (carol, 1000.0)] {
            let events = finish(phone, OK);
            let audio = &last_of(&events, "ended")["audio"];
            let heard = audio["received"]["tone_hz"].as_f64();
            assert!(heard.is_some_and(|heard| (heard - hertz).abs() < 5.0), "{audio}");
        }
        alice.wait_for("call 2: over", PATIENCE);
        alice.press("q");
        alice.wait_for_the_end(OK, PATIENCE);
    });
}
