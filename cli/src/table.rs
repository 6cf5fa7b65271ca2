//! Aligned columns for people.

use crate::escape;

/// Colours of states, as ANSI SGR parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tint {
    /// As it is.
    Plain,
    /// It is well.
    Good,
    /// At work or not begun.
    Busy,
    /// Needs attention.
    Bad,
    /// Of less interest.
    Dim,
}

impl Tint {
    /// The text in this colour, when colour is wanted.
    pub fn paint(self, text: &str, color: bool) -> String {
        let code = match self {
            Tint::Plain => return text.to_owned(),
            Tint::Good => "32",
            Tint::Busy => "33",
            Tint::Bad => "31",
            Tint::Dim => "2",
        };
        if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The colour of a state's word, of worlds, phases, services and operations alike.
    pub fn of_state(word: &str) -> Self {
        match word {
            "ready" | "done" | "joined" => Tint::Good,
            "booting" | "stopping" | "running" | "undoing" => Tint::Busy,
            "degraded" | "failed" | "cancelled" => Tint::Bad,
            _ => Tint::Dim,
        }
    }
}

/// Rows below a heading, columns two spaces apart; the last column is not padded.
pub struct Table {
    rows: Vec<Vec<(String, Tint)>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|text| ((*text).to_owned(), Tint::Dim)).collect()] }
    }

    /// Adds a row of plain cells; their text is made safe here.
    pub fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.tinted(cells.map(|text| (text, Tint::Plain)));
    }

    /// Adds a row of coloured cells; their text is made safe here.
    pub fn tinted<const N: usize>(&mut self, cells: [(&str, Tint); N]) {
        self.rows.push(cells.map(|(text, tint)| (escape::line(text).into_owned(), tint)).into());
    }

    /// Adds a row of as many cells as there are headings; their text is made safe here.
    pub fn cells<'a>(&mut self, cells: impl IntoIterator<Item = (&'a str, Tint)>) {
        self.rows.push(cells.into_iter().map(|(text, tint)| (escape::line(text).into_owned(), tint)).collect());
    }

    /// The table as lines.
    pub fn render(&self, color: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut lines = String::new();
        for row in &self.rows {
            let mut gap = 0;
            for ((text, tint), width) in row.iter().zip(&widths) {
                if text.is_empty() {
                    gap += width + 2;
                    continue;
                }
                // Padding is written only before a text, so no line ends in spaces.
                lines.extend(std::iter::repeat_n(' ', gap));
                lines.push_str(&tint.paint(text, color));
                gap = width - text.chars().count() + 2;
            }
            lines.push('\n');
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_end_without_spaces() {
        let mut table = Table::new(&["NAME", "STATE", "DETAIL"]);
        table.row(["a", "", "x\u{1b}y"]);
        table.row(["longer", "done", ""]);
        assert_eq!(table.render(false), "NAME    STATE  DETAIL\na              x\\x1by\nlonger  done\n");
    }

    #[test]
    fn colour_does_not_change_the_alignment() {
        let mut table = Table::new(&["S", "T"]);
        table.tinted([("done", Tint::Good), ("x", Tint::Plain)]);
        assert_eq!(table.render(true), "\x1b[2mS\x1b[0m     \x1b[2mT\x1b[0m\n\x1b[32mdone\x1b[0m  x\n");
    }
}
