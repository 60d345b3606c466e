//! What callers ask for: which of the callee's phones (RFC 3841 §7.2, with what the phones said of themselves, RFC
//! 3840), and how they are tried (RFC 3841 §9.1).

use dialtone_wire::headers::Params;
use dialtone_wire::{HeaderName, Message};
use smallvec::SmallVec;

/// Values of Accept-Contact, and of Reject-Contact, that are looked at.
const PREDICATES_MAX: usize = 16;
/// Features of one of them that are looked at.
const FEATURES_MAX: usize = 32;

/// The feature parameters that need no plus (RFC 3841 §7.2.1).
pub(crate) const BASE: [&str; 20] = [
    "audio",
    "automata",
    "class",
    "duplex",
    "data",
    "control",
    "mobility",
    "description",
    "events",
    "priority",
    "methods",
    "extensions",
    "schemes",
    "application",
    "video",
    "language",
    "type",
    "isfocus",
    "actor",
    "text",
];

/// What a request says about the phones that it is for.
#[derive(Debug)]
pub(super) struct Preferences<'a> {
    accept: SmallVec<[Predicate<'a>; 1]>,
    reject: SmallVec<[Predicate<'a>; 1]>,
    /// The caller said none of it: it only follows from the request.
    is_implicit: bool,
}

/// One value of Accept-Contact or Reject-Contact: a conjunction of features.
#[derive(Debug)]
struct Predicate<'a> {
    features: SmallVec<[Feature<'a>; 2]>,
    require: bool,
    explicit: bool,
}

/// A feature tag, and values of which one is meant.
#[derive(Clone, Copy, Debug)]
struct Feature<'a> {
    /// Without a plus.
    tag: &'a str,
    is_base: bool,
    /// `None` stands for TRUE.
    value: Option<&'a str>,
}

