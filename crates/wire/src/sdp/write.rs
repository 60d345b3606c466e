//! Writing a session description in the order of RFC 8866 §5.

use super::value::{
    Attribute, Bandwidth, Connection, Host, Media, Repeat, Session, Text, Time, TimeUnit, TypedTime,
    UnknownLine,
};

impl Session {
    /// Appends the description to `out`: lines in the order of RFC 8866 §5, each ended with CR LF.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut section = Section::new(out, &self.unknown);
        section.line('v', |out| out.push(b'0'));
        section.line('o', |out| {
            let origin = &self.origin;
            words(
                out,
                &[origin.username.as_str(), origin.session_id.as_str(), origin.session_version.as_str()],
            );
            words(out, &["", origin.net_type.as_str(), ""]);
            host(out, &origin.address);
        });
        section.text('s', Some(&self.name));
        section.text('i', self.information.as_ref());
        section.text('u', self.uri.as_ref());
        self.emails.iter().for_each(|text| section.text('e', Some(text)));
        self.phones.iter().for_each(|text| section.text('p', Some(text)));
        self.connection.iter().for_each(|value| section.line('c', |out| connection(out, value)));
        self.bandwidths.iter().for_each(|value| section.line('b', |out| bandwidth(out, value)));
        self.times.iter().for_each(|value| time(&mut section, value));
        section.text('k', self.key.as_ref());
        self.attributes.iter().for_each(|value| section.line('a', |out| attribute(out, value)));
        section.finish();
        for media in &self.media {
            media.write(out);
        }
    }

    /// The description as a buffer of its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.write(&mut out);
        out
    }
}

impl Media {
    fn write(&self, out: &mut Vec<u8>) {
        let mut section = Section::new(out, &self.unknown);
        section.line('m', |out| {
            words(out, &[self.kind.as_str(), ""]);
            number(out, u64::from(self.port));
            if let Some(count) = self.port_count {
                out.push(b'/');
                number(out, u64::from(count));
            }
            words(out, &["", self.protocol.as_str()]);
            self.formats.iter().for_each(|format| words(out, &["", format.as_str()]));
        });
        section.text('i', self.information.as_ref());
        self.connections.iter().for_each(|value| section.line('c', |out| connection(out, value)));
        self.bandwidths.iter().for_each(|value| section.line('b', |out| bandwidth(out, value)));
        section.text('k', self.key.as_ref());
        self.attributes.iter().for_each(|value| section.line('a', |out| attribute(out, value)));
        section.finish();
    }
}

/// Writes the lines of one section and slips the unknown lines into their places.
struct Section<'a> {
    out: &'a mut Vec<u8>,
    unknown: std::slice::Iter<'a, UnknownLine>,
    lines: usize,
}

impl<'a> Section<'a> {
    fn new(out: &'a mut Vec<u8>, unknown: &'a [UnknownLine]) -> Section<'a> {
        Section { out, unknown: unknown.iter(), lines: 0 }
    }

    fn line(&mut self, letter: char, value: impl FnOnce(&mut Vec<u8>)) {
        self.unknown_up_to(self.lines);
        raw_line(self.out, letter, value);
        self.lines += 1;
    }

    fn text(&mut self, letter: char, text: Option<&Text>) {
        if let Some(text) = text {
            self.line(letter, |out| out.extend_from_slice(text.as_bytes()));
        }
    }

    fn finish(mut self) {
        self.unknown_up_to(usize::MAX);
    }

    fn unknown_up_to(&mut self, lines: usize) {
        while let Some(line) = self.unknown.as_slice().first().filter(|line| line.lines_before <= lines) {
            // An unknown line before the first line of its section would change the section.
            if lines == 0 {
                return;
            }
            raw_line(self.out, line.letter, |out| out.extend_from_slice(line.value.as_bytes()));
            self.unknown.next();
        }
    }
}

fn raw_line(out: &mut Vec<u8>, letter: char, value: impl FnOnce(&mut Vec<u8>)) {
    let mut buffer = [0; 4];
    out.extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
    out.push(b'=');
    value(out);
    out.extend_from_slice(b"\r\n");
}

/// Writes the words with one blank between each two; an empty word at an end leaves a blank there.
fn words(out: &mut Vec<u8>, words: &[&str]) {
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word.as_bytes());
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(number.to_string().as_bytes());
}

fn host(out: &mut Vec<u8>, host: &Host) {
    match host {
        Host::Ip4(address) => words(out, &["IP4", &address.to_string()]),
        Host::Ip6(address) => words(out, &["IP6", &address.to_string()]),
        Host::Name4(name) => words(out, &["IP4", name.as_str()]),
        Host::Name6(name) => words(out, &["IP6", name.as_str()]),
        Host::Other { kind, address } => words(out, &[kind.as_str(), address.as_str()]),
    }
}

fn connection(out: &mut Vec<u8>, connection: &Connection) {
    words(out, &[connection.net_type.as_str(), ""]);
    host(out, &connection.address);
    if let Some(ttl) = connection.ttl {
        out.push(b'/');
        number(out, u64::from(ttl));
    }
    if let Some(count) = connection.address_count {
        out.push(b'/');
        number(out, u64::from(count));
    }
}

fn bandwidth(out: &mut Vec<u8>, bandwidth: &Bandwidth) {
    out.extend_from_slice(bandwidth.kind.as_str().as_bytes());
    out.push(b':');
    number(out, bandwidth.value);
}

fn time(section: &mut Section<'_>, time: &Time) {
    section.line('t', |out| {
        number(out, time.start);
        out.push(b' ');
        number(out, time.stop);
    });
    time.repeats.iter().for_each(|value| section.line('r', |out| repeat(out, value)));
    if !time.zone_adjustments.is_empty() {
        section.line('z', |out| {
            for (index, zone) in time.zone_adjustments.iter().enumerate() {
                if index > 0 {
                    out.push(b' ');
                }
                number(out, zone.time);
                out.extend_from_slice(if zone.negative { b" -" } else { b" " });
                typed_time(out, zone.offset);
            }
        });
    }
}

fn repeat(out: &mut Vec<u8>, repeat: &Repeat) {
    typed_time(out, repeat.interval);
    out.push(b' ');
    typed_time(out, repeat.duration);
    for offset in &repeat.offsets {
        out.push(b' ');
        typed_time(out, *offset);
    }
}

fn typed_time(out: &mut Vec<u8>, time: TypedTime) {
    number(out, time.value);
    match time.unit {
        Some(TimeUnit::Days) => out.push(b'd'),
        Some(TimeUnit::Hours) => out.push(b'h'),
        Some(TimeUnit::Minutes) => out.push(b'm'),
        Some(TimeUnit::Seconds) => out.push(b's'),
        None => {}
    }
}

fn attribute(out: &mut Vec<u8>, attribute: &Attribute) {
    out.extend_from_slice(attribute.name().as_bytes());
    if let Some(value) = attribute.value() {
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
}
