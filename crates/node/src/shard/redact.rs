//! A message without what is personal in it: the shape stays, which is what a parser or a state machine trips over.

/// Letters and digits of all values become `x`, `X` and `9`; method, header names, status, punctuation, lengths and
/// bytes that are no text stay, the latter as `\xNN`.
pub(super) fn redact(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let kept = if number == 0 { start_of_start_line(line) } else { header_name_len(line) };
        line[..kept].iter().for_each(|byte| push(&mut out, *byte));
        line[kept..].iter().for_each(|byte| push(&mut out, hide(*byte)));
    }
    out
}

/// The method of a request, or version and status of a response.
fn start_of_start_line(line: &[u8]) -> usize {
    const STATUS_LINE: &[u8] = b"SIP/2.0 ";
    if line.starts_with(STATUS_LINE) {
        return line.len().min(STATUS_LINE.len() + 3);
    }
    line.iter().position(|byte| *byte == b' ').unwrap_or(0)
}

/// The name before the colon, where it looks like one; SDP lines keep their letter.
fn header_name_len(line: &[u8]) -> usize {
    if line.get(1) == Some(&b'=') {
        return 2;
    }
    let name =
        line.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let name = name.count();
    let blanks = line[name..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if line.get(name + blanks) == Some(&b':') { name + blanks } else { 0 }
}

fn hide(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => b'x',
        b'A'..=b'Z' => b'X',
        b'0'..=b'9' => b'9',
        _ => byte,
    }
}

fn push(out: &mut String, byte: u8) {
    match byte {
        b'\n' | b' '..=b'~' => out.push(char::from(byte)),
        b'\r' => {}
        _ => out.push_str(&format!("\\x{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_stays_and_the_content_goes() {
        let message = "INVITE sip:bob@b.test:5070 SIP/2.0\r\nFrom: \"Alé\" <sip:a@b>;tag=7\r\n\
            Authorization : Digest response=\"00ff\"\r\n folded 12\r\n\r\nv=0\r\nc=IN IP4 10.0.0.1\r\n";
        let expected = "INVITE xxx:xxx@x.xxxx:9999 XXX/9.9\nFrom: \"Xx\\xc3\\xa9\" <xxx:x@x>;xxx=9\n\
            Authorization : Xxxxxx xxxxxxxx=\"99xx\"\n xxxxxx 99\n\nv=9\nc=XX XX9 99.9.9.9\n";
        assert_eq!(redact(message.as_bytes()), expected);
        assert_eq!(redact(b"SIP/2.0 486 Busy Here\r\n"), "SIP/2.0 486 Xxxx Xxxx\n");
        assert_eq!(redact(b"\x00garbage"), "\\x00xxxxxxx");
        assert_eq!(redact(b""), "");
    }
}
