//! Bytes to a session description: lines, their order, and which section they belong to.

use std::borrow::Cow;

use super::error::{Diagnosis, Expected, Fault, Limits, Mode, SdpError};
use super::fields::{self, Judge};
use super::value::{Connection, Media, Origin, Session, Text, Time, UnknownLine, Word};

/// A description that was accepted, and the faults that lenient mode let pass (none in strict mode).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The description.
    pub session: Session,
    /// The faults, in order of their lines.
    pub diagnoses: Vec<Diagnosis>,
}

impl Session {
    /// Reads a whole description (RFC 8866 §5, §9).
    ///
    /// # Errors
    /// The first line that breaks the grammar in a way that `mode` does not take, or that passes a limit.
    pub fn parse(bytes: &[u8], mode: Mode, limits: &Limits) -> Result<Parsed, SdpError> {
        if bytes.len() > limits.bytes_max {
            return Err(SdpError { line: 1, expected: Expected::WithinLimits, cut: false });
        }
        let mut parser = Parser::new(mode, *limits);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (line, after) = take_line(rest);
            rest = after;
            parser.line(line)?;
        }
        parser.finish()
    }
}

/// One line without its end.
struct Line<'a> {
    bytes: &'a [u8],
    end: LineEnd,
}

#[derive(PartialEq)]
enum LineEnd {
    CrLf,
    Lf,
    Missing,
}

fn take_line(bytes: &[u8]) -> (Line<'_>, &[u8]) {
    let Some(lf) = memchr::memchr(b'\n', bytes) else {
        return (Line { bytes, end: LineEnd::Missing }, &[]);
    };
    let (line, rest) = (&bytes[..lf], &bytes[lf + 1..]);
    match line.strip_suffix(b"\r") {
        Some(line) => (Line { bytes: line, end: LineEnd::CrLf }, rest),
        None => (Line { bytes: line, end: LineEnd::Lf }, rest),
    }
}

/// Order of the session part (RFC 8866 §5); `r=` and `z=` share the place of their `t=`.
const SESSION_ORDER: &[u8] = b"vosiuepcbtka";
/// Order of a media description.
const MEDIA_ORDER: &[u8] = b"micbka";

struct Parser {
    mode: Mode,
    limits: Limits,
    /// Number of the line in hand, from 1.
    number: usize,
    diagnoses: Vec<Diagnosis>,
    saw_line_feed: bool,
    origin: Option<Origin>,
    name: Option<Text>,
    /// The name was missing where it should stand; a late `s=` line may still replace it.
    name_is_stand_in: bool,
    has_time: bool,
    session: Session,
    /// Place in the order of the section up to which lines have been seen.
    place: usize,
    /// Known lines seen in this section.
    lines: usize,
}

impl Parser {
    fn new(mode: Mode, limits: Limits) -> Parser {
        let placeholder = Origin {
            username: Word::literal("-"),
            session_id: Word::literal("0"),
            session_version: Word::literal("0"),
            net_type: Word::literal("IN"),
            address: super::value::Host::Ip4(std::net::Ipv4Addr::UNSPECIFIED),
        };
        let session = Session {
            origin: placeholder,
            name: Text::default(),
            information: None,
            uri: None,
            emails: Vec::new(),
            phones: Vec::new(),
            connection: None,
            bandwidths: Vec::new(),
            times: Vec::new(),
            key: None,
            attributes: Vec::new(),
            media: Vec::new(),
            unknown: Vec::new(),
        };
        Parser {
            mode,
            limits,
            number: 0,
            diagnoses: Vec::new(),
            saw_line_feed: false,
            origin: None,
            name: None,
            name_is_stand_in: false,
            has_time: false,
            session,
            place: 0,
            lines: 0,
        }
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), SdpError> {
        self.number += 1;
        let cut = line.end == LineEnd::Missing;
        let number = self.number;
        self.line_inner(&line).map_err(|expected| SdpError { line: number, expected, cut })
    }

    fn line_inner(&mut self, line: &Line<'_>) -> Result<(), Expected> {
        if self.number > self.limits.lines_max {
            return Err(Expected::WithinLimits);
        }
        let [letter, b'=', value @ ..] = line.bytes else {
            return if line.bytes.is_empty() {
                self.fault(Fault::BlankLine, Expected::TypeAndValue)
            } else {
                Err(Expected::TypeAndValue)
            };
        };
        if value.iter().any(|byte| matches!(byte, 0 | b'\r')) {
            return Err(Expected::Text);
        }
        if self.lines == 0 && self.session.media.is_empty() && *letter != b'v' {
            return Err(Expected::Version);
        }
        let value = &*self.without_extra_blanks(*letter, value);
        let mut judge = Judge::new(self.mode);
        if *letter == b'm' {
            self.media_line(value)?;
        } else if self.session.media.is_empty() {
            self.session_line(*letter, value, &mut judge)?;
        } else {
            self.media_part_line(*letter, value, &mut judge)?;
        }
        for fault in judge.faults {
            self.diagnoses.push(Diagnosis { line: self.number, fault });
        }
        self.line_end(&line.end)
    }

