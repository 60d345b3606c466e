use std::time::Duration;

use dialtone_roles::settings::{Destination, Group, Member, Strategy};

use super::super::tests::{check, resolved};

fn member(destination: Destination, delay: u64, ring: u64) -> Member {
    Member { destination, delay: Duration::from_secs(delay), ring: Some(Duration::from_secs(ring)) }
}

fn user(aor: &str) -> Destination {
    Destination::User(aor.into())
}

#[test]
fn a_group_is_read_with_all_that_it_can_say() {
    let resolved = resolved(
        "[[domain]]\nname = \"one.test\"\n[[domain]]\nname = \"two.test\"\n\
         [[group]]\nname = \"sales\"\nmembers = [\"bob\"]\n\
         [[group]]\nname = \"night\"\ndomain = \"two.test\"\nnumbers = [\"600\", \"601\"]\nstrategy = \"in-turn\"\n\
         ring = \"12s\"\notherwise = \"user:carol@one.test\"\nmembers = [\"bob\", { to = \"dave\", delay = \"5s\" },\n\
         { to = \"group:sales\", ring = \"1m\" }, \"uri:sip:desk@192.0.2.9\"]\n",
    );
    let [sales, night] = resolved.groups.as_slice() else { panic!("{:?}", resolved.groups) };
    let expected = Group {
        name: "sales".into(),
        domain: "one.test".into(),
        numbers: vec!["sales".into()],
        members: vec![member(user("sip:bob@one.test"), 0, 30)],
        strategy: Strategy::All,
        otherwise: None,
    };
    assert_eq!(*sales, expected);
    let uri = dialtone_wire::uri::UriBuf::parse("sip:desk@192.0.2.9").expect("a URI");
    let expected = Group {
        name: "night".into(),
        domain: "two.test".into(),
        numbers: vec!["night".into(), "600".into(), "601".into()],
        members: vec![
            member(user("sip:bob@two.test"), 0, 12),
            member(user("sip:dave@two.test"), 5, 12),
            member(Destination::Group("sales".into()), 0, 60),
            member(Destination::Uri(uri), 0, 12),
        ],
        strategy: Strategy::InTurn,
        otherwise: Some(user("sip:carol@one.test")),
    };
    assert_eq!(*night, expected);
}

#[test]
fn a_group_with_a_queue_keeps_its_callers_before_it_gives_them_away() {
    let group = |mode: &str| {
        resolved(&format!(
            "[[domain]]\nname = \"one.test\"\nmode = \"{mode}\"\n\
             [[group]]\nname = \"sales\"\nmembers = [\"bob\"]\nqueue = \"2m\"\notherwise = \"carol\"\n"
        ))
    };
    let queued = group("b2bua");
    let queue = queued.bridges.queues.get("sales").expect("a queue");
    assert_eq!((queue.time, &queue.otherwise), (Duration::from_secs(120), &Some(user("sip:carol@one.test"))));
    assert_eq!(queued.groups[0].otherwise, None);
    // The proxy lets nobody wait.
    let forwarded = group("call");
    assert!(forwarded.bridges.queues.is_empty());
    assert_eq!(forwarded.groups[0].otherwise, Some(user("sip:carol@one.test")));
}

#[test]
fn what_is_wrong_with_a_group_is_said_with_its_place() {
    check(
        "[[group]]\nmembers = [\"bob\"]\n",
        &["1:1: `group`: the key `name` is missing here | add a line like `name = \"sales\"`"],
    );
    check(
        "[[group]]\nname = \"sales\"\n",
        &[
            "1:1: `group`: the key `members` is missing here | add a line like `members = [\"bob\", \"carol\"]`",
        ],
    );
    check(
        "[[group]]\nname = \"a\"\nmembers = [\"bob\"]\n[[group]]\nname = \"b\"\nnumbers = [\"a\"]\nmembers = [\"bob\"]\n",
        &["5:8: `group`: `a` is named twice | keep one of the two and remove the other"],
    );
    check(
        "[[group]]\nname = \"a\"\nmembers = [\"bob\", \"group:none\"]\n",
        &[
            "3:11: `group.members`: expected the name of a group, found `none` | write for example `[[group]]` with two brackets",
        ],
    );
    check(
        "[[group]]\nname = \"a\"\nmembers = [{ who = \"bob\" }]\n",
        &[
            "3:12: `group.members`: expected `to`, `delay` or `ring`, found `who` | write for example \"bob\" or { to = \
           \"bob\", delay = \"5s\", ring = \"20s\" }",
        ],
    );
    check(
        "[[group]]\nname = \"a\"\nmembers = [\"bo b\"]\n",
        &[
            "3:12: `group.members`: expected a user, group:NAME or uri:URI, found `bo b` | write for example \"bob\", \
           \"bob@example.com\", \"group:night\" or \"uri:sip:desk@192.0.2.9\"",
        ],
    );
    check(
        "[[group]]\nname = \"a\"\ndomain = \"else.test\"\nmembers = [\"bob\"]\n",
        &[
            "3:10: `group.domain`: expected a domain of this server, found `else.test` | write for example `[[domain]]` \
           with two brackets",
        ],
    );
}
