//! Which cases: `name:TEXT`, `tag:WORD` or a text that the name contains, joined by `and`, `or`, `not`, with parentheses.

use netengine_suite::Case;

/// How deep parentheses and `not` may nest.
const DEPTH: usize = 64;

/// A choice of cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The name contains it.
    Name(String),
    /// It is a tag.
    Tag(String),
    /// Both.
    And(Box<Filter>, Box<Filter>),
    /// One or both.
    Or(Box<Filter>, Box<Filter>),
    /// The others.
    Not(Box<Filter>),
}

impl Filter {
    /// Parses it; `and` binds closer than `or`.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
        let filter = either(&mut words, 0)?;
        match words.last() {
            None => Ok(filter),
            Some(word) => Err(format!("{word:?} is not expected there")),
        }
    }

    /// Whether it takes this case.
    pub fn takes(&self, case: &Case) -> bool {
        match self {
            Filter::Name(text) => case.name.contains(text.as_str()),
            Filter::Tag(word) => case.tags.contains(word),
            Filter::And(a, b) => a.takes(case) && b.takes(case),
            Filter::Or(a, b) => a.takes(case) || b.takes(case),
            Filter::Not(a) => !a.takes(case),
        }
    }
}

fn either(words: &mut Vec<&str>, depth: usize) -> Result<Filter, String> {
    let mut left = both(words, depth)?;
    while words.last() == Some(&"or") {
        words.pop();
        left = Filter::Or(Box::new(left), Box::new(both(words, depth)?));
    }
    Ok(left)
}

fn both(words: &mut Vec<&str>, depth: usize) -> Result<Filter, String> {
    let mut left = one(words, depth)?;
    while words.last() == Some(&"and") {
        words.pop();
        left = Filter::And(Box::new(left), Box::new(one(words, depth)?));
    }
    Ok(left)
}

fn one(words: &mut Vec<&str>, depth: usize) -> Result<Filter, String> {
    if depth > DEPTH {
        return Err(format!("it nests more than {DEPTH} deep"));
    }
    match words.pop() {
        None => Err("it ends too early".to_owned()),
        Some("not") => Ok(Filter::Not(Box::new(one(words, depth + 1)?))),
        Some("(") => {
            let inner = either(words, depth + 1)?;
            match words.pop() {
                Some(")") => Ok(inner),
                _ => Err("a parenthesis is not closed".to_owned()),
            }
        }
        Some(word @ (")" | "and" | "or")) => Err(format!("{word:?} is not expected there")),
        Some(word) => Ok(match word.split_once(':') {
            Some(("name", text)) => Filter::Name(text.to_owned()),
            Some(("tag", text)) => Filter::Tag(text.to_owned()),
            _ => Filter::Name(word.to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(filter: &str, name: &str, tags: &[&str]) -> bool {
        let tags = tags.join(", ");
        let text = format!("- {{name: {name}, tags: [{tags}], rules: x, packets: [{{}}]}}");
        let suite = netengine_suite::load("s", &text, &mut |_| Err(String::new())).expect("sound");
        Filter::parse(filter).expect("parses").takes(&suite.cases[0])
    }

    #[test]
    fn words_are_joined_as_people_read_them() {
        assert!(takes("ssh", "allow ssh", &[]));
        assert!(takes("tag:slow or ssh", "allow ssh", &[]));
        assert!(!takes("tag:slow and ssh", "allow ssh", &[]));
        assert!(takes("not tag:slow and (ssh or web)", "web", &["quick"]));
        assert!(takes("a and b or c", "c", &[]), "`and` binds closer");
        assert!(!takes("a and (b or c)", "c", &[]));
    }

    #[test]
    fn what_is_no_expression_is_told() {
        for bad in ["", "and", "a b", "(a", "a)", "not", &"(".repeat(100)] {
            assert!(Filter::parse(bad).is_err(), "{bad:?}");
        }
    }
}
