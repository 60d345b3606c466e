//! HTTP for monitoring, on the loopback only: `/metrics`, `/healthz`, `/registrations` and `/calls`.
//!
//! A server of its own: four GETs without bodies need no framework, and the node has no async runtime that one would
//! bring. Each connection has one request (RFC 9112 §9.6: `Connection: close`).

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::Value;

use super::handler::{Handler, Refused, page_limit, refusal};
use super::metrics;
use super::peers::{Door, Patient, Stream};

/// Bytes of a request at most.
const REQUEST_BYTES: usize = 8 * 1024;
/// Connections at a time at most.
const CONNECTIONS: usize = 16;
/// Entries of a page when nothing else is asked for.
const PAGE: u64 = 100;

/// The listening address while it is served.
#[derive(Debug)]
pub(crate) struct Http {
    address: SocketAddr,
    door: Door,
}

/// Binds an address of the loopback.
///
/// # Errors
/// When it is another one, or can't be bound.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    TcpListener::bind(address)
}

impl Http {
    /// Serves a listener.
    pub(crate) fn open(listener: TcpListener, handler: Arc<Handler>) -> io::Result<Http> {
        let address = listener.local_addr()?;
        let door = Door::open(
            "http",
            listener,
            CONNECTIONS,
            move |stream| serve(&handler, stream),
            |mut stream| {
                let full = Reply::text(503, "too many ask at once: ask again\n");
                // It fits into the buffer of a fresh socket; whoever does not read it is not missed.
                let _ = stream.set_nonblocking(true).and_then(|()| full.write(&mut stream, true));
            },
        )?;
        Ok(Http { address, door })
    }

    /// Serves no longer.
    pub(crate) fn close(self) {
        let address = self.address;
        self.door.close(|| TcpStream::connect_timeout(&address, super::peers::PATIENCE).is_ok());
    }
}

fn serve<S: Stream>(handler: &Handler, stream: S) {
    let mut stream = Patient::new(stream);
    let mut head = Vec::new();
    let reply = match read_head(&mut stream, &mut head) {
        Ok(true) => answer(handler, &head),
        Ok(false) => Reply::text(431, "the request is longer than 8 KiB\n"),
        Err(_) => return,
    };
    let with_body = !head.starts_with(b"HEAD ");
    // Whoever is gone needs no answer.
    let _ = reply.write(&mut stream, with_body);
}

/// Reads up to the empty line; false when there is none within the limit.
fn read_head(stream: &mut impl Read, head: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 1024];
    while head.len() < REQUEST_BYTES {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let searched = head.len().saturating_sub(3);
        head.extend_from_slice(&chunk[..count]);
        if head[searched..].windows(4).any(|window| window == b"\r\n\r\n") {
            return Ok(true);
        }
    }
    Ok(false)
}

struct Reply {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Reply {
    fn text(status: u16, body: &str) -> Reply {
        Reply { status, kind: "text/plain; charset=utf-8", body: body.to_owned() }
    }

    fn json(status: u16, body: &Value) -> Reply {
        Reply { status, kind: "application/json", body: format!("{body}\n") }
    }

    fn write(&self, to: &mut impl Write, with_body: bool) -> io::Result<()> {
        let Reply { status, kind, body } = self;
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            505 => "HTTP Version Not Supported",
            _ => "Service Unavailable",
        };
        let allow = if *status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let mut out = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            body.len()
        );
        if with_body {
            out.push_str(body);
        }
        to.write_all(out.as_bytes())?;
        to.flush()
    }
}

