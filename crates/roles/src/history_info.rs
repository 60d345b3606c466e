//! History-Info (RFC 7044): where a request was targeted at before it came here, where it went from here, and why it
//! went on.
//!
//! ```text
//!   <sip:bob@b.test>;index=1                                     as it came
//!    +- <sip:x@192.0.2.3?Reason=SIP%3Bcause%3D486>;index=1.1;rc=1    bob's phone was busy
//!    +- <sip:carol@b.test;cause=486>;index=1.2;mp=1                  he forwards to carol
//!        +- <sip:y@192.0.2.4>;index=1.2.1;rc=1.2                     her phone
//! ```
//!
//! What a branch carries is the cache of §9.1: all entries that came, those whose branches have been answered in any
//! way, and the way that leads to this branch.

use dialtone_wire::headers::NameAddr;
use dialtone_wire::uri::{Uri, UriBuf};
use dialtone_wire::{HeaderName, Message, Status};
use smallvec::SmallVec;
use smol_str::{SmolStr, SmolStrBuilder, format_smolstr};

/// The number of an entry among others: `1.2.1`. In their order they are the tree in preorder.
type Index = SmallVec<[u32; 6]>;

/// How the target of an entry was found (§10.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// The same user, at another place.
    SameUser,
    /// Another user.
    Mapped,
    /// The same target.
    Unchanged,
}

impl Mechanism {
    const fn param(self) -> &'static str {
        match self {
            Mechanism::SameUser => "rc",
            Mechanism::Mapped => "mp",
            Mechanism::Unchanged => "np",
        }
    }
}

/// Names an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryId(usize);

#[derive(Debug)]
struct Entry {
    index: Index,
    target: Target,
    /// It is in the cache.
    is_cached: bool,
}

#[derive(Debug)]
enum Target {
    /// As somebody else wrote it: the whole value.
    Came(SmolStr),
    /// Ours; a contact of a 3xx has no mechanism that we know of.
    Made { uri: SmolStr, from: Option<(Mechanism, Index)>, reason: Option<Status> },
}

/// The history of one request.
#[derive(Debug)]
pub(crate) struct History {
    entries: Vec<Entry>,
    /// Whether responses carry it (§9.4).
    goes_back: bool,
    /// Whether the sender wants it hidden from other domains (§10.1.1).
    is_private: bool,
}

/// Whether a request asks for its history, or has one.
pub(crate) fn is_asked_for(request: &Message) -> bool {
    request.has(HeaderName::HistoryInfo) || request.has_token(HeaderName::Supported, "histinfo")
}

/// How often a request was forwarded before it came here: by Diversion (RFC 5806 §4.1, `counter`) or by the entries
/// that say so, whichever says more.
pub(crate) fn forwards_before(request: &Message) -> usize {
    let counter =
        |value: NameAddr<'_>| value.params.value("counter").map_or(1, |text| text.parse().unwrap_or(1));
    let diversions = request.addresses(HeaderName::Diversion).filter_map(Result::ok).map(counter);
    let diversions = diversions.fold(0_usize, usize::saturating_add);
    let is_forward = |entry: &NameAddr<'_>| {
        entry.uri.as_sip().is_some_and(|uri| uri.params.has("cause")) && entry.params.has("mp")
    };
    let entries = request.addresses(HeaderName::HistoryInfo).filter_map(Result::ok).filter(is_forward);
    diversions.max(entries.count())
}

impl History {
    /// The entries of a request, and one for its Request-URI if the last of them is not about it (§9.1); gives that.
    pub(crate) fn of(request: &Message) -> (History, EntryId) {
        let mut entries: Vec<Entry> = Vec::new();
        let mut last_uri = None;
        for value in request.values(HeaderName::HistoryInfo) {
            let (Ok(text), Ok(address)) = (std::str::from_utf8(value), NameAddr::parse(value)) else {
                continue;
            };
            let Some(index) = address.params.value("index").and_then(parse_index) else { continue };
            entries.push(Entry { index, target: Target::Came(SmolStr::new(text)), is_cached: true });
            last_uri = Some(address.uri);
        }
        let is_same = match (&last_uri, request.uri()) {
            (Some(last), Ok(uri)) => is_same_target(last, &uri),
            _ => false,
        };
        if !is_same {
            // §10.3 rule 6: a gap is a zero.
            let index = match entries.last() {
                None => SmallVec::from_slice(&[1]),
                Some(last) => last.index.iter().copied().chain([0]).collect(),
            };
            let target = Target::Made { uri: SmolStr::new(request.uri_text()), from: None, reason: None };
            entries.push(Entry { index, target, is_cached: true });
        }
        let privacy = |word| has_privacy(request, word);
        let history = History {
            goes_back: is_asked_for(request),
            is_private: privacy("history") || privacy("header"),
            entries,
        };
        let last = EntryId(history.entries.len() - 1);
        (history, last)
    }

