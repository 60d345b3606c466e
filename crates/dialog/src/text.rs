//! Text that goes into one header line.

use smol_str::{SmolStr, SmolStrBuilder};

/// The text on one line, without white space at its ends: a fold becomes one space (RFC 3261 §7.3.1). What was
/// no fold but a stray CR, LF or NUL becomes a space too, so that no value can end its header line.
pub(crate) fn one_line(text: &str) -> SmolStr {
    let text = text.trim_matches(is_blank);
    if !text.contains(is_break) {
        return SmolStr::new(text);
    }
    let mut out = SmolStrBuilder::new();
    for (index, piece) in text.split(is_break).map(|piece| piece.trim_matches(is_blank)).enumerate() {
        if index > 0 && !piece.is_empty() {
            out.push(' ');
        }
        out.push_str(piece);
    }
    out.finish()
}

fn is_break(character: char) -> bool {
    matches!(character, '\r' | '\n' | '\0')
}

fn is_blank(character: char) -> bool {
    is_break(character) || matches!(character, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_becomes_one_space_and_nothing_ends_the_line() {
        assert_eq!(one_line(" a \r\n\t b\r\n c "), "a b c");
        assert_eq!(one_line("<sip:a@b>\r\nEvil: yes"), "<sip:a@b> Evil: yes");
        assert_eq!(one_line("a\rb\nc\0d"), "a b c d");
        assert_eq!(one_line(" plain  text "), "plain  text");
        assert_eq!(one_line("\r\n"), "");
    }
}
