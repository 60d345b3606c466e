//! What users have done with their calls: told and changed through the shard that owns the user.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use dialtone_roles::io::ChangeOutcome;
use dialtone_roles::services::{
    Change, Choice, Choices, ForwardKind, NO_ANSWER_AFTER, Services, TARGET_BYTES, aor, is_target,
};
use dialtone_roles::{Settings, shard_of_aor};
use dialtone_wire::Status;
use serde_json::{Map, Value, json};
use smol_str::SmolStr;

use super::handler::Refused;
use super::shards::{ask, next, place};
use crate::inbox::Sender;
use crate::shard::Word;

/// How long a change may take: it is written to the disk.
const PATIENCE: Duration = Duration::from_secs(6);

const AFTER: &str = "no_answer_after_s";
const DO_NOT_DISTURB: &str = "do_not_disturb";

/// What holds for a user, and what was chosen for him.
pub(crate) fn told(
    settings: &Settings,
    shards: &[Sender<Word>],
    user: &str,
    domain: &str,
) -> Result<Value, Refused> {
    let aor = aor(user, domain);
    let shard = owner(settings, shards, &aor)?;
    let (to, from) = sync_channel(1);
    let (choices, services) = ask(shard, Word::Services { aor: aor.clone(), to }, &from)?;
    Ok(json!({"aor": aor.as_str(), "services": holds(&services), "chosen": chosen(&choices)}))
}

/// Makes the changes of a request, all of them or none.
pub(crate) fn change(
    settings: &Settings,
    shards: &[Sender<Word>],
    (user, domain): (&str, &str),
    request: &Value,
) -> Result<(), Refused> {
    let changes = request["changes"].as_object().filter(|changes| !changes.is_empty());
    let changes =
        changes.ok_or_else(|| Refused::bad("expected `changes`: an object with one service or more"))?;
    let changes = changes.iter().map(|(name, value)| read(name, value)).collect::<Result<_, _>>()?;
    give(settings, shards, aor(user, domain), changes)
}

fn give(
    settings: &Settings,
    shards: &[Sender<Word>],
    aor: SmolStr,
    changes: Vec<Change>,
) -> Result<(), Refused> {
    let shard = owner(settings, shards, &aor)?;
    let (to, from) = sync_channel(1);
    let busy = || Refused { code: "busy", message: "a shard is too busy to tell: ask again".to_owned() };
    shard.send(Word::ChangeServices { aor, changes, to }).map_err(|_| busy())?;
    match from.recv_timeout(PATIENCE).map_err(|_| busy())? {
        ChangeOutcome::Done => Ok(()),
        ChangeOutcome::Full => {
            let message = "as many users have chosen services as may: raise limits.services".to_owned();
            Err(Refused { code: "full", message })
        }
        _ => {
            let message = "it could not be written to the data folder: nothing has changed".to_owned();
            Err(Refused { code: "store", message })
        }
    }
}

/// A page of the users who chose something.
pub(crate) fn page(shards: &[Sender<Word>], after: Option<&str>, limit: usize) -> Result<Value, Refused> {
    let (number, shard, rest) = place(shards, after)?;
    let after = Some(SmolStr::new(rest)).filter(|after| !after.is_empty());
    let (to, from) = sync_channel(1);
    let page = ask(shard, Word::ServicesPage { after, count: limit, to }, &from)?;
    let entry = |entry: &dialtone_roles::listing::ListedServices| json!({"aor": entry.aor.as_str(), "chosen": chosen(&entry.choices)});
    let entries: Vec<Value> = page.entries.iter().map(entry).collect();
    Ok(json!({"users": entries, "next": next(number, shards.len(), page.next.map(String::from))}))
}

fn owner<'a>(
    settings: &Settings,
    shards: &'a [Sender<Word>],
    aor: &str,
) -> Result<&'a Sender<Word>, Refused> {
    let number = usize::from(shard_of_aor(settings, aor));
    let message = "no server runs on this data folder".to_owned();
    shards.get(number).ok_or(Refused { code: "not-running", message })
}

/// One service of a request: a value switches it on, `false` off, `null` leaves it to the settings file.
fn read(name: &str, value: &Value) -> Result<Change, Refused> {
    let bad = |expected: &str| Refused::bad(&format!("expected {expected} for `{name}`"));
    if name == AFTER {
        let after = value.as_u64().map(Duration::from_secs);
        return match (value, after.filter(|after| NO_ANSWER_AFTER.contains(after))) {
            (Value::Null, _) => Ok(Change::NoAnswerAfter(None)),
            (_, Some(after)) => Ok(Change::NoAnswerAfter(Some(after))),
            (_, None) => Err(bad("1 to 180, or null")),
        };
    }
    if name == DO_NOT_DISTURB {
        return Ok(Change::DoNotDisturb(match (value, value.as_u64()) {
            (Value::Null, _) => Choice::AsConfigured,
            (Value::Bool(false), _) => Choice::Off,
            (_, Some(480)) => Choice::On(Status::of(480)),
            (_, Some(486)) => Choice::On(Status::of(486)),
            (_, Some(603)) => Choice::On(Status::of(603)),
            _ => return Err(bad("480, 486, 603, false or null")),
        }));
    }
    let kind = ForwardKind::ALL.into_iter().find(|kind| kind.word() == name);
    let kind = kind.ok_or_else(|| Refused::bad(&format!("there is no service `{name}`")))?;
    Ok(Change::Forward(
        kind,
        match value {
            Value::Null => Choice::AsConfigured,
            Value::Bool(false) => Choice::Off,
            Value::String(to) if to.len() <= TARGET_BYTES && is_target(to) => Choice::On(to.as_str().into()),
            _ => return Err(bad("a number, a user or a SIP URI, false or null")),
        },
    ))
}

fn holds(services: &Services) -> Value {
    let Services { always, busy, no_answer, no_answer_after, not_reachable, do_not_disturb } = services;
    json!({
        "always": always.as_deref(),
        "busy": busy.as_deref(),
        "no_answer": no_answer.as_deref(),
        AFTER: no_answer_after.map(|after| after.as_secs()),
        "not_reachable": not_reachable.as_deref(),
        DO_NOT_DISTURB: do_not_disturb.map(Status::code),
    })
}

/// What was chosen, in the words of a request; what was not is left out.
fn chosen(choices: &Choices) -> Value {
    let mut object = Map::new();
    for kind in ForwardKind::ALL {
        match choices.forward(kind) {
            Choice::AsConfigured => None,
            Choice::Off => object.insert(kind.word().to_owned(), json!(false)),
            Choice::On(to) => object.insert(kind.word().to_owned(), json!(to.as_str())),
        };
    }
    if let Some(after) = choices.no_answer_after {
        object.insert(AFTER.to_owned(), json!(after.as_secs()));
    }
    match choices.do_not_disturb {
        Choice::AsConfigured => None,
        Choice::Off => object.insert(DO_NOT_DISTURB.to_owned(), json!(false)),
        Choice::On(status) => object.insert(DO_NOT_DISTURB.to_owned(), json!(status.code())),
    };
    Value::Object(object)
}