    /// Whether the sender wants the history hidden from other domains.
    pub(crate) const fn is_private(&self) -> bool {
        self.is_private
    }

    /// Adds an entry below another one: its target, and how that was found, if we know (§10.4).
    pub(crate) fn add(
        &mut self,
        parent: EntryId,
        uri: SmolStr,
        mechanism: impl Into<Option<Mechanism>>,
    ) -> EntryId {
        let above = self.entries[parent.0].index.clone();
        let depth = above.len() + 1;
        let siblings =
            self.entries.iter().filter(|entry| entry.index.len() == depth && entry.index.starts_with(&above));
        let last = siblings.filter_map(|entry| entry.index.last().copied()).max().unwrap_or(0);
        let index = above.iter().copied().chain([last.saturating_add(1)]).collect();
        let from = mechanism.into().map(|mechanism| (mechanism, above));
        let target = Target::Made { uri, from, reason: None };
        self.entries.push(Entry { index, target, is_cached: false });
        EntryId(self.entries.len() - 1)
    }

    /// The branch of an entry was answered, or timed out (§9.3): it is in the cache from now on, and all above it.
    pub(crate) fn answered(&mut self, at: EntryId, status: Status) {
        let index = self.entries[at.0].index.clone();
        for entry in &mut self.entries {
            entry.is_cached |= index.starts_with(&entry.index);
        }
        if status.code() >= 300
            && let Target::Made { reason, .. } = &mut self.entries[at.0].target
        {
            *reason = Some(status);
        }
    }