/// One value of a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Filter<'a> {
    /// Compared in any case.
    Token(&'a str),
    /// Compared as it is.
    Text(&'a str),
    /// From the first to the last.
    Number(f64, f64),
}

impl<'a> Preferences<'a> {
    /// What a request asks for; where it says nothing, what follows from its method and event package (§7.2.2).
    pub(super) fn of(request: &'a Message) -> Preferences<'a> {
        let all = |name| request.values(name).take(PREDICATES_MAX).filter_map(Predicate::read).collect();
        let accept: SmallVec<[Predicate<'a>; 1]> = all(HeaderName::AcceptContact);
        let reject: SmallVec<[Predicate<'a>; 1]> = all(HeaderName::RejectContact);
        let is_implicit = accept.is_empty() && reject.is_empty();
        let mut preferences = Preferences { accept, reject, is_implicit };
        if is_implicit {
            let method = request.method().map(|method| method.as_str());
            let event = request.value(HeaderName::Event).and_then(|event| std::str::from_utf8(event).ok());
            let event = event.map(|event| event.split(';').next().unwrap_or(event).trim());
            let features = [("methods", method), ("events", event)].into_iter();
            let features = features.filter(|(_, value)| value.is_some()).map(|(tag, value)| Feature {
                tag,
                is_base: true,
                value,
            });
            let features = features.collect();
            preferences.accept.push(Predicate { features, require: true, explicit: false });
        }
        preferences
    }

    /// How well a phone that said this of itself fits, in thousandths; `None` when it is not to be asked. Who says
    /// nothing of himself is immune (§7.2.3).
    pub(super) fn judge(&self, params: &str) -> Option<u16> {
        const ALL: u32 = 1000;
        let own: SmallVec<[Feature<'_>; 8]> = match Params::parse(params) {
            Some(params) if !params.as_str().is_empty() => {
                params.iter().filter_map(Feature::read).take(FEATURES_MAX).collect()
            }
            _ => SmallVec::new(),
        };
        if own.is_empty() {
            return Some(1000);
        }
        let has = |feature: &Feature<'_>| own.iter().find(|other| other.is_same(feature));
        let matches = |predicate: &Predicate<'_>| {
            predicate.features.iter().all(|feature| has(feature).is_none_or(|own| own.overlaps(feature)))
        };
        // Only phones that said that they have what is not wanted are rejected.
        let is_explicit = |predicate: &Predicate<'_>| predicate.features.iter().all(|it| has(it).is_some());
        if self.reject.iter().any(|predicate| is_explicit(predicate) && matches(predicate)) {
            return None;
        }
        let (mut sum, mut count) = (0, 0);
        for predicate in &self.accept {
            if !matches(predicate) {
                if predicate.require {
                    return None;
                }
                continue;
            }
            let said = predicate.features.iter().filter(|feature| has(feature).is_some()).count();
            let terms = predicate.features.len();
            let mut score = if terms == 0 { ALL } else { ALL * said as u32 / terms as u32 };
            if predicate.explicit && score < ALL {
                if predicate.require {
                    return None;
                }
                score = 0;
            }
            sum += score;
            count += 1;
        }
        // Nobody who calls without a wish waits for a second phone, since the first one told more of itself.
        match (self.accept.is_empty() || self.is_implicit, count) {
            (true, _) => Some(1000),
            (false, 0) => Some(0),
            (false, count) => u16::try_from(sum / count).ok(),
        }
    }
}

impl<'a> Predicate<'a> {
    fn read(value: &'a [u8]) -> Option<Predicate<'a>> {
        let text = std::str::from_utf8(value).ok()?.trim().strip_prefix('*')?;
        let params = Params::parse(text)?;
        let features = params.iter().filter_map(Feature::read).take(FEATURES_MAX).collect();
        Some(Predicate { features, require: params.has("require"), explicit: params.has("explicit") })
    }
}

impl<'a> Feature<'a> {
    fn read((name, value): (&'a str, Option<&'a str>)) -> Option<Feature<'a>> {
        let is_base = |name: &str| BASE.iter().any(|base| base.eq_ignore_ascii_case(name));
        match name.strip_prefix('+') {
            // §8: `+sip.audio` would be `audio`.
            Some(tag) => {
                let base = tag.get(..4).filter(|start| start.eq_ignore_ascii_case("sip.")).map(|_| &tag[4..]);
                match base.filter(|base| is_base(base)) {
                    Some(base) => Some(Feature { tag: base, is_base: true, value }),
                    None => Some(Feature { tag, is_base: false, value }),
                }
            }
            None => is_base(name).then_some(Feature { tag: name, is_base: true, value }),
        }
    }

    fn is_same(&self, other: &Feature<'_>) -> bool {
        self.is_base == other.is_base && self.tag.eq_ignore_ascii_case(other.tag)
    }

    /// Whether something has both: RFC 2533 says that they match.
    fn overlaps(&self, other: &Feature<'_>) -> bool {
        self.filters().any(|one| other.filters().any(|two| can_be_both(one, two)))
    }

    /// The values, each with whether it is meant or everything but it.
    fn filters(&self) -> impl Iterator<Item = (bool, Filter<'a>)> {
        let text = self.value.unwrap_or("TRUE");
        let is_text = text.starts_with('<') && text.ends_with('>') && text.len() > 1;
        let (whole, list) = if is_text { (Some(&text[1..text.len() - 1]), "") } else { (None, text) };
        let whole = whole.map(|text| (true, Filter::Text(text)));
        let values = list.split(',').map(str::trim).filter(|value| !value.is_empty());
        whole.into_iter().chain(values.map(|value| match value.strip_prefix('!') {
            Some(value) => (false, filter(value)),
            None => (true, filter(value)),
        }))
    }
}

fn filter(value: &str) -> Filter<'_> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let read = || {
        let text = value.strip_prefix('#')?;
        if let Some(least) = text.strip_prefix(">=") {
            return Some(Filter::Number(number(least)?, f64::INFINITY));
        }
        if let Some(most) = text.strip_prefix("<=") {
            return Some(Filter::Number(f64::NEG_INFINITY, number(most)?));
        }
        if let Some(exact) = text.strip_prefix('=') {
            return Some(Filter::Number(number(exact)?, number(exact)?));
        }
        let (least, most) = text.split_once(':')?;
        Some(Filter::Number(number(least)?, number(most)?))
    };
    read().unwrap_or(Filter::Token(value))
}

fn can_be_both((is_one, one): (bool, Filter<'_>), (is_two, two): (bool, Filter<'_>)) -> bool {
    let within = |inner: Filter<'_>, outer: Filter<'_>| match (inner, outer) {
        (Filter::Token(one), Filter::Token(two)) => one.eq_ignore_ascii_case(two),
        (Filter::Text(one), Filter::Text(two)) => one == two,
        (Filter::Number(least, most), Filter::Number(from, to)) => from <= least && most <= to,
        _ => false,
    };
    match (is_one, is_two) {
        (true, true) => match (one, two) {
            (Filter::Number(least, most), Filter::Number(from, to)) => least <= to && from <= most,
            _ => within(one, two),
        },
        (true, false) => !within(one, two),
        (false, true) => !within(two, one),
        (false, false) => true,
    }
}

/// How a request wants to be tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Disposition {
    /// At one phone only: the best.
    pub(super) no_fork: bool,
    /// At one after the other, whatever their q.
    pub(super) sequential: bool,
    /// At all at once, whatever their q.
    pub(super) parallel: bool,
    /// Without CANCEL to the others once one has answered.
    pub(super) no_cancel: bool,
    /// 3xx are the caller's to follow.
    pub(super) no_recurse: bool,
}

