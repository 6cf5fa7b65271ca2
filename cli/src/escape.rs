//! Makes text of others safe to show on a terminal.
//!
//! Names, messages and log lines come from specs, daemons and services. Written raw they could move the cursor, change
//! the title, or reverse the reading order of a line. JSON output is exact and does not pass through here.

use std::{borrow::Cow, fmt::Write};

/// True for what a terminal would obey or a reader would be deceived by: control characters, bidirectional marks
/// (UAX 9), line and paragraph separators, zero-width characters and tags.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with every such character written as `\x1b` or `\u{202e}`; line breaks too, so the result is one line.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push(&mut shown, c);
    }
    Cow::Owned(shown)
}

/// Like [`line()`], but keeps line breaks: for a text of ours that quotes others on several lines.
pub fn block(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c != '\n' && is_deceptive(c)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c == '\n' { shown.push(c) } else { push(&mut shown, c) }
    }
    Cow::Owned(shown)
}

fn push(shown: &mut String, c: char) {
    let code = u32::from(c);
    // Writing to a String cannot fail.
    let _ = match code {
        _ if !is_deceptive(c) => shown.write_char(c),
        0..=0xff => write!(shown, "\\x{code:02x}"),
        _ => write!(shown, "\\u{{{code:x}}}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_reach_the_terminal() {
        assert_eq!(line("a\u{1b}[31mb"), "a\\x1b[31mb");
        assert_eq!(line("x\u{202e}txt.exe"), "x\\u{202e}txt.exe");
        assert_eq!(line("a\r\nb\t\u{7f}\u{9b}2J"), "a\\x0d\\x0ab\\x09\\x7f\\x9b2J");
        assert_eq!(line("\u{200b}\u{2028}\u{feff}"), "\\u{200b}\\u{2028}\\u{feff}");
    }

    #[test]
    fn harmless_text_is_not_changed_or_copied() {
        assert!(matches!(line("Zürich, 東京 ok"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_block_keeps_its_lines_only() {
        assert_eq!(block("a\n\u{1b}b\n"), "a\n\\x1bb\n");
    }
}