    /// In lenient mode takes away blanks that would make empty fields; in strict mode those fields are the error.
    fn without_extra_blanks<'a>(&mut self, letter: u8, value: &'a [u8]) -> Cow<'a, [u8]> {
        let is_extra =
            value.starts_with(b" ") || value.ends_with(b" ") || value.windows(2).any(|pair| pair == b"  ");
        if self.mode == Mode::Strict || !b"ocbtrzm".contains(&letter) || !is_extra {
            return Cow::Borrowed(value);
        }
        self.diagnoses.push(Diagnosis { line: self.number, fault: Fault::ExtraBlanks });
        let fields: Vec<&[u8]> =
            value.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).collect();
        Cow::Owned(fields.join(&b' '))
    }

    fn line_end(&mut self, end: &LineEnd) -> Result<(), Expected> {
        match end {
            LineEnd::CrLf => Ok(()),
            LineEnd::Lf if self.saw_line_feed => Ok(()),
            LineEnd::Lf => {
                self.saw_line_feed = true;
                self.fault(Fault::LineFeedOnly, Expected::LineEnd)
            }
            LineEnd::Missing => self.fault(Fault::NoLastLineEnd, Expected::LineEnd),
        }
    }

    fn fault(&mut self, fault: Fault, expected: Expected) -> Result<(), Expected> {
        let mut judge = Judge::new(self.mode);
        judge.fault(fault, expected)?;
        self.diagnoses.push(Diagnosis { line: self.number, fault });
        Ok(())
    }

    /// Checks that the letter stands in its place of the order and counts the line. Says whether it is known.
    fn step(&mut self, order: &[u8], letter: u8) -> Result<bool, Expected> {
        let placed = if matches!(letter, b'r' | b'z') { b't' } else { letter };
        let Some(place) = order.iter().position(|known| *known == placed) else {
            // RFC 8866 §5: a parser "MUST completely ignore or reject" unknown letters.
            self.fault(Fault::UnknownType, Expected::KnownType)?;
            return Ok(false);
        };
        if place < self.place {
            self.fault(Fault::OutOfOrder, Expected::Earlier(char::from(letter)))?;
        } else {
            self.place = place;
        }
        self.lines += 1;
        Ok(true)
    }

    fn unknown(&self, letter: u8, value: &[u8]) -> Result<UnknownLine, Expected> {
        if !letter.is_ascii_alphabetic() {
            return Err(Expected::KnownType);
        }
        let value = Text::new(value).ok_or(Expected::Text)?;
        Ok(UnknownLine { letter: char::from(letter), value, lines_before: self.lines })
    }

    fn session_line(&mut self, letter: u8, value: &[u8], judge: &mut Judge) -> Result<(), Expected> {
        // What RFC 8866 §5 requires before a line of this letter.
        let place = SESSION_ORDER.iter().position(|known| *known == letter).unwrap_or(0);
        if self.origin.is_none() && self.lines > 0 && letter != b'o' && letter != b'v' {
            return Err(Expected::Line('o'));
        }
        if place > 2 && self.name.is_none() {
            self.no_name()?;
        }
        if place > 9 && !self.has_time {
            self.no_time()?;
        }
        if matches!(letter, b'r' | b'z') && !self.has_time {
            return Err(Expected::Line('t'));
        }
        if !self.step(SESSION_ORDER, letter)? {
            let unknown = self.unknown(letter, value)?;
            self.session.unknown.push(unknown);
            return Ok(());
        }
        let session = &mut self.session;
        match letter {
            b'v' if self.lines > 1 => Err(Expected::Once('v')),
            // RFC 8866 §5.1: this memo defines version 0, there is no minor version.
            b'v' if value != b"0" => Err(Expected::Version),
            b'v' => Ok(()),
            b'o' => once(&mut self.origin, 'o', fields::origin(value, judge)?),
            b's' => self.session_name(value, judge),
            b'i' => once(&mut session.information, 'i', fields::text(value, judge)?),
            b'u' => once(&mut session.uri, 'u', fields::text(value, judge)?),
            b'e' => push(&mut session.emails, fields::text(value, judge)?),
            b'p' => push(&mut session.phones, fields::text(value, judge)?),
            b'c' => once(&mut session.connection, 'c', fields::connection(value, judge)?),
            b'b' => push(&mut session.bandwidths, fields::bandwidth(value)?),
            b't' => self.time(fields::time(value, judge)?),
            b'r' => repeat(&mut session.times, value),
            b'z' => zone(&mut session.times, value, judge),
            b'k' => once(&mut session.key, 'k', fields::text(value, judge)?),
            _ => push(&mut session.attributes, fields::attribute(value, judge)?),
        }
    }

    fn session_name(&mut self, value: &[u8], judge: &mut Judge) -> Result<(), Expected> {
        let name = fields::text(value, judge)?;
        if std::mem::take(&mut self.name_is_stand_in) {
            self.name = None;
        }
        once(&mut self.name, 's', name)
    }

    fn time(&mut self, time: Time) -> Result<(), Expected> {
        if !self.has_time {
            self.session.times.clear();
        }
        self.has_time = true;
        push(&mut self.session.times, time)
    }

    fn no_name(&mut self) -> Result<(), Expected> {
        self.fault(Fault::NoSessionName, Expected::Line('s'))?;
        self.name = Text::new("-");
        self.name_is_stand_in = true;
        Ok(())
    }

    fn no_time(&mut self) -> Result<(), Expected> {
        if self.session.times.is_empty() {
            self.fault(Fault::NoTime, Expected::Line('t'))?;
            self.session.times.push(Time::default());
        }
        Ok(())
    }

    /// Checks that nothing required is missing before the first `m=` or the end.
    fn end_of_session_part(&mut self) -> Result<(), Expected> {
        if self.lines == 0 {
            return Err(Expected::Version);
        }
        if self.origin.is_none() {
            return Err(Expected::Line('o'));
        }
        if self.name.is_none() {
            self.no_name()?;
        }
        self.no_time()
    }

    fn media_line(&mut self, value: &[u8]) -> Result<(), Expected> {
        if self.session.media.is_empty() {
            self.end_of_session_part()?;
        } else {
            self.end_of_media_part()?;
        }
        if self.session.media.len() == self.limits.media_max {
            return Err(Expected::WithinLimits);
        }
        self.session.media.push(fields::media(value, self.limits.formats_max)?);
        self.place = 0;
        self.lines = 1;
        Ok(())
    }

    /// RFC 8866 §5.7: "a session description MUST contain either at least one c= line in each media description or a
    /// single c= line at the session level".
    fn end_of_media_part(&mut self) -> Result<(), Expected> {
        let is_missing = self.session.connection.is_none()
            && self.session.media.last().is_some_and(|media| media.connections.is_empty());
        if is_missing { self.fault(Fault::NoConnection, Expected::ConnectionForMedia) } else { Ok(()) }
    }

    fn media_part_line(&mut self, letter: u8, value: &[u8], judge: &mut Judge) -> Result<(), Expected> {
        if SESSION_ORDER.contains(&letter) && !MEDIA_ORDER.contains(&letter) || matches!(letter, b'r' | b'z')
        {
            return Err(Expected::Earlier(char::from(letter)));
        }
        let is_known = self.step(MEDIA_ORDER, letter)?;
        let unknown = if is_known { None } else { Some(self.unknown(letter, value)?) };
        let Some(media) = self.session.media.last_mut() else {
            return Err(Expected::Media);
        };
        if let Some(unknown) = unknown {
            return push(&mut media.unknown, unknown);
        }
        media_field(media, letter, value, judge)
    }

    fn finish(mut self) -> Result<Parsed, SdpError> {
        self.number += 1;
        let end =
            if self.session.media.is_empty() { self.end_of_session_part() } else { self.end_of_media_part() };
        let line = self.number;
        let error = |expected| SdpError { line, expected, cut: false };
        end.map_err(error)?;
        self.session.origin = self.origin.ok_or(error(Expected::Line('o')))?;
        self.session.name = self.name.ok_or(error(Expected::Line('s')))?;
        Ok(Parsed { session: self.session, diagnoses: self.diagnoses })
    }
}

