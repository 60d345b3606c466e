//! Header names, their compact forms, and which of them hold lists.

use std::fmt;

macro_rules! header_names {
    ($($(#[$doc:meta])* $variant:ident = $long:literal $(/ $compact:literal)? $(, $list:ident)?;)*) => {
        /// The name of a header field that Dialtone knows, or [`HeaderName::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum HeaderName {
            $($(#[$doc])* #[doc = $long] $variant,)*
            /// A header that has no name of its own here; its text is in the message.
            Other,
        }

        impl HeaderName {
            /// All known names.
            pub const ALL: &'static [HeaderName] = &[$(HeaderName::$variant),*];

            /// The long form; empty for [`HeaderName::Other`].
            #[inline]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(HeaderName::$variant => $long,)*
                    HeaderName::Other => "",
                }
            }

            /// Whether the value is a comma-separated list whose lines may be joined (RFC 3261 §7.3.1).
            #[inline]
            pub const fn is_list(self) -> bool {
                match self {
                    $($(HeaderName::$variant => header_names!(@$list),)?)*
                    _ => false,
                }
            }

            const fn compact_of(letter: u8) -> Option<HeaderName> {
                $($(if letter == $compact { return Some(HeaderName::$variant); })?)*
                None
            }
        }
    };
    (@list) => { true };
}

header_names! {
    Accept = "Accept", list;
    AcceptContact = "Accept-Contact" / b'a', list;
    AcceptEncoding = "Accept-Encoding", list;
    AcceptLanguage = "Accept-Language", list;
    AlertInfo = "Alert-Info", list;
    Allow = "Allow", list;
    AllowEvents = "Allow-Events" / b'u', list;
    AuthenticationInfo = "Authentication-Info";
    Authorization = "Authorization";
    CallId = "Call-ID" / b'i';
    CallInfo = "Call-Info", list;
    Contact = "Contact" / b'm', list;
    ContentDisposition = "Content-Disposition";
    ContentEncoding = "Content-Encoding" / b'e', list;
    ContentLanguage = "Content-Language", list;
    ContentLength = "Content-Length" / b'l';
    ContentType = "Content-Type" / b'c';
    CSeq = "CSeq";
    Date = "Date";
    Diversion = "Diversion", list;
    ErrorInfo = "Error-Info", list;
    Event = "Event" / b'o';
    Expires = "Expires";
    From = "From" / b'f';
    HistoryInfo = "History-Info", list;
    InReplyTo = "In-Reply-To", list;
    Join = "Join";
    MaxBreadth = "Max-Breadth";
    MaxForwards = "Max-Forwards";
    MimeVersion = "MIME-Version";
    MinExpires = "Min-Expires";
    MinSe = "Min-SE";
    Organization = "Organization";
    PAssertedIdentity = "P-Asserted-Identity", list;
    Path = "Path", list;
    PPreferredIdentity = "P-Preferred-Identity", list;
    Priority = "Priority";
    Privacy = "Privacy";
    ProxyAuthenticate = "Proxy-Authenticate";
    ProxyAuthorization = "Proxy-Authorization";
    ProxyRequire = "Proxy-Require", list;
    RAck = "RAck";
    Reason = "Reason", list;
    RecordRoute = "Record-Route", list;
    ReferTo = "Refer-To" / b'r';
    ReferredBy = "Referred-By" / b'b';
    RejectContact = "Reject-Contact" / b'j', list;
    Replaces = "Replaces";
    ReplyTo = "Reply-To";
    RequestDisposition = "Request-Disposition" / b'd', list;
    Require = "Require", list;
    RetryAfter = "Retry-After";
    Route = "Route", list;
    RSeq = "RSeq";
    Server = "Server";
    ServiceRoute = "Service-Route", list;
    SessionExpires = "Session-Expires" / b'x';
    SipEtag = "SIP-ETag";
    SipIfMatch = "SIP-If-Match";
    Subject = "Subject" / b's';
    SubscriptionState = "Subscription-State";
    Supported = "Supported" / b'k', list;
    Timestamp = "Timestamp";
    To = "To" / b't';
    Unsupported = "Unsupported", list;
    UserAgent = "User-Agent";
    Via = "Via" / b'v', list;
    Warning = "Warning", list;
    WwwAuthenticate = "WWW-Authenticate";
}

impl HeaderName {
    /// Recognises a name in any case, long or compact (RFC 3261 §7.3.3).
    pub fn recognise(text: &[u8]) -> HeaderName {
        match text {
            [] => return HeaderName::Other,
            [letter] => {
                return HeaderName::compact_of(letter.to_ascii_lowercase()).unwrap_or(HeaderName::Other);
            }
            _ => {}
        }
        let mut slot = slot_of(text);
        loop {
            let name = SLOTS[slot];
            let long = name.as_str().as_bytes();
            // Nearly all are written as the RFCs write them, and comparing bytes as they are is fast.
            if name == HeaderName::Other || long == text || long.eq_ignore_ascii_case(text) {
                return name;
            }
            slot = (slot + 1) % SLOTS.len();
        }
    }
}

/// The known names, each in the slot that [`slot_of`] says or in the next free one behind it.
const SLOTS: [HeaderName; 256] = {
    let mut slots = [HeaderName::Other; 256];
    let mut at = 0;
    while at < HeaderName::ALL.len() {
        let name = HeaderName::ALL[at];
        let mut slot = slot_of(name.as_str().as_bytes());
        while !matches!(slots[slot], HeaderName::Other) {
            slot = (slot + 1) % slots.len();
        }
        slots[slot] = name;
        at += 1;
    }
    slots
};

/// Mixes the length and three letters of a name, in any case. The factors were found by trial: with them each name
/// has a slot of its own.
const fn slot_of(name: &[u8]) -> usize {
    let length = name.len();
    let mixed =
        length * 247 + lower(name[0]) * 71 + lower(name[length / 2]) * 33 + lower(name[length - 1]) * 60;
    mixed % 256
}

const fn lower(letter: u8) -> usize {
    (letter | 0x20) as usize
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_each_known_name_in_any_case() {
        for name in HeaderName::ALL {
            let long = name.as_str();
            assert_eq!(HeaderName::recognise(long.as_bytes()), *name);
            assert_eq!(HeaderName::recognise(long.to_ascii_uppercase().as_bytes()), *name);
            assert_eq!(HeaderName::recognise(long.to_ascii_lowercase().as_bytes()), *name);
        }
    }

    #[test]
    fn recognises_compact_forms() {
        for (letter, name) in [
            (b"v", HeaderName::Via),
            (b"f", HeaderName::From),
            (b"T", HeaderName::To),
            (b"i", HeaderName::CallId),
            (b"m", HeaderName::Contact),
            (b"l", HeaderName::ContentLength),
            (b"k", HeaderName::Supported),
            (b"z", HeaderName::Other),
        ] {
            assert_eq!(HeaderName::recognise(letter), name);
        }
    }

    #[test]
    fn keeps_unknown_names_apart() {
        assert_eq!(HeaderName::recognise(b"X-Thing"), HeaderName::Other);
        assert_eq!(HeaderName::recognise(b""), HeaderName::Other);
        assert_eq!(HeaderName::recognise(b"Vi"), HeaderName::Other);
    }
}