fn answer(handler: &Handler, head: &[u8]) -> Reply {
    let Some(request) = std::str::from_utf8(head).ok().and_then(Request::parse) else {
        return Reply::text(400, "this is no HTTP request\n");
    };
    if !request.version.starts_with("HTTP/1.") {
        return Reply::text(505, "expected HTTP/1.1\n");
    }
    // A page of the web whose name leads to this machine (DNS rebinding) still says that name here.
    if !request.host.is_some_and(is_loopback) {
        return Reply::text(403, "expected a Host that is localhost or an address of the loopback\n");
    }
    if !matches!(request.method, "GET" | "HEAD") {
        return Reply::text(405, "expected GET or HEAD\n");
    }
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    let result = match path {
        "/healthz" => return healthz(handler),
        "/metrics" => {
            return match metrics::text(handler) {
                Ok(body) => Reply { status: 200, kind: "text/plain; version=0.0.4; charset=utf-8", body },
                Err(refused) => Reply::json(503, &refusal(&refused)),
            };
        }
        "/registrations" => {
            page(query).and_then(|(after, limit)| handler.registrations(after.as_deref(), limit))
        }
        "/calls" => page(query).and_then(|(after, limit)| handler.calls(after.as_deref(), limit)),
        _ => return Reply::text(404, "here are /metrics, /healthz, /registrations and /calls\n"),
    };
    match result {
        Ok(mut page) => {
            page["schema"] = 1.into();
            Reply::json(200, &page)
        }
        Err(refused) if refused.code == "bad-request" => Reply::json(400, &refusal(&refused)),
        Err(refused) => Reply::json(503, &refusal(&refused)),
    }
}

/// Whether all shards answer.
fn healthz(handler: &Handler) -> Reply {
    let (_, silent) = super::shards::counters(handler.subscribers.shards());
    match silent {
        0 => Reply::text(200, "ok\n"),
        silent => Reply::text(503, &format!("{silent} shards do not answer within a second\n")),
    }
}

/// One request line and what matters of the header.
#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    method: &'a str,
    target: &'a str,
    version: &'a str,
    host: Option<&'a str>,
}

impl<'a> Request<'a> {
    fn parse(head: &'a str) -> Option<Request<'a>> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || !target.starts_with('/') || !version.starts_with("HTTP/") {
            return None;
        }
        let mut host = None;
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            // RFC 9112 §3.2: more than one Host is a bad request.
            if name.eq_ignore_ascii_case("host") && host.replace(value.trim()).is_some() {
                return None;
            }
        }
        Some(Request { method, target, version, host })
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `after` and `limit` of a query.
fn page(query: &str) -> Result<(Option<String>, usize), Refused> {
    let (mut after, mut limit) = (None, Some(PAGE));
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "after" => {
                let decoded =
                    decode(value).ok_or_else(|| Refused::bad("expected `after`: the `next` of a page"))?;
                after = Some(decoded);
            }
            "limit" => limit = value.parse().ok(),
            _ => return Err(Refused::bad("expected `after` and `limit` only")),
        }
    }
    Ok((after, page_limit(limit)?))
}

/// Takes percent signs out (RFC 3986 §2.1).
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_hosts() {
        for host in
            ["localhost", "LOCALHOST:9090", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:80", "127.9.9.9"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["", "evil.test", "evil.test:80", "192.0.2.1", "[2001:db8::1]", "[::1", "localhost.evil.test"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn requests_are_read_strictly() {
        let request =
            Request::parse("GET /calls?limit=1 HTTP/1.1\r\nX: y\r\nhost:  a \r\n\r\n").expect("a request");
        assert_eq!((request.method, request.target, request.host), ("GET", "/calls?limit=1", Some("a")));
        for bad in [
            "\r\n\r\n",
            "GET / \r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nnonsense\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        ] {
            assert_eq!(Request::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn pages_are_asked_for_with_escapes() {
        let (after, limit) = page("after=0%3Asip:a%40b&limit=7").expect("a page");
        assert_eq!((after.as_deref(), limit), (Some("0:sip:a@b"), 7));
        for bad in ["limit=0", "limit=501", "limit=x", "other=1", "after=%4", "after=%ff"] {
            assert!(page(bad).is_err(), "{bad}");
        }
    }
}
