//! The documents of the event package reg against the schema of RFC 3680 §5.3, read by an XML parser that is not ours.

use roxmltree::{Document, Node};

const NAMESPACE: &str = "urn:ietf:params:xml:ns:reginfo";

/// What an attribute may hold.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Uri,
    Word(&'static [&'static str]),
}

/// An element: its name, its attributes (with whether they must be there), and its children in their order, each with the
/// least and the most of them.
struct Element {
    name: &'static str,
    attributes: &'static [(&'static str, Kind, bool)],
    children: &'static [(&'static str, usize, usize)],
    /// Whether it holds text, and not only white space.
    has_text: bool,
}

const MANY: usize = usize::MAX;

/// The schema, written down.
const SCHEMA: [Element; 6] = [
    Element {
        name: "reginfo",
        attributes: &[("version", Kind::Number, true), ("state", Kind::Word(&["full", "partial"]), true)],
        children: &[("registration", 0, MANY)],
        has_text: false,
    },
    Element {
        name: "registration",
        attributes: &[
            ("aor", Kind::Uri, true),
            ("id", Kind::Text, true),
            ("state", Kind::Word(&["init", "active", "terminated"]), true),
        ],
        children: &[("contact", 0, MANY)],
        has_text: false,
    },
    Element {
        name: "contact",
        attributes: &[
            ("state", Kind::Word(&["active", "terminated"]), true),
            (
                "event",
                Kind::Word(&[
                    "registered",
                    "created",
                    "refreshed",
                    "shortened",
                    "expired",
                    "deactivated",
                    "probation",
                    "unregistered",
                    "rejected",
                ]),
                true,
            ),
            ("duration-registered", Kind::Number, false),
            ("expires", Kind::Number, false),
            ("retry-after", Kind::Number, false),
            ("id", Kind::Text, true),
            ("q", Kind::Text, false),
            ("callid", Kind::Text, false),
            ("cseq", Kind::Number, false),
        ],
        children: &[("uri", 1, 1), ("display-name", 0, 1), ("unknown-param", 0, MANY)],
        has_text: false,
    },
    Element { name: "uri", attributes: &[], children: &[], has_text: true },
    Element { name: "display-name", attributes: &[], children: &[], has_text: true },
    Element {
        name: "unknown-param",
        attributes: &[("name", Kind::Text, true)],
        children: &[],
        has_text: true,
    },
];

/// Panics unless this is a document as the schema has it.
pub(crate) fn check(body: &[u8]) {
    if let Err(problem) = judge(body) {
        panic!("{problem}:\n{}", String::from_utf8_lossy(body));
    }
}

/// The URIs and Call-IDs of the contacts, as the parser reads them.
pub(crate) fn contacts(body: &[u8]) -> Vec<(String, String)> {
    let text = std::str::from_utf8(body).unwrap();
    let document = Document::parse(text).unwrap();
    let contacts = document.descendants().filter(|node| node.has_tag_name((NAMESPACE, "contact")));
    let of = |contact: Node<'_, '_>| {
        let uri = contact.first_element_child().and_then(|uri| uri.text()).unwrap_or_default();
        (uri.to_owned(), contact.attribute("callid").unwrap_or_default().to_owned())
    };
    contacts.map(of).collect()
}

fn judge(body: &[u8]) -> Result<(), String> {
    // RFC 3680 §8: "application/reginfo+xml" is UTF-8 unless it says otherwise.
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if root.tag_name().name() != "reginfo" {
        return Err(format!("the root is {:?}", root.tag_name()));
    }
    element(root)
}

fn element(node: Node<'_, '_>) -> Result<(), String> {
    let name = node.tag_name().name();
    if node.tag_name().namespace() != Some(NAMESPACE) {
        return Err(format!("<{name}> is of another namespace"));
    }
    let Some(schema) = SCHEMA.iter().find(|element| element.name == name) else {
        return Err(format!("there is no <{name}>"));
    };
    for attribute in node.attributes() {
        let (known, value) = (attribute.name(), attribute.value());
        let Some((_, kind, _)) = schema.attributes.iter().find(|(name, _, _)| *name == known) else {
            return Err(format!("<{name}> has no {known}"));
        };
        let is_right = match kind {
            Kind::Text => true,
            Kind::Number => value.parse::<u64>().is_ok() && !value.starts_with('+'),
            Kind::Uri => value.contains(':') && !value.contains(char::is_whitespace),
            Kind::Word(words) => words.contains(&value),
        };
        if !is_right {
            return Err(format!("{known} of <{name}> is {value:?}"));
        }
    }
    let has = |wanted: &str| node.has_attribute(wanted);
    if let Some((missing, _, _)) = schema.attributes.iter().find(|(name, _, must)| *must && !has(name)) {
        return Err(format!("<{name}> lacks {missing}"));
    }
    let text = |node: Node<'_, '_>| node.is_text() && !node.text().unwrap_or_default().trim().is_empty();
    if node.children().any(text) != schema.has_text {
        return Err(format!("the text of <{name}> is out of place or missing"));
    }
    let children: Vec<Node<'_, '_>> = node.children().filter(Node::is_element).collect();
    let mut rest = &children[..];
    for (wanted, least, most) in schema.children {
        let count = rest.iter().take_while(|child| child.tag_name().name() == *wanted).count();
        if !(*least..=*most).contains(&count) {
            return Err(format!("<{name}> has {count} of <{wanted}>"));
        }
        rest = &rest[count..];
    }
    match rest.first() {
        Some(child) => Err(format!("<{name}> has <{}> out of place", child.tag_name().name())),
        None => children.into_iter().try_for_each(element),
    }
}

#[test]
fn documents_that_break_the_schema_are_found() {
    let right = "<?xml version=\"1.0\"?>\n<reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"0\" state=\"full\">\
                 <registration aor=\"sip:a@b\" id=\"r\" state=\"active\"><contact id=\"c\" state=\"active\" \
                 event=\"registered\" cseq=\"7\"><uri>sip:a@c</uri></contact></registration></reginfo>";
    judge(right.as_bytes()).unwrap();
    for (old, new) in [
        ("ns:reginfo", "ns:other"),
        (" version=\"0\"", ""),
        ("version=\"0\"", "version=\"-1\""),
        ("\"full\"", "\"whole\""),
        ("aor=", "AOR="),
        ("sip:a@b", "sip:a & b"),
        ("\"registered\"", "\"gone\""),
        ("<uri>sip:a@c</uri>", ""),
        ("<uri>sip:a@c</uri>", "<uri>sip:a@c</uri><uri>sip:a@d</uri>"),
        ("<uri>sip:a@c</uri>", "<display-name>A</display-name><uri>sip:a@c</uri>"),
        ("<contact", "words<contact"),
        ("sip:a@c<", "sip:<a@c<"),
        ("</reginfo>", ""),
        ("id=\"c\"", "id=\"c\" id=\"d\""),
    ] {
        assert!(right.contains(old), "{old}");
        assert!(judge(right.replacen(old, new, 1).as_bytes()).is_err(), "{old} -> {new}");
    }
}