fn media_field(media: &mut Media, letter: u8, value: &[u8], judge: &mut Judge) -> Result<(), Expected> {
    match letter {
        b'i' => once(&mut media.information, 'i', fields::text(value, judge)?),
        b'c' => push::<Connection>(&mut media.connections, fields::connection(value, judge)?),
        b'b' => push(&mut media.bandwidths, fields::bandwidth(value)?),
        b'k' => once(&mut media.key, 'k', fields::text(value, judge)?),
        _ => push(&mut media.attributes, fields::attribute(value, judge)?),
    }
}

fn once<T>(slot: &mut Option<T>, letter: char, value: T) -> Result<(), Expected> {
    if slot.is_some() {
        return Err(Expected::Once(letter));
    }
    *slot = Some(value);
    Ok(())
}

fn push<T>(list: &mut Vec<T>, value: T) -> Result<(), Expected> {
    list.push(value);
    Ok(())
}

fn repeat(times: &mut [Time], value: &[u8]) -> Result<(), Expected> {
    let time = times.last_mut().ok_or(Expected::Line('t'))?;
    // RFC 8866 §9 `repeat-description`: z= closes the repeats of its t=.
    if !time.zone_adjustments.is_empty() {
        return Err(Expected::Earlier('r'));
    }
    time.repeats.push(fields::repeat(value)?);
    Ok(())
}

fn zone(times: &mut [Time], value: &[u8], judge: &mut Judge) -> Result<(), Expected> {
    let time = times.last_mut().ok_or(Expected::Line('t'))?;
    if !time.zone_adjustments.is_empty() {
        return Err(Expected::Once('z'));
    }
    if time.repeats.is_empty() {
        judge.fault(Fault::ZoneWithoutRepeat, Expected::Repeat)?;
    }
    time.zone_adjustments = fields::zone(value)?;
    Ok(())
}
