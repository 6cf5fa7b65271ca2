//! The outline of a ruleset's text: words with their places, and what braces enclose them. Not a grammar: nft's parser decides what is right.

use std::ops::Range;

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A word, or one sign of `, : ; { } =`, or a text in quotes with them.
    Word(&'a str),
    /// The end of a line that is not continued.
    LineEnd,
}

/// A piece and the bytes where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token<'a> {
    /// The piece.
    pub piece: Piece<'a>,
    /// Its bytes in the text.
    pub at: Range<usize>,
}

impl<'a> Token<'a> {
    /// The word; empty for the end of a line.
    pub fn word(&self) -> &'a str {
        match self.piece {
            Piece::Word(word) => word,
            Piece::LineEnd => "",
        }
    }
}

/// All pieces of a text; comments are left out. A `:` with something at both sides is a part of a word (addresses of IPv6, ports of NAT).
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((from, c)) = rest.next() {
        let mut push = |to: usize| found.push(Token { piece: Piece::Word(&text[from..to]), at: from..to });
        match c {
            '\n' => found.push(Token { piece: Piece::LineEnd, at: from..from + 1 }),
            '\\' if text[from + 1..].starts_with('\n') => drop(rest.next()),
            '#' => while rest.next_if(|(_, c)| *c != '\n').is_some() {},
            '"' => {
                while rest.next_if(|(_, c)| !matches!(c, '"' | '\n')).is_some() {}
                let to = rest.next_if(|(_, c)| *c == '"').map(|(at, _)| at + 1);
                push(to.unwrap_or_else(|| rest.peek().map_or(text.len(), |(at, _)| *at)));
            }
            ',' | ';' | '{' | '}' | '=' | '(' | ')' if !text[from..].starts_with("==") => push(from + 1),
            c if c.is_whitespace() => {}
            _ => {
                while rest
                    .next_if(|(_, c)| !c.is_whitespace() && !matches!(c, ',' | ';' | '{' | '}' | '#' | '"' | '(' | ')'))
                    .is_some()
                {}
                push(rest.peek().map_or(text.len(), |(at, _)| *at));
            }
        }
    }
    found
}

/// The byte of a place in a text: line and column in bytes, both from 1.
pub fn byte(text: &str, line: u32, column: u32) -> Option<usize> {
    let (line, column) = (line.checked_sub(1)?, column.checked_sub(1)?);
    let start: usize = text.split_inclusive('\n').take(line as usize).map(str::len).sum();
    let at = start + column as usize;
    text.is_char_boundary(at).then_some(at).filter(|at| *at < text.len())
}

/// The place of a byte, as [`byte`] takes it.
pub fn place(text: &str, byte: usize) -> (u32, u32) {
    let before = &text[..byte];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() as u32 + 1, (byte - start) as u32 + 1)
}

/// The tokens of the statement that begins with the first of these: up to what ends it, outside of braces.
pub fn statement<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut depth = 0_u32;
    for (number, token) in tokens.iter().enumerate() {
        match (token.piece, depth) {
            (Piece::Word("{"), _) => depth += 1,
            (Piece::Word(";" | "}") | Piece::LineEnd, 0) => return &tokens[..number],
            (Piece::Word("}"), _) => depth -= 1,
            _ => {}
        }
    }
    tokens
}

/// The elements of the first braces of these tokens, each without the commas around it; none without braces.
pub fn elements<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let Some(open) = tokens.iter().position(|token| token.word() == "{") else { return Vec::new() };
    let (mut found, mut depth, mut from) = (Vec::new(), 0_u32, open + 1);
    for (number, token) in tokens.iter().enumerate().skip(open + 1) {
        let is_end = match token.word() {
            "{" => {
                depth += 1;
                false
            }
            "}" if depth > 0 => {
                depth -= 1;
                false
            }
            "}" | "," => depth == 0,
            _ => false,
        };
        if is_end {
            let element = trimmed(&tokens[from..number]);
            found.extend((!element.is_empty()).then_some(element));
            from = number + 1;
            if token.word() == "}" {
                break;
            }
        }
    }
    found
}

