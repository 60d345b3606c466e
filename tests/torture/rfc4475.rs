//! The verdicts on the 49 messages of RFC 4475, in the order of its sections.

use dialtone_wire::headers::{TypedHeader, Via};
use dialtone_wire::net::Transport;
use dialtone_wire::{HeaderName, Message, Method, Status};

use crate::values::*;
use crate::verdict::{Row, Verdict::*};

const START_LINE: &str = "the start line is neither `METHOD URI SIP/2.0` nor `SIP/2.0 CODE REASON`";

fn nothing(_: &Message) {}

pub(crate) const FOLDER: &str = "rfc4475";

pub(crate) const ROWS: &[Row] = &[
    Row {
        file: "wsinv.dat",
        section: "3.1.1.1",
        title: "A Short Tortuous INVITE",
        verdict: Accepted,
        reason: "Well-formed for all elements: folds, white space, mixed forms of names; a header that is not known \
                 is not read as a list, whatever its value looks like.",
        values: |m| {
            assert_eq!(request_uri(m).user, Some("vivekg"));
            assert!(request_uri(m).params.has("unknownparam"));
            assert_eq!(to(m).tag(), Some("1918181833n"));
            assert_eq!(from(m).display_name().as_deref(), Some("J Rosenberg \\\""));
            assert_eq!(from(m).tag(), Some("98asjd8"));
            assert_eq!(m.max_forwards(), Ok(Some(68)));
            assert_eq!(m.call_id(), Ok("wsinv.ndaksdj@192.0.2.1"));
            assert_eq!(m.cseq().map(|cseq| (cseq.number, cseq.method)), Ok((9, Method::Invite)));
            assert_eq!(value(m, HeaderName::Subject), "");
            assert_eq!(via_hosts(m), ["192.0.2.2", "spindle.example.com", "192.168.255.111"]);
            assert_eq!(m.via().map(|via| via.branch()), Ok(Some("390skdjuw")));
            let last = m.values(HeaderName::Via).nth(2).expect("three Vias");
            assert_eq!(Via::parse(last).map(|via| via.rfc3261_branch()), Ok(Some("z9hG4bK30239")));
            assert_eq!(m.value_by_text("UnknownHeaderWithUnusualValue"), Some(&b";;,,;;,;"[..]));
            let route = m.addresses(HeaderName::Route).next().expect("a Route").expect("a legal one");
            assert!(sip(&route).is_loose_router());
            assert_eq!(sip(&route).params.find("unknown-no-value"), Some(None));
            let contact = contacts(m)[0];
            assert_eq!(contact.display_name().as_deref(), Some("Quoted string \"\""));
            assert_eq!(contact.params.value("q"), Some("0.33"));
            assert_eq!(contact.params.value("newparam"), Some("newvalue"));
            assert_eq!(contact.params.find("secondparam"), Some(None));
            assert_eq!(m.body().len(), 150);
        },
    },
    Row {
        file: "intmeth.dat",
        section: "3.1.1.2",
        title: "Wide Range of Valid Characters",
        verdict: Accepted,
        reason: "Well-formed: each character stands where its grammar allows it, NUL behind a backslash too. A user \
                 agent answers 501; a proxy forwards it or answers 404.",
        values: |m| {
            const METHOD: &str = "!interesting-Method0123456789_*+`.%indeed'~";
            assert_eq!(m.method().map(Method::as_str), Some(METHOD));
            assert_eq!(m.cseq().map(|cseq| cseq.method.as_str() == METHOD), Ok(true));
            assert_eq!(request_uri(m).user, Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
            assert_eq!(request_uri(m).password, Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
            assert_eq!(request_uri(m).host.to_string(), "example.com");
            assert_eq!(m.via().map(|via| via.branch()), Ok(Some("z9hG4bK-.!%66*_+`'~")));
            assert_eq!(to(m).display_name().as_deref(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
            assert_eq!(from(m).display_name().as_deref(), Some("token1~` token2'+_ token3*%!.-"));
            assert_eq!(from(m).params.value("fromParam''~+*_!.-%"), Some("работающий"));
            assert_eq!(from(m).tag(), Some("_token~1'+`*%!-."));
            assert_eq!(m.call_id(), Ok(r#"intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{"#));
            assert_eq!(m.max_forwards(), Ok(Some(255)));
            let unknown = m.value_by_text("extensionHeader-!.%*+_`'~").expect("it stands");
            assert_eq!(std::str::from_utf8(unknown), Ok("\u{feff}大停電"));
        },
    },
    Row {
        file: "esc01.dat",
        section: "3.1.1.3",
        title: "Valid Use of the % Escaping Mechanism",
        verdict: Accepted,
        reason: "Well-formed: escapes of URIs equal their characters and are undone once, never twice.",
        values: |m| {
            assert_eq!(request_uri(m).user_unescaped().as_deref(), Some("sips:user@example.com"));
            assert_eq!(request_uri(m).host.to_string(), "example.net");
            assert_eq!(user(&to(m)), "user");
            assert_eq!(user(&from(m)), "I have spaces");
            let contact = sip(&contacts(m)[0]);
            assert_eq!(contact.user_unescaped().as_deref(), Some("caller"));
            assert!(contact.is_loose_router());
            assert_eq!(
                contact.params.value("name").map(dialtone_wire::uri::unescape).as_deref(),
                Some("value%41")
            );
        },
    },
    Row {
        file: "escnull.dat",
        section: "3.1.1.4",
        title: "Escaped Nulls in URIs",
        verdict: Accepted,
        reason: "Well-formed: an escaped NUL cuts no name short, and the two Contacts differ.",
        values: |m| {
            assert_eq!(user(&to(m)), "null-\0-null");
            let contacts = contacts(m);
            assert_eq!(contacts.iter().map(user).collect::<Vec<_>>(), ["\0", "\0\0"]);
            assert!(!contacts[0].uri.equivalent(&contacts[1].uri));
        },
    },
    Row {
        file: "esc02.dat",
        section: "3.1.1.5",
        title: "Use of % When It Is Not an Escape",
        verdict: Accepted,
        reason: "Well-formed: outside URIs % is a character. The method is not REGISTER, the header C%6Fntact is not \
                 Contact. A user agent answers 501.",
        values: |m| {
            assert_eq!(m.method().map(Method::as_str), Some("RE%47IST%45R"));
            assert_eq!(to(m).display_name().as_deref(), Some("%Z%45"));
            assert_eq!(from(m).display_name().as_deref(), Some("%Z%45"));
            assert_eq!(contacts(m).iter().map(user).collect::<Vec<_>>(), ["alias1", "alias3"]);
            assert!(m.value_by_text("C%6Fntact").is_some());
        },
    },
    Row {
        file: "lwsdisp.dat",
        section: "3.1.1.6",
        title: "Message with No LWS between Display Name and <",
        verdict: Accepted,
        reason: "A fault of the grammar of RFC 3261: elements should accept it.",
        values: |m| {
            assert_eq!(from(m).display_name().as_deref(), Some("caller"));
            assert_eq!(user(&from(m)), "caller");
            assert_eq!(from(m).tag(), Some("323"));
        },
    },
    Row {
        file: "longreq.dat",
        section: "3.1.1.7",
        title: "Long Values in Header Fields",
        verdict: Accepted,
        reason: "Well-formed: nothing in it is longer or deeper than our limits.",
        values: |m| {
            let name = to(m).display_name().expect("a display name").into_owned();
            assert_eq!(name, format!("I have a user name of {} proportion", "extreme".repeat(10)));
            let uri = sip(&to(m));
            assert_eq!(uri.port, Some(6000));
            assert_eq!(uri.params.value("unknownparam1"), Some(&*format!("very{}value", "long".repeat(20))));
            assert!(uri.params.has(&format!("very{}ParameterNameWithNoValue", "long".repeat(25))));
            assert_eq!(from(m).tag(), Some(&*format!("12{}424", "982".repeat(50))));
            assert_eq!(m.call_id(), Ok(&*format!("longreq.one{}longcallid", "really".repeat(20))));
            assert_eq!(via_hosts(m).len(), 34);
            let last = m.values(HeaderName::Via).last().expect("34 Vias");
            let last = Via::parse(last).expect("a legal Via");
            assert_eq!(last.received(), Some([192, 0, 2, 5].into()));
            assert_eq!(last.branch(), Some(&*format!("very{}branchvalue", "long".repeat(50))));
            assert_eq!(user(&contacts(m)[0]), "amazinglylongcallername".repeat(5));
            assert_eq!(m.body().len(), 150);
        },
    },
    Row {
        file: "dblreq.dat",
        section: "3.1.1.8",
        title: "Extra Trailing Octets in a UDP Datagram",
        verdict: Accepted,
        reason: "What follows the body in a datagram is noise (RFC 3261 §18.3): it is cut off and never forwarded.",
        values: |m| {
            assert_eq!(m.method(), Some(&Method::Register));
            assert!(m.body().is_empty());
            assert!(m.bytes().ends_with(b"Content-Length: 0\r\n\r\n"));
        },
    },
    Row {
        file: "semiuri.dat",
        section: "3.1.1.9",
        title: "Semicolon-Separated Parameters in URI User Part",
        verdict: Accepted,
        reason: "Well-formed: a semicolon before @ belongs to the user part.",
        values: |m| {
            assert_eq!(request_uri(m).user_unescaped().as_deref(), Some("user;par=u@example.net"));
            assert_eq!(request_uri(m).host.to_string(), "example.com");
            assert_eq!(request_uri(m).params.as_str(), "");
            assert_eq!(values(m, HeaderName::Accept).len(), 6);
        },
    },
    Row {
        file: "transports.dat",
        section: "3.1.1.10",
        title: "Varied and Unknown Transport Types",
        verdict: Accepted,
        reason: "Well-formed: the transports below the topmost Via, known or not, change nothing.",
        values: |m| {
            let transport = |value| Via::parse(value).expect("a legal Via").transport;
            assert_eq!(
                m.values(HeaderName::Via).map(transport).collect::<Vec<_>>(),
                [
                    Some(Transport::Udp),
                    Some(Transport::Sctp),
                    Some(Transport::Tls),
                    None,
                    Some(Transport::Tcp)
                ]
            );
        },
    },
    Row {
        file: "mpart01.dat",
        section: "3.1.1.11",
        title: "Multipart MIME Message",
        verdict: Accepted,
        reason: "Well-formed: the body is bytes, NUL included, as many as Content-Length says.",
        values: |m| {
            assert_eq!(m.body().len(), 553);
            assert!(m.body().contains(&0));
            let kind =
                m.header::<dialtone_wire::headers::ContentType<'_>>().expect("it stands").expect("legal");
            assert!(kind.is("multipart", "mixed"));
            assert_eq!(kind.params.value("boundary"), Some("7a9cbec02ceef655"));
            assert_eq!(m.via().map(|via| via.rport()), Ok(Some(None)));
        },
    },
    Row {
        file: "unreason.dat",
        section: "3.1.1.12",
        title: "Unusual Reason Phrase",
        verdict: Accepted,
        reason: "Well-formed: the reason phrase is text for people, in UTF-8.",
        values: |m| {
            assert_eq!(m.status(), Status::new(200));
            assert_eq!(
                std::str::from_utf8(m.reason()),
                Ok("= 2**3 * 5**2 но сто девяносто девять - простое")
            );
        },
    },
    Row {
        file: "noreason.dat",
        section: "3.1.1.13",
        title: "Empty Reason Phrase",
        verdict: Accepted,
        reason: "Well-formed: the reason phrase may be empty. (Without the space before it, it would be accepted too.)",
        values: |m| {
            assert_eq!(m.status(), Status::new(100));
            assert_eq!(m.reason(), b"");
        },
    },
    Row {
        file: "badinv01.dat",
        section: "3.1.2.1",
        title: "Extraneous Header Field Separators",
        verdict: Refused(400, "Via: expected parameters as ;name or ;name=value"),
        reason: "Semicolons and commas without anything between them in Via and Contact.",
        values: nothing,
    },
    Row {
        file: "clerr.dat",
        section: "3.1.2.2",
        title: "Content Length Larger Than Message",
        verdict: Refused(400, "Content-Length says 9999 and the body has 154 bytes"),
        reason: "In a datagram there is no more to wait for.",
        values: nothing,
    },
    Row {
        file: "ncl.dat",
        section: "3.1.2.3",
        title: "Negative Content-Length",
        verdict: Refused(400, "Content-Length is not one number"),
        reason: "An error is due; the rest of the datagram is discarded, a stream would be closed.",
        values: nothing,
    },
    Row {
        file: "scalar02.dat",
        section: "3.1.2.4",
        title: "Request Scalar Fields with Overlarge Values",
        verdict: Refused(400, "CSeq: expected a number below 2^31 and a method"),
        reason: "400 because of CSeq. (Max-Forwards above 255 alone is refused as well, where the RFC lets an element \
                 pass over it; overlarge expiry times alone count as the default, by the registrar.)",
        values: nothing,
    },
    Row {
        file: "scalarlg.dat",
        section: "3.1.2.5",
        title: "Response Scalar Fields with Overlarge Values",
        verdict: Dropped("CSeq: expected a number below 2^31 and a method"),
        reason: "A response that can't be read is discarded.",
        values: nothing,
    },
    Row {
        file: "quotbal.dat",
        section: "3.1.2.6",
        title: "Unterminated Quoted String in Display Name",
        verdict: Refused(400, "To: expected a display name of tokens or one closed quoted string"),
        reason: "We do not guess where the quote should end.",
        values: nothing,
    },
    Row {
        file: "ltgtruri.dat",
        section: "3.1.2.7",
        title: "<> Enclosing Request-URI",
        verdict: Refused(400, "Request-URI: the URI has a character that must be escaped"),
        reason: "It is reasonable always to reject it.",
        values: nothing,
    },
    Row {
        file: "lwsruri.dat",
        section: "3.1.2.8",
        title: "Malformed SIP Request-URI (embedded LWS)",
        verdict: Refused(400, START_LINE),
        reason: "White space in the Request-URI: 400 is due.",
        values: nothing,
    },
    Row {
        file: "lwsstart.dat",
        section: "3.1.2.9",
        title: "Multiple SP Separating Request-Line Elements",
        verdict: Refused(400, START_LINE),
        reason: "It is acceptable to reject it; a lenient element would have to forward it with single spaces.",
        values: nothing,
    },
    Row {
        file: "trws.dat",
        section: "3.1.2.10",
        title: "SP Characters at End of Request-Line",
        verdict: Refused(400, START_LINE),
        reason: "It is acceptable to reject it.",
        values: nothing,
    },
    Row {
        file: "escruri.dat",
        section: "3.1.2.11",
        title: "Escaped Headers in SIP Request-URI",
        verdict: Refused(400, "Request-URI: it has headers"),
        reason: "It is acceptable to reject it; the headers must never become headers of a forwarded request.",
        values: nothing,
    },
    Row {
        file: "baddate.dat",
        section: "3.1.2.12",
        title: "Invalid Time Zone in Date Header Field",
        verdict: Accepted,
        reason: "Nothing we do depends on Date, and then an element should not reject it.",
        values: |m| assert_eq!(value(m, HeaderName::Date), "Fri, 01 Jan 2010 16:00:00 EST"),
    },
    Row {
        file: "regbadct.dat",
        section: "3.1.2.13",
        title: "Failure to Enclose name-addr URI in <>",
        verdict: Refused(400, "Contact: expected < > around a URI with ? or ,"),
        reason: "It is reasonable to answer 400: in general the brackets can't be inferred.",
        values: nothing,
    },
    Row {
        file: "badaspec.dat",
        section: "3.1.2.14",
        title: "Spaces within addr-spec",
        verdict: Refused(400, "To: the URI has a character that must be escaped"),
        reason: "It is reasonable to answer 400.",
        values: nothing,
    },
    Row {
        file: "baddn.dat",
        section: "3.1.2.15",
        title: "Non-token Characters in Display Name",
        verdict: Refused(400, "the message ends before its header does"),
        reason: "It is reasonable always to answer 400. The file of the RFC's archive also lacks the empty line behind \
                 the header; with it the fault is `From: expected a display name of tokens or one closed quoted \
                 string`.",
        values: nothing,
    },
    Row {
        file: "badvers.dat",
        section: "3.1.2.16",
        title: "Unknown Protocol Version",
        verdict: Refused(505, "the version is not SIP/2.0"),
        reason: "505 is due. Its Via is of that version too, so the answer goes back to where the request came from.",
        values: nothing,
    },
    Row {
        file: "mismatch01.dat",
        section: "3.1.2.17",
        title: "Start Line and CSeq Method Mismatch",
        verdict: Refused(400, "CSeq: expected the method of the request line"),
        reason: "Any element answers 400.",
        values: nothing,
    },
    Row {
        file: "mismatch02.dat",
        section: "3.1.2.18",
        title: "Unknown Method with CSeq Method Mismatch",
        verdict: Refused(501, "unknown method, and CSeq names another"),
        reason: "501 is due, 400 would be acceptable.",
        values: nothing,
    },
    Row {
        file: "bigcode.dat",
        section: "3.1.2.19",
        title: "Overlarge Response Code",
        verdict: Dropped("the status code is not a number from 100 to 699"),
        reason: "The response is simply dropped.",
        values: nothing,
    },
    Row {
        file: "badbranch.dat",
        section: "3.2.1",
        title: "Missing Transaction Identifier",
        verdict: Accepted,
        reason: "Nothing follows the magic cookie. Of the two ways that the RFC names we take the second: the \
                 transaction is told apart as RFC 2543 has it.",
        values: |m| {
            let via = m.via().expect("a legal Via");
            assert_eq!((via.branch(), via.rfc3261_branch()), (Some("z9hG4bK"), None));
        },
    },
    Row {
        file: "insuf.dat",
        section: "3.3.1",
        title: "Missing Required Header Fields",
        verdict: Refused(400, "From: missing"),
        reason: "Ideally 400: Via and CSeq are enough for its sender to know the answer.",
        values: nothing,
    },
    Row {
        file: "unkscm.dat",
        section: "3.3.2",
        title: "Request-URI with Unknown Scheme",
        verdict: Refused(416, "Request-URI: unknown scheme"),
        reason: "Well-formed, and 416 for every role; To has no say in it.",
        values: nothing,
    },
    Row {
        file: "novelsc.dat",
        section: "3.3.3",
        title: "Request-URI with Known but Atypical Scheme",
        verdict: Refused(416, "Request-URI: unknown scheme"),
        reason: "No element of ours ever takes soap.beep, so 416 and not 404.",
        values: nothing,
    },
    Row {
        file: "unksm2.dat",
        section: "3.3.4",
        title: "Unknown URI Schemes in Header Fields",
        verdict: Accepted,
        reason: "Well-formed, a proxy treats it like any other. A registrar answers 400, since To must be a SIP or \
                 SIPS URI.",
        values: |m| {
            assert_eq!(other_scheme(to(m).uri), "isbn");
            assert_eq!(other_scheme(from(m).uri), "http");
            assert_eq!(from(m).tag(), Some("3234233"));
            assert_eq!(other_scheme(contacts(m)[0].uri), "name");
        },
    },
    Row {
        file: "bext01.dat",
        section: "3.3.5",
        title: "Proxy-Require and Require",
        verdict: Accepted,
        reason: "Well-formed. Each role answers 420 with the extensions in Unsupported: a user agent those of Require, \
                 a proxy those of Proxy-Require.",
        values: |m| {
            assert_eq!(values(m, HeaderName::Require), ["nothingSupportsThis", "nothingSupportsThisEither"]);
            assert_eq!(
                values(m, HeaderName::ProxyRequire),
                ["noProxiesSupportThis", "norDoAnyProxiesSupportThis"]
            );
        },
    },
    Row {
        file: "invut.dat",
        section: "3.3.6",
        title: "Unknown Content-Type",
        verdict: Accepted,
        reason: "Well-formed, a proxy forwards it. A user agent answers 415.",
        values: |m| {
            let kind =
                m.header::<dialtone_wire::headers::ContentType<'_>>().expect("it stands").expect("legal");
            assert!(kind.is("application", "unknownformat"));
            assert_eq!(m.body().len(), 40);
        },
    },
    Row {
        file: "regaut01.dat",
        section: "3.3.7",
        title: "Unknown Authorization Scheme",
        verdict: Accepted,
        reason: "Well-formed, a proxy forwards the header unchanged. A registrar that asks for credentials answers 401 \
                 with a scheme that it knows.",
        values: |m| assert_eq!(value(m, HeaderName::Authorization), "NoOneKnowsThisScheme opaque-data=here"),
    },
    Row {
        file: "multi01.dat",
        section: "3.3.8",
        title: "Multiple Values in Single Value Required Fields",
        verdict: Refused(400, "From: stands more than once"),
        reason: "400 is due.",
        values: nothing,
    },
    Row {
        file: "mcl01.dat",
        section: "3.3.9",
        title: "Multiple Content-Length Values",
        verdict: Refused(400, "Content-Length is not one number"),
        reason: "An error is due; the rest of the datagram is discarded, a stream would be closed.",
        values: nothing,
    },
    Row {
        file: "bcast.dat",
        section: "3.3.10",
        title: "200 OK Response with Broadcast Via Header Field Value",
        verdict: Dropped("Via: the next hop is no host"),
        reason: "Well-formed, but an endpoint discards a response with two Vias and a proxy should not send it to a \
                 broadcast address.",
        values: nothing,
    },
    Row {
        file: "zeromf.dat",
        section: "3.3.11",
        title: "Max-Forwards of Zero",
        verdict: Accepted,
        reason: "Well-formed. A proxy answers 483, an endpoint takes it as any other.",
        values: |m| assert_eq!(m.max_forwards(), Ok(Some(0))),
    },
    Row {
        file: "cparam01.dat",
        section: "3.3.12",
        title: "REGISTER with a Contact Header Parameter",
        verdict: Accepted,
        reason: "Without brackets the parameter is that of the header, not of the URI.",
        values: |m| {
            let contact = contacts(m)[0];
            assert_eq!(contact.params.find("unknownparam"), Some(None));
            assert_eq!(contact.uri_text, "sip:+19725552222@gw1.example.net");
            assert!(!sip(&contact).params.has("unknownparam"));
        },
    },
    Row {
        file: "cparam02.dat",
        section: "3.3.13",
        title: "REGISTER with a url-parameter",
        verdict: Accepted,
        reason: "Within brackets the parameter is that of the URI.",
        values: |m| {
            let contact = contacts(m)[0];
            assert!(!contact.params.has("unknownparam"));
            assert_eq!(contact.uri_text, "sip:+19725552222@gw1.example.net;unknownparam");
            assert_eq!(sip(&contact).params.find("unknownparam"), Some(None));
        },
    },
    Row {
        file: "regescrt.dat",
        section: "3.3.14",
        title: "REGISTER with a URL Escaped Header",
        verdict: Accepted,
        reason: "A Contact's URI may have headers, and a binding keeps them.",
        values: |m| {
            let contact = contacts(m)[0];
            assert_eq!(contact.uri_text, "sip:user@example.com?Route=%3Csip:sip.example.com%3E");
            assert_eq!(sip(&contact).headers, "Route=%3Csip:sip.example.com%3E");
        },
    },
    Row {
        file: "sdp01.dat",
        section: "3.3.15",
        title: "Unacceptable Accept Offering",
        verdict: Accepted,
        reason: "Well-formed. A user agent answers 406 with a Warning, or 400.",
        values: |m| {
            assert_eq!(values(m, HeaderName::Accept), ["text/nobodyKnowsThis"]);
            assert_eq!(session(m).media.len(), 2);
        },
    },
    Row {
        file: "inv2543.dat",
        section: "3.4.1",
        title: "INVITE with RFC 2543 Syntax",
        verdict: Accepted,
        reason: "Legal for RFC 2543: no branch, no From tag, no Content-Length, no Max-Forwards.",
        values: |m| {
            assert_eq!(m.via().map(|via| via.branch()), Ok(None));
            assert_eq!(from(m).tag(), None);
            assert_eq!(m.max_forwards(), Ok(None));
            assert!(!m.has(HeaderName::ContentLength));
            let route = m.addresses(HeaderName::RecordRoute).next().expect("it stands").expect("legal");
            assert_eq!(sip(&route).params.value("maddr"), Some("ss1.example.com"));
            assert_eq!(to(m).params.value("user"), Some("phone"));
            assert_eq!(session(m).media.len(), 1);
        },
    },
];