    /// The values for the branch of an entry, in their order. `is_own` tells the URIs of our domains, which are hidden
    /// where the request `leaves` them and its sender wants that.
    pub(crate) fn values(
        &self,
        at: EntryId,
        leaves: bool,
        is_own: impl Fn(&Uri<'_>) -> bool,
    ) -> Vec<SmolStr> {
        let index = &self.entries[at.0].index;
        let goes = |entry: &&Entry| entry.is_cached || index.starts_with(&entry.index);
        self.written(goes, leaves, is_own)
    }

    /// The values for a response that goes back; those of the response itself are added. `None` when the request did
    /// not ask for any.
    pub(crate) fn values_back(
        &self,
        response: Option<&Message>,
        leaves: bool,
        is_own: impl Fn(&Uri<'_>) -> bool,
    ) -> Option<Vec<SmolStr>> {
        if !self.goes_back {
            return None;
        }
        let mut values = self.written(|entry| entry.is_cached, leaves, is_own);
        for value in response.iter().flat_map(|response| response.values(HeaderName::HistoryInfo)) {
            let index =
                NameAddr::parse(value).ok().and_then(|address| parse_index(address.params.value("index")?));
            let Some(index) = index else { continue };
            if !self.entries.iter().any(|entry| entry.is_cached && entry.index == index)
                && let Ok(text) = std::str::from_utf8(value)
            {
                values.push(SmolStr::new(text));
            }
        }
        Some(values)
    }

    fn written(
        &self,
        goes: impl Fn(&&Entry) -> bool,
        leaves: bool,
        is_own: impl Fn(&Uri<'_>) -> bool,
    ) -> Vec<SmolStr> {
        let mut entries: Vec<&Entry> = self.entries.iter().filter(goes).collect();
        entries.sort_by(|one, other| one.index.cmp(&other.index));
        let hides = |entry: &Entry| leaves && (self.is_private || entry.is_private());
        entries.into_iter().map(|entry| entry.value(hides(entry), &is_own)).collect()
    }
}

/// RFC 3323 §4.2: the values of Privacy stand between semicolons.
fn has_privacy(request: &Message, word: &str) -> bool {
    let text = request.value(HeaderName::Privacy).and_then(|value| std::str::from_utf8(value).ok());
    text.is_some_and(|text| text.split(';').any(|part| part.trim().eq_ignore_ascii_case(word)))
}

/// Whether the last entry is about this Request-URI; headers of the entry do not count.
fn is_same_target(entry: &Uri<'_>, uri: &Uri<'_>) -> bool {
    match (entry, uri) {
        (Uri::Sip(entry), Uri::Sip(uri)) => {
            let bare = dialtone_wire::uri::SipUri { headers: "", ..*entry };
            Uri::Sip(bare).equivalent(&Uri::Sip(*uri))
        }
        _ => entry.equivalent(uri),
    }
}

fn parse_index(text: &str) -> Option<Index> {
    text.split('.')
        .map(|number| number.parse().ok())
        .collect::<Option<Index>>()
        .filter(|index| !index.is_empty())
}

fn write_index(index: &[u32]) -> SmolStr {
    let mut text = SmolStrBuilder::new();
    for (at, number) in index.iter().enumerate() {
        if at > 0 {
            text.push('.');
        }
        text.push_str(&format_smolstr!("{number}"));
    }
    text.finish()
}

/// §10.1.2.
pub(crate) const ANONYMOUS: &str = "<sip:anonymous@anonymous.invalid>";

impl Entry {
    /// Whether who wrote it wants it hidden (§10.1.1): `Privacy=history` stands behind its URI.
    fn is_private(&self) -> bool {
        let Target::Came(value) = &self.target else { return false };
        let Ok(address) = NameAddr::parse(value.as_bytes()) else { return false };
        let headers = address.uri.as_sip().map_or("", |uri| uri.headers);
        headers.split('&').any(|header| header.eq_ignore_ascii_case("Privacy=history"))
    }

    fn value(&self, hides: bool, is_own: &impl Fn(&Uri<'_>) -> bool) -> SmolStr {
        let index = write_index(&self.index);
        match &self.target {
            Target::Came(value) => match NameAddr::parse(value.as_bytes()) {
                Ok(address) if hides && is_own(&address.uri) => {
                    format_smolstr!("{ANONYMOUS}{}", address.params.as_str())
                }
                _ => value.clone(),
            },
            Target::Made { uri, from, reason } => {
                let parsed = UriBuf::parse(uri).ok();
                let hidden = hides && parsed.as_ref().is_some_and(|uri| is_own(&uri.uri()));
                // §5: a tel URI has no place for the reason.
                let is_sip = parsed.as_ref().is_some_and(|uri| uri.uri().as_sip().is_some());
                let reason = reason.filter(|_| is_sip && !hidden).map_or_else(SmolStr::default, |status| {
                    format_smolstr!("?Reason=SIP%3Bcause%3D{}", status.code())
                });
                let from = from.as_ref().map_or_else(SmolStr::default, |(mechanism, index)| {
                    format_smolstr!(";{}={}", mechanism.param(), write_index(index))
                });
                if hidden {
                    format_smolstr!("{ANONYMOUS};index={index}{from}")
                } else {
                    format_smolstr!("<{uri}{reason}>;index={index}{from}")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use dialtone_wire::Limits;

    fn message(uri: &str, lines: &str) -> Message {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1\r\nFrom: <sip:alice@a.test>;tag=a\r\n\
             To: <sip:bob@b.test>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{lines}\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).expect("a request")
    }

    fn own(uri: &Uri<'_>) -> bool {
        uri.as_sip().is_some_and(|uri| uri.host.to_string() == "b.test")
    }

    fn check(values: &[SmolStr], expected: &[&str]) {
        assert_eq!(values.iter().map(SmolStr::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn busy_then_forwarded_is_a_tree_with_causes_and_reasons() {
        let (mut history, root) = History::of(&message("sip:bob@b.test", "Supported: histinfo\r\n"));
        let phone = history.add(root, "sip:x@192.0.2.3".into(), Mechanism::SameUser);
        check(
            &history.values(phone, false, own),
            &["<sip:bob@b.test>;index=1", "<sip:x@192.0.2.3>;index=1.1;rc=1"],
        );
        history.answered(phone, Status::of(486));
        let carol = history.add(root, "sip:carol@b.test;cause=486".into(), Mechanism::Mapped);
        let hers = history.add(carol, "sip:y@192.0.2.4".into(), Mechanism::SameUser);
        let all = [
            "<sip:bob@b.test>;index=1",
            "<sip:x@192.0.2.3?Reason=SIP%3Bcause%3D486>;index=1.1;rc=1",
            "<sip:carol@b.test;cause=486>;index=1.2;mp=1",
            "<sip:y@192.0.2.4>;index=1.2.1;rc=1.2",
        ];
        check(&history.values(hers, true, own), &all);
        check(&history.values_back(None, false, own).expect("it is asked for"), &all[..2]);
        history.answered(hers, Status::of(180));
        check(&history.values_back(None, false, own).expect("it is asked for"), &all);
    }

    #[test]
    fn branches_that_ring_at_once_know_nothing_of_each_other() {
        let (mut history, root) = History::of(&message("sip:bob@b.test", ""));
        let one = history.add(root, "sip:x@192.0.2.3".into(), Mechanism::SameUser);
        let two = history.add(root, "sip:x@192.0.2.4".into(), Mechanism::SameUser);
        check(&history.values(one, false, own)[1..], &["<sip:x@192.0.2.3>;index=1.1;rc=1"]);
        check(&history.values(two, false, own)[1..], &["<sip:x@192.0.2.4>;index=1.2;rc=1"]);
        assert_eq!(history.values_back(None, false, own), None, "nobody asked");
    }

    #[test]
    fn what_came_is_gone_on_with_and_a_gap_is_a_zero() {
        let lines = "History-Info: <sip:sales@a.test>;index=1, <sip:bob@b.test?Privacy=history>;index=1.1;mp=1;x=y\r\n";
        let (mut history, root) = History::of(&message("sip:bob@b.test", lines));
        let phone = history.add(root, "sip:x@192.0.2.3".into(), Mechanism::SameUser);
        check(
            &history.values(phone, false, own),
            &[
                "<sip:sales@a.test>;index=1",
                "<sip:bob@b.test?Privacy=history>;index=1.1;mp=1;x=y",
                "<sip:x@192.0.2.3>;index=1.1.1;rc=1.1",
            ],
        );
        let (mut history, root) = History::of(&message("sip:other@b.test", lines));
        let phone = history.add(root, "sip:x@192.0.2.3".into(), Mechanism::SameUser);
        let values = history.values(phone, false, own);
        check(&values[2..], &["<sip:other@b.test>;index=1.1.0", "<sip:x@192.0.2.3>;index=1.1.0.1;rc=1.1.0"]);
        let (history, root) =
            History::of(&message("sip:bob@b.test", "History-Info: nonsense, <sip:a@b>;index=x\r\n"));
        check(&history.values(root, false, own), &["<sip:bob@b.test>;index=1"]);
    }

    #[test]
    fn a_private_history_is_hidden_where_it_leaves_our_domain_and_only_ours() {
        let lines = "Privacy: id; history\r\nHistory-Info: <sip:sales@a.test>;index=1, <sip:bob@b.test>;index=1.1\r\n";
        let (mut history, root) = History::of(&message("sip:bob@b.test", lines));
        let away = history.add(root, "sip:carol@c.test;cause=302".into(), Mechanism::Mapped);
        check(
            &history.values(away, true, own),
            &[
                "<sip:sales@a.test>;index=1",
                "<sip:anonymous@anonymous.invalid>;index=1.1",
                "<sip:carol@c.test;cause=302>;index=1.1.1;mp=1.1",
            ],
        );
        assert!(history.values(away, false, own)[1].contains("bob"), "not within it");
    }

    #[test]
    fn an_entry_that_is_private_by_itself_is_hidden_where_it_leaves() {
        let lines = "History-Info: <sip:team@b.test?Privacy=history>;index=1;x=y, <sip:bob@b.test>;index=1.1;mp=1\r\n";
        let (history, root) = History::of(&message("sip:bob@b.test", lines));
        check(
            &history.values(root, true, own),
            &["<sip:anonymous@anonymous.invalid>;index=1;x=y", "<sip:bob@b.test>;index=1.1;mp=1"],
        );
        assert!(history.values(root, false, own)[0].contains("team"));
    }

    #[test]
    fn forwardings_of_others_are_counted() {
        let count = |lines: &str| forwards_before(&message("sip:bob@b.test", lines));
        assert_eq!(count(""), 0);
        assert_eq!(count("Diversion: <sip:a@a>;counter=3;reason=no-answer, <sip:b@b>\r\n"), 4);
        assert_eq!(count("Diversion: <sip:a@a>;counter=99999999999999999999999999\r\n"), 1);
        assert_eq!(
            count(
                "History-Info: <sip:a@a>;index=1, <sip:b@b;cause=302>;index=1.1;mp=1\r\nDiversion: <sip:a@a>\r\n"
            ),
            1
        );
    }

    #[test]
    fn entries_of_a_response_that_we_do_not_have_go_back_too() {
        let (mut history, root) = History::of(&message("sip:bob@b.test", "Supported: histinfo\r\n"));
        let phone = history.add(root, "sip:x@192.0.2.3".into(), Mechanism::SameUser);
        history.answered(phone, Status::of(200));
        let response =
            message("sip:b@b", "History-Info: <sip:bob@b.test>;index=1, <sip:z@z>;index=1.1.1;rc=1.1\r\n");
        let values = history.values_back(Some(&response), false, own).expect("it is asked for");
        check(&values[1..], &["<sip:x@192.0.2.3>;index=1.1;rc=1", "<sip:z@z>;index=1.1.1;rc=1.1"]);
    }
}