impl Disposition {
    /// What a request asks for. `redirect` is not obeyed: it would tell any caller where our users are.
    pub(super) fn of(request: &Message) -> Disposition {
        let mut wanted = Disposition::default();
        for value in request.values(HeaderName::RequestDisposition).take(PREDICATES_MAX) {
            match value.to_ascii_lowercase().as_slice() {
                b"no-fork" => wanted.no_fork = true,
                b"sequential" => wanted.sequential = true,
                b"parallel" => wanted.parallel = true,
                b"no-cancel" => wanted.no_cancel = true,
                b"no-recurse" => wanted.no_recurse = true,
                _ => {}
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dialtone_wire::Limits;

    fn request(lines: &str) -> Message {
        let text = format!(
            "INVITE sip:b@x.test SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@x.test>;tag=a\r\n\
             To: <sip:b@x.test>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.into_bytes().into(), &Limits::default()).expect("a request")
    }

    #[track_caller]
    fn check(lines: &str, contact: &str, expected: Option<u16>) {
        let request = request(lines);
        assert_eq!(Preferences::of(&request).judge(contact), expected, "{lines}{contact}");
    }

    /// RFC 3841 §7.2.5.
    #[test]
    fn the_example_of_the_rfc_comes_out_as_it_says() {
        let lines = "Reject-Contact: *;actor=\"msg-taker\";video\r\nAccept-Contact: *;audio;require\r\n\
                     Accept-Contact: *;video;explicit\r\nAccept-Contact: *;methods=\"BYE\";class=\"business\";q=1.0\r\n";
        check(lines, ";audio;video;methods=\"INVITE,BYE\"", Some(833));
        check(lines, ";audio=\"FALSE\";methods=\"INVITE\";actor=\"msg-taker\"", None);
        check(lines, ";audio;actor=\"msg-taker\";methods=\"INVITE\";video", None);
        check(lines, ";audio;methods=\"INVITE,OPTIONS\"", Some(500));
        check(lines, "", Some(1000));
    }

    #[test]
    fn without_preferences_the_method_is_one() {
        check("", ";methods=\"INVITE,BYE\"", Some(1000));
        check("", ";methods=\"MESSAGE\"", None);
        check("", ";audio", Some(1000));
        check("Event: presence;id=1\r\n", ";methods=\"INVITE\";events=\"dialog,presence\"", Some(1000));
        check("Event: presence\r\n", ";methods=\"INVITE\";events=\"dialog\"", None);
    }

    #[test]
    fn require_and_explicit_do_what_the_figure_of_the_rfc_draws() {
        // Nothing is said about video: a match, and no explicit one.
        check("Accept-Contact: *;video\r\n", ";audio", Some(0));
        check("Accept-Contact: *;video;require\r\n", ";audio", Some(0));
        check("Accept-Contact: *;video;audio;explicit\r\n", ";audio", Some(0));
        check("Accept-Contact: *;video;explicit;require\r\n", ";audio", None);
        check("Accept-Contact: *;video\r\n", ";video=\"FALSE\"", Some(0));
        check("a: *;video;require\r\n", ";video=\"FALSE\"", None);
        check("Accept-Contact: *;video;explicit;require\r\n", ";video", Some(1000));
    }

    #[test]
    fn only_what_a_phone_said_of_itself_is_rejected() {
        check("Reject-Contact: *;automata\r\n", ";automata", None);
        check("j: *;automata\r\n", ";audio", Some(1000));
        check("Reject-Contact: *;automata;video\r\n", ";automata", Some(1000));
    }

    #[test]
    fn values_are_tokens_texts_numbers_and_what_they_are_not() {
        let require = |feature: &str| format!("Accept-Contact: *;{feature};require;explicit\r\n");
        for (asked, said, fits) in [
            ("mobility=\"fixed\"", ";mobility=\"FIXED\"", true),
            ("mobility=\"!fixed\"", ";mobility=\"fixed\"", false),
            ("mobility=\"!fixed\"", ";mobility=\"mobile\"", true),
            ("language=\"en,de\"", ";language=\"fr,de\"", true),
            ("language=\"en\"", ";language=\"fr,de\"", false),
            ("+sip.instance=\"<urn:uuid:A>\"", ";+sip.instance=\"<urn:uuid:A>\"", true),
            ("+sip.instance=\"<urn:uuid:A>\"", ";+sip.instance=\"<urn:uuid:a>\"", false),
            ("priority=\"#>=3\"", ";priority=\"#<=2\"", false),
            ("priority=\"#>=3\"", ";priority=\"#2:4\"", true),
            ("priority=\"#=2.5\"", ";priority=\"#2:4\"", true),
            ("priority=\"!#=2\"", ";priority=\"#=2\"", false),
            ("priority=\"#x\"", ";priority=\"#x\"", true),
            ("+sip.audio", ";audio", true),
            ("+x.audio", ";audio", false),
        ] {
            check(&require(asked), said, fits.then_some(1000));
        }
    }

    #[test]
    fn what_is_malformed_asks_for_nothing() {
        for lines in ["Accept-Contact: audio;require\r\n", "Accept-Contact: \r\n", "Reject-Contact: *;\"\r\n"]
        {
            check(lines, ";automata;methods=\"INVITE\"", Some(1000));
        }
    }

    #[test]
    fn dispositions_are_read_in_any_case_and_in_both_forms() {
        let both = Disposition { no_fork: true, no_recurse: true, ..Disposition::default() };
        assert_eq!(Disposition::of(&request("Request-Disposition: No-Fork, proxy, no-recurse\r\n")), both);
        let both = Disposition { sequential: true, no_cancel: true, ..Disposition::default() };
        assert_eq!(Disposition::of(&request("d: sequential\r\nd: no-cancel\r\n")), both);
        assert_eq!(Disposition::of(&request("")), Disposition::default());
    }
}
