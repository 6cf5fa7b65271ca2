//! The syntax of unit files: systemd.syntax(7), the part that our units use.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// For example `Service`.
    pub section: String,
    /// For example `ExecStart`.
    pub key: String,
    /// The text behind `=`, trimmed, continued lines joined by one space.
    pub value: String,
    /// `file:line`, for messages.
    pub place: String,
}

/// A unit: its file and the drop-ins of `NAME.d/*.conf`, in order.
#[derive(Debug, Clone)]
pub struct Unit {
    /// File name, for example `netengine-rootd.service`.
    pub name: String,
    entries: Vec<Entry>,
}

impl Unit {
    /// Reads a unit file and its drop-ins.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is neither section, assignment nor comment.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str()).context("unit file without a name")?.to_owned();
        let mut files = vec![path.to_owned()];
        let drop_ins = path.with_file_name(format!("{name}.d"));
        if drop_ins.is_dir() {
            let mut more = fs::read_dir(&drop_ins)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            more.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
            more.sort();
            files.extend(more);
        }
        let mut entries = Vec::new();
        for file in files {
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            entries.extend(parse(&file.display().to_string(), &text)?);
        }
        Ok(Self { name, entries })
    }

    /// All assignments, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Every value of a key, in order. An empty assignment forgets what came before it, as systemd does for lists.
    pub fn all<'a>(&'a self, section: &str, key: &str) -> Vec<&'a Entry> {
        let mut found = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.section == section && entry.key == key) {
            if entry.value.is_empty() {
                found.clear();
            } else {
                found.push(entry);
            }
        }
        found
    }

    /// The last value of a key.
    pub fn last<'a>(&'a self, section: &str, key: &str) -> Option<&'a Entry> {
        self.all(section, key).pop()
    }

    /// Whether a key is assigned at all, if only to the empty list.
    pub fn has(&self, section: &str, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.section == section && entry.key == key)
    }

    /// The words of every value of a key.
    pub fn words(&self, section: &str, key: &str) -> Vec<String> {
        self.all(section, key).iter().flat_map(|entry| entry.value.split_whitespace()).map(str::to_owned).collect()
    }
}

/// Splits the text of a unit file into assignments.
///
/// # Errors
/// Names `file:line` of what is neither section, assignment nor comment.
pub fn parse(file: &str, text: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut section = String::new();
    let mut continues = false;
    for (index, raw) in text.lines().enumerate() {
        let place = format!("{file}:{}", index + 1);
        let line = raw.trim();
        // A comment inside a continued line does not end it.
        if line.starts_with(['#', ';']) || (line.is_empty() && !continues) {
            continue;
        }
        let (body, more) = match line.strip_suffix('\\') {
            Some(body) => (body.trim_end(), true),
            None => (line, false),
        };
        if continues {
            let entry = entries.last_mut().with_context(|| format!("{place}: nothing to continue"))?;
            entry.value = format!("{} {body}", entry.value).trim().to_owned();
        } else if let Some(name) = body.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = body.split_once('=') {
            if section.is_empty() {
                bail!("{place}: assignment before any section");
            }
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            entries.push(Entry { section: section.clone(), key, value, place });
        } else {
            bail!("{place}: neither section, assignment nor comment: {body:?}");
        }
        continues = more;
    }
    if continues {
        bail!("{file}: ends inside a continued line");
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: &str) -> Unit {
        Unit { name: "toy.service".into(), entries: parse("toy.service", text).expect("parses") }
    }

    #[test]
    fn comments_continuations_and_lists_follow_systemd_syntax() {
        let unit =
            unit("# c\n[Service]\n; c\nExecStart=/bin/a \\\n  # inside\n  b=c\nUser = u \nX=1\nX=\nX=2 3\nX=4\n");
        assert_eq!(unit.last("Service", "ExecStart").expect("set").value, "/bin/a b=c");
        assert_eq!(unit.last("Service", "User").expect("set").value, "u");
        assert_eq!(unit.words("Service", "X"), ["2", "3", "4"]);
        assert!(unit.last("Unit", "X").is_none());
        assert!(unit.has("Service", "X") && !unit.has("Service", "Y"));
    }

    #[test]
    fn broken_lines_are_errors_with_their_place() {
        for (text, message) in [
            ("User=u\n", "f:1: assignment before any section"),
            ("[Service]\nnonsense\n", "f:2: neither"),
            ("[Service]\nExecStart=/bin/a \\\n", "f: ends inside"),
        ] {
            let error = parse("f", text).expect_err("refused").to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
