//! Patterns of numbers and names: what stands behind `number` in a rule.

use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;
use smol_str::SmolStr;
use thiserror::Error;

/// Characters of one pattern.
pub const PATTERN_CHARACTERS_MAX: usize = 64;

/// What the called number or name must look like. It is read once from left to right, so matching costs no more than
/// the shorter of the two is long.
///
/// | pattern | matches |
/// |---|---|
/// | `112` | 112 and nothing else |
/// | `1xx` | three digits, the first a 1: `x` is any digit |
/// | `[2-9]x*` | two digits or more, the first not 0 or 1: `*` at the end is whatever follows, also nothing |
/// | `+44*` | whatever goes to +44, in whatever way it was dialled: see [`Numbering`](super::Numbering) |
/// | `*21*[*]` | `*21*` itself: a star that is not at the end, or in brackets, is the key |
/// | `alice` | the user alice: letters other than `x` make it a name, in which `x` is a letter too |
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: SmolStr,
    elements: SmallVec<[Element; 8]>,
    /// Whether anything may follow.
    is_open: bool,
    /// Whether it speaks of digits only, so that one that is too short may still be completed.
    is_number: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    Exact(char),
    Digit,
    /// One of these, each range with both ends.
    Set(SmallVec<[(char, char); 2]>),
}

/// How a number stands to a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It matches.
    Full,
    /// It matches as far as it goes, and digits are missing.
    TooShort,
    /// It does not match.
    No,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It is empty.
    #[error("nothing stands here")]
    Empty,
    /// It is longer than [`PATTERN_CHARACTERS_MAX`].
    #[error("it is longer than 64 characters")]
    TooLong,
    /// A `[` has no `]`, or nothing stands between them.
    #[error("a `[` needs a `]`, and something between them")]
    Brackets,
    /// A range runs backwards.
    #[error("a range such as `2-9` runs upwards")]
    Range,
    /// A character can't stand in a user part.
    #[error("blanks and signs that stand in no number have no place here")]
    Character,
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.chars().count() > PATTERN_CHARACTERS_MAX {
            return Err(PatternError::TooLong);
        }
        let (body, is_open) = match text.strip_suffix('*') {
            Some(body) => (body, true),
            None => (text, false),
        };
        let is_name = names_letters(body);
        let mut elements = SmallVec::new();
        let mut rest = body.chars();
        while let Some(character) = rest.next() {
            elements.push(match character {
                '[' => Element::Set(set(&mut rest)?),
                'x' | 'X' if !is_name => Element::Digit,
                other if is_legal(other) => Element::Exact(other),
                _ => return Err(PatternError::Character),
            });
        }
        Ok(Pattern { text: SmolStr::new(text), elements, is_open, is_number: !is_name })
    }
}

/// Whether a letter other than `x` stands outside of brackets.
fn names_letters(text: &str) -> bool {
    let mut is_inside = false;
    text.chars().any(|character| {
        match character {
            '[' => is_inside = true,
            ']' => is_inside = false,
            _ => {}
        }
        !is_inside && character.is_alphabetic() && !matches!(character, 'x' | 'X')
    })
}

/// What may stand in a user part once its escapes are undone, but what would be taken for something else.
fn is_legal(character: char) -> bool {
    !character.is_control() && !character.is_whitespace() && !matches!(character, '[' | ']' | '@' | '"')
}

/// What stands up to the closing bracket.
fn set(rest: &mut std::str::Chars<'_>) -> Result<SmallVec<[(char, char); 2]>, PatternError> {
    let mut ranges = SmallVec::new();
    loop {
        let from = rest.next().ok_or(PatternError::Brackets)?;
        if from == ']' {
            return if ranges.is_empty() { Err(PatternError::Brackets) } else { Ok(ranges) };
        }
        if !is_legal(from) {
            return Err(PatternError::Character);
        }
        let mut ahead = rest.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                *rest = ahead;
                to
            }
            _ => from,
        };
        if to < from {
            return Err(PatternError::Range);
        }
        ranges.push((from, to));
    }
}

impl Pattern {
    /// How a number or name stands to it.
    pub fn fit(&self, number: &str) -> Fit {
        let mut characters = number.chars();
        for element in &self.elements {
            let Some(character) = characters.next() else {
                return if self.is_number { Fit::TooShort } else { Fit::No };
            };
            let fits = match element {
                Element::Exact(exact) => character == *exact,
                Element::Digit => character.is_ascii_digit(),
                Element::Set(ranges) => ranges.iter().any(|(from, to)| (*from..=*to).contains(&character)),
            };
            if !fits {
                return Fit::No;
            }
        }
        if self.is_open || characters.next().is_none() { Fit::Full } else { Fit::No }
    }

    /// Whether it is compared with the number in international form.
    pub fn is_international(&self) -> bool {
        self.text.starts_with('+')
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, full: &[&str], short: &[&str], no: &[&str]) {
        let pattern: Pattern = pattern.parse().unwrap();
        for (numbers, fit) in [(full, Fit::Full), (short, Fit::TooShort), (no, Fit::No)] {
            for number in numbers {
                assert_eq!(pattern.fit(number), fit, "{pattern} and {number}");
            }
        }
    }

    #[test]
    fn a_pattern_matches_what_its_table_says() {
        check("112", &["112"], &["1", "11", ""], &["1123", "113", "alice"]);
        check("1xx", &["100", "199"], &["1", "12"], &["1234", "1a2", "200"]);
        check("[2-9]x*", &["22", "91234"], &["2"], &["12", "2a"]);
        check("+44*", &["+44", "+4420"], &["+", "+4"], &["44", "0044"]);
        check("*21*[*]", &["*21**"], &["*21*", "*2"], &["*21*0"]);
        check("[*]21", &["*21"], &["*"], &["21"]);
        check("[0-35,7]", &["0", "2", "3", "5", ",", "7"], &[""], &["4", "6"]);
        check("*", &["", "alice", "112"], &[], &[]);
        check("x", &["7"], &[""], &["x", "77"]);
    }

    #[test]
    fn a_name_has_letters_and_is_never_too_short() {
        check("alice", &["alice"], &[], &["ali", "Alice", "alice2"]);
        check("max", &["max"], &[], &["ma1", "ma"]);
        check("sales*", &["sales", "sales.emea"], &[], &["sale"]);
        check("müller", &["müller"], &[], &["muller"]);
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, why) in [
            ("", PatternError::Empty),
            ("[", PatternError::Brackets),
            ("1[]", PatternError::Brackets),
            ("[2-", PatternError::Brackets),
            ("[9-2]", PatternError::Range),
            ("030 123", PatternError::Character),
            ("a]b", PatternError::Character),
            ("alice@example.com", PatternError::Character),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(why), "{text}");
        }
        assert_eq!("1".repeat(65).parse::<Pattern>(), Err(PatternError::TooLong));
        assert_eq!("2-9".parse::<Pattern>().unwrap().fit("2-9"), Fit::Full);
    }
}
