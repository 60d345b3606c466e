//! A SIP client of the least kind, to say over the wire what no good phone would say.

use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};

use crate::serve::{DOMAIN, User};

/// How long to wait for an answer before the request is sent again.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a request is sent: a datagram may get lost on a busy machine.
const ATTEMPTS: usize = 6;

/// A socket that talks to one server.
pub(crate) struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    count: u32,
}

/// A response as far as the tests look at it.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    text: String,
}

/// What a request says.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// The Request-URI.
    pub(crate) uri: &'a str,
    /// The user part of From.
    pub(crate) from: &'a str,
    /// The URI in To.
    pub(crate) to: &'a str,
    /// Further header lines, each ended by CRLF.
    pub(crate) more: String,
}

impl Client {
    /// A client on a port of its own.
    pub(crate) fn new(server: SocketAddr) -> Client {
        let socket = UdpSocket::bind((server.ip(), 0)).expect("a port of the lab");
        Client { socket, server, count: 0 }
    }

    /// Our own address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).expect("a datagram can be sent");
    }

    /// The same to anybody.
    pub(crate) fn send_to(&self, bytes: &[u8], to: SocketAddr) {
        self.socket.send_to(bytes, to).expect("a datagram can be sent");
    }

    /// The next datagram, if one comes within `patience`.
    pub(crate) fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        // A timeout of zero would mean none at all.
        let patience = patience.max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(patience)).expect("a timeout can be set");
        let mut buffer = vec![0; 65_535];
        // An error here is a timeout, or a port that refused an earlier datagram: no answer either way.
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// The text of a request with a Call-ID and branch never used before.
    pub(crate) fn text(&mut self, request: &Request<'_>) -> String {
        self.count += 1;
        let (count, address) = (self.count, self.address());
        let Request { method, uri, from, to, more } = request;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};rport;branch=z9hG4bK-{port}-{count}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{from}@{DOMAIN}>;tag={port}x{count}\r\nTo: <{to}>\r\n\
             Call-ID: {port}-{count}@{ip}\r\nCSeq: {count} {method}\r\n{more}Content-Length: 0\r\n\r\n",
            port = address.port(),
            ip = address.ip(),
        )
    }

    /// Sends a request, again if need be, and returns its final response.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Response {
        let text = self.text(request);
        self.ask_raw(text.as_bytes()).unwrap_or_else(|| panic!("no answer from {} to\n{text}", self.server))
    }

    /// The same for bytes; `None` if no final response comes.
    pub(crate) fn ask_raw(&self, bytes: &[u8]) -> Option<Response> {
        let call_id = call_id(&String::from_utf8_lossy(bytes)).map(str::to_owned);
        for _ in 0..ATTEMPTS {
            self.send(bytes);
            let end = Instant::now() + PATIENCE;
            while let Some(datagram) = self.receive(end.saturating_duration_since(Instant::now())) {
                let response = Response::parse(&datagram);
                // Answers to earlier requests may still be on their way.
                let ours = call_id.is_none() || self::call_id(&response.text) == call_id.as_deref();
                if ours && response.status >= 200 {
                    return Some(response);
                }
            }
        }
        None
    }

    /// Waits until any answer to this request comes, or `patience` is over.
    pub(crate) fn await_answer(&self, request: &str, patience: Duration) {
        let wanted = call_id(request);
        let end = Instant::now() + patience;
        while let Some(datagram) = self.receive(end.saturating_duration_since(Instant::now())) {
            if call_id(&String::from_utf8_lossy(&datagram)) == wanted {
                return;
            }
        }
    }

    /// Asks once without credentials, expects the challenge, and asks again with the user's.
    pub(crate) fn ask_as(&mut self, user: &User, request: &Request<'_>) -> Response {
        let challenge = self.ask(request);
        let (status, header) = match challenge.status {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => panic!("expected a challenge, got\n{}", challenge.text),
        };
        let challenge = challenge.md5_challenge(status);
        let credentials = credentials(&challenge, user, request);
        let more = format!("{header}: {credentials}\r\n{}", request.more);
        self.ask(&Request { more, ..*request })
    }

    /// OPTIONS to the server itself: is it alive?
    pub(crate) fn is_answered(&mut self) -> bool {
        self.options() == 200
    }

    /// The status with which the server answers OPTIONS to itself.
    pub(crate) fn options(&mut self) -> u16 {
        let uri = format!("sip:{DOMAIN}");
        self.ask(&Request { method: "OPTIONS", uri: &uri, from: "anybody", to: &uri, more: String::new() })
            .status
    }

    /// REGISTER of a contact at our own address, or without one a question for the bindings.
    pub(crate) fn register(&mut self, user: &User, expires: Option<u32>) -> Response {
        let (uri, to) = (format!("sip:{DOMAIN}"), format!("sip:{}@{DOMAIN}", user.name));
        let address = self.address();
        let more = expires
            .map(|expires| format!("Contact: <sip:{}@{address}>\r\nExpires: {expires}\r\n", user.name))
            .unwrap_or_default();
        self.ask_as(user, &Request { method: "REGISTER", uri: &uri, from: &user.name, to: &to, more })
    }
}

impl Response {
    fn parse(datagram: &[u8]) -> Response {
        let text = String::from_utf8_lossy(datagram).into_owned();
        let status = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok());
        Response { status: status.unwrap_or_else(|| panic!("not a response:\n{text}")), text }
    }

    /// The values of a header, one for each line.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.text.lines().take_while(|line| !line.is_empty()).filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn md5_challenge(&self, header: &str) -> String {
        let is_md5 =
            |value: &&str| parameter(value, "algorithm").is_none_or(|name| name.eq_ignore_ascii_case("MD5"));
        let challenge = self.headers(header).find(is_md5);
        challenge.unwrap_or_else(|| panic!("no MD5 challenge in\n{}", self.text)).to_owned()
    }
}

/// OPTIONS to the server itself, named by its address.
pub(crate) fn options_to_itself(client: &mut Client) -> String {
    let uri = format!("sip:{}", client.server);
    client.text(&Request { method: "OPTIONS", uri: &uri, from: "anybody", to: &uri, more: String::new() })
}

/// Credentials for a challenge with qop auth (RFC 7616 §3.4).
fn credentials(challenge: &str, user: &User, request: &Request<'_>) -> String {
    let part = |name: &str| parameter(challenge, name).unwrap_or_else(|| panic!("no {name} in {challenge}"));
    let (realm, nonce) = (part("realm"), part("nonce"));
    let secret = md5(&format!("{}:{realm}:{}", user.name, user.password));
    let action = md5(&format!("{}:{}", request.method, request.uri));
    let response = md5(&format!("{secret}:{nonce}:00000001:c0ffee:auth:{action}"));
    let opaque =
        parameter(challenge, "opaque").map(|opaque| format!(", opaque=\"{opaque}\"")).unwrap_or_default();
    format!(
        "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{}\", response=\"{response}\", \
         algorithm=MD5, qop=auth, nc=00000001, cnonce=\"c0ffee\"{opaque}",
        user.name, request.uri
    )
}

fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let list = challenge.strip_prefix("Digest ").unwrap_or(challenge);
    let value = list.split(',').find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}

fn call_id(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("Call-ID:")).map(str::trim)
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes it");
        hex
    })
}