/// Without the ends of lines before and behind.
fn trimmed<'t, 'a>(mut tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    while let [Token { piece: Piece::LineEnd, .. }, rest @ ..] | [rest @ .., Token { piece: Piece::LineEnd, .. }] =
        tokens
    {
        tokens = rest;
    }
    tokens
}

/// A set or map with a name, and what its elements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSet<'a> {
    /// Its name.
    pub name: &'a str,
    /// The tokens of each element.
    pub elements: Vec<Vec<Token<'a>>>,
}

/// The sets and maps that a text fills, where they are made and with `add element`, in the order of the text; one may come several times.
pub fn sets(text: &str) -> Vec<NamedSet<'_>> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let starts =
            at == 0 || matches!(tokens[at - 1].piece, Piece::LineEnd | Piece::Word(";" | "{" | "}" | "add" | "create"));
        if !starts {
            continue;
        }
        let rest = &tokens[at..];
        let owned = |tokens| elements(tokens).into_iter().map(<[Token<'_>]>::to_vec).collect();
        match token.word() {
            "set" | "map" => {
                let Some(open) = rest.iter().position(|token| token.word() == "{") else { continue };
                let Some(name) = open.checked_sub(1).filter(|before| *before > 0).map(|before| rest[before].word())
                else {
                    continue;
                };
                let block = block(&rest[open..]);
                if let Some(of) = block.iter().position(|token| token.word() == "elements") {
                    found.push(NamedSet { name, elements: owned(&block[of..]) });
                }
            }
            "element" => {
                let statement = statement(rest);
                let name = statement.iter().take_while(|token| token.word() != "{").last().map(Token::word);
                found.extend(name.map(|name| NamedSet { name, elements: owned(statement) }));
            }
            _ => {}
        }
    }
    found
}

/// From the opening brace that these begin with to the one that closes it.
fn block<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut depth = 0_u32;
    for (number, token) in tokens.iter().enumerate() {
        match token.word() {
            "{" => depth += 1,
            "}" if depth <= 1 => return &tokens[..=number],
            "}" => depth -= 1,
            _ => {}
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
        tokens.iter().map(Token::word).filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn comments_quotes_and_continued_lines_end_nothing() {
        let text = "tcp dport { 22, # ssh } ; \"\n 80 } \\\n log prefix \"a;b} # c\" accept; drop";
        let tokens = tokens(text);
        assert_eq!(
            words(statement(&tokens)),
            ["tcp", "dport", "{", "22", ",", "80", "}", "log", "prefix", "\"a;b} # c\"", "accept"]
        );
        let each: Vec<_> = elements(&tokens).into_iter().map(words).collect();
        assert_eq!(each, [["22"], ["80"]]);
        for token in &tokens {
            let (line, column) = place(text, token.at.start);
            assert_eq!(byte(text, line, column), Some(token.at.start));
        }
        assert_eq!((byte(text, 9, 9), byte(text, 0, 1)), (None, None));
    }

    #[test]
    fn sets_and_maps_are_found_wherever_they_are_filled() {
        let text = "define x = { 1 }\nadd table ip t; add set ip t early { type ipv4_addr; }\nadd element ip t early { 10.0.0.1 }
table inet t { set s { type inet_service; flags interval
  elements = { 22,
    80-90 comment \"a, } b\" } ; }
  map m { type inet_service : verdict; elements = { 1 : accept } }
  set empty { type mark; } chain c { tcp dport @s accept; add @early { ip saddr } } }";
        let found: Vec<_> = sets(text)
            .into_iter()
            .map(|set| (set.name, set.elements.iter().map(|e| words(e).join(" ")).collect::<Vec<_>>()))
            .collect();
        let wanted =
            [("early", vec!["10.0.0.1"]), ("s", vec!["22", "80-90 comment \"a, } b\""]), ("m", vec!["1 : accept"])];
        assert_eq!(
            found,
            wanted.map(|(name, elements)| (name, elements.into_iter().map(String::from).collect::<Vec<_>>()))
        );
    }

    #[test]
    fn what_is_broken_off_is_taken() {
        for text in
            ["\"", "{", "}", "set {", "set s {", "add element", "\\", "# x", "set s { elements = { 1", "{ , , }"]
        {
            let _ = (sets(text), tokens(text), elements(&tokens(text)), statement(&tokens(text)).len());
        }
    }
}
