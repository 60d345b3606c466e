//! `scheme name=value, name="value" …` to a list of parameters, and quoted strings back to text.

use std::fmt::{self, Write as _};

use smol_str::{SmolStr, SmolStrBuilder};

use super::{AuthError, PARAMETERS_MAX, Parameter, VALUE_BYTES_MAX};

/// RFC 3261 §25.1 `token`.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// Blanks, tabs and the line ends of folding (RFC 3261 §25.1 `LWS`).
fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
}

/// The parameters that have not been taken yet.
pub(super) struct Parameters {
    pub(super) rest: Vec<Parameter>,
}

impl Parameters {
    /// Splits the scheme from what follows it.
    pub(super) fn scheme(value: &[u8]) -> Result<(&str, &str), AuthError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(AuthError::TooLong);
        }
        let text = skip_blanks(std::str::from_utf8(value).map_err(|_| AuthError::NotUtf8)?);
        let end = text.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(text.len());
        let (scheme, rest) = text.split_at(end);
        let rest_is_apart = rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']);
        if scheme.is_empty() || !rest_is_apart { Err(AuthError::Scheme) } else { Ok((scheme, rest)) }
    }

    pub(super) fn parse(text: &str) -> Result<Parameters, AuthError> {
        let mut rest = Vec::new();
        let mut text = skip_blanks(text);
        while !text.is_empty() {
            // RFC 9110 §5.6.1: a recipient takes empty elements of a list.
            if let Some(after) = text.strip_prefix(',') {
                text = skip_blanks(after);
                continue;
            }
            if rest.len() == PARAMETERS_MAX {
                return Err(AuthError::TooLong);
            }
            let (parameter, after) = parameter(text)?;
            rest.push(parameter);
            text = skip_blanks(after);
            if !text.is_empty() && !text.starts_with(',') {
                return Err(AuthError::Parameter);
            }
        }
        Ok(Parameters { rest })
    }

    /// Takes the value of a parameter that may be there once.
    pub(super) fn take(&mut self, name: &'static str) -> Result<Option<SmolStr>, AuthError> {
        let is_it = |parameter: &Parameter| parameter.name.eq_ignore_ascii_case(name);
        let Some(index) = self.rest.iter().position(is_it) else {
            return Ok(None);
        };
        let value = self.rest.remove(index).value;
        if self.rest.iter().any(is_it) { Err(AuthError::Repeated(name)) } else { Ok(Some(value)) }
    }
}

fn parameter(text: &str) -> Result<(Parameter, &str), AuthError> {
    let end = text.bytes().position(|byte| !is_token_byte(byte)).ok_or(AuthError::Parameter)?;
    let (name, rest) = text.split_at(end);
    let rest = skip_blanks(rest).strip_prefix('=').ok_or(AuthError::Parameter)?;
    if name.is_empty() {
        return Err(AuthError::Parameter);
    }
    let rest = skip_blanks(rest);
    let (value, quoted, rest) = match rest.strip_prefix('"') {
        Some(rest) => {
            let (value, rest) = unquote(rest)?;
            (value, true, rest)
        }
        None => {
            // Some clients leave out the quotes of a URI or nonce: all up to the comma or a blank is the value.
            let end = rest.find([',', ' ', '\t', '\r', '\n', '"']).unwrap_or(rest.len());
            (SmolStr::new(&rest[..end]), false, &rest[end..])
        }
    };
    Ok((Parameter { name: name.into(), value, quoted }, rest))
}

/// Reads up to the closing quote; takes away quoting slashes (RFC 7616 §3.3 `unq`) and unfolds lines.
fn unquote(text: &str) -> Result<(SmolStr, &str), AuthError> {
    let mut value = SmolStrBuilder::new();
    let mut chars = text.char_indices().peekable();
    while let Some((index, char)) = chars.next() {
        match char {
            '"' => return Ok((value.finish(), &text[index + 1..])),
            '\\' => match chars.next() {
                // RFC 3261 §25.1: a quoted-pair quotes neither CR nor LF.
                Some((_, char)) if !matches!(char, '\r' | '\n') => value.push(char),
                _ => return Err(AuthError::Unclosed),
            },
            '\r' | '\n' => {
                // RFC 3261 §7.3.1: folding stands for one blank.
                while chars.next_if(|(_, next)| matches!(next, '\r' | '\n' | ' ' | '\t')).is_some() {}
                value.push(' ');
            }
            char => value.push(char),
        }
    }
    Err(AuthError::Unclosed)
}

/// Writes text as a quoted string. CR and LF, which none can hold, become blanks.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for char in self.0.chars() {
            match char {
                '"' | '\\' => write!(f, "\\{char}")?,
                '\r' | '\n' => f.write_char(' ')?,
                char => f.write_char(char)?,
            }
        }
        f.write_char('"')
    }
}
