//! What a host looks like from outside the product, to prove that nothing of it was touched.

use std::{collections::BTreeMap, fmt};

/// Each section is a question to the kernel that is asked with tools the product does not use.
const SECTIONS: &[(&str, &str)] = &[
    ("links", "ip -details -oneline link"),
    ("addresses", "ip -oneline address"),
    ("routes", "ip route show table all; ip -6 route show table all"),
    ("rules", "ip rule; ip -6 rule"),
    ("neighbours", "ip neighbour show nud permanent"),
    ("firewall", "nft --stateless list ruleset"),
    // Counters that move by themselves are left out.
    ("sysctls", "sysctl -a --pattern '^net[.]' 2>/dev/null | grep -Ev '_count |random|dev_weight_'"),
    ("mounts", "cut -d' ' -f3- /proc/1/mountinfo"),
    ("namespaces", "lsns --noheadings --output TYPE,NS --type net; lsns --noheadings --output TYPE,NS --type pid"),
    // lsns(8) sees namespaces of processes; these are held by nothing but a descriptor.
    ("held namespaces", "find /proc/[0-9]*/fd -lname 'net:*' -printf '%l\\n' 2>/dev/null | sort -u"),
    // In brackets: the tools of the questions above, when they have ended but not gone yet.
    (
        "processes",
        "ps -e -o user= -o args= | \
         grep -Ev ' (ps|grep|sh) |netengine-tests-snapshot| \\[(ps|grep|sh|sort|cut|find|lsns|ip|nft|sysctl)\\]'",
    ),
    ("files", "find /run /var/lib /var/log -xdev -printf '%y %m %u %g %p %l\\n' 2>/dev/null | sort"),
];

/// The state of a host at one moment. Equal states have equal text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<&'static str, Vec<String>>);

impl Snapshot {
    /// One shell script that answers every section.
    pub(crate) fn script() -> String {
        let ask = |(name, command): &(&str, &str)| format!("echo '== {name}'; {{ {command}; }} || true\n");
        format!(": netengine-tests-snapshot\n{}", SECTIONS.iter().map(ask).collect::<String>())
    }

    /// Reads the script's output.
    ///
    /// # Panics
    /// A section is missing.
    pub(crate) fn parse(text: &str) -> Self {
        let mut sections = BTreeMap::new();
        for part in text.split("== ").skip(1) {
            let (name, lines) = part.split_once('\n').expect("a title line");
            if let Some((name, _)) = SECTIONS.iter().find(|(known, _)| *known == name) {
                sections.insert(*name, lines.lines().map(str::to_owned).collect());
            }
        }
        assert_eq!(sections.len(), SECTIONS.len(), "incomplete snapshot:\n{text}");
        Self(sections)
    }

    /// The lines of one section.
    ///
    /// # Panics
    /// There is no such section.
    pub fn section(&self, name: &str) -> &[String] {
        &self.0[name]
    }

    /// The same without some sections, for what a test means to change (for example `processes` and `files`).
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|name, _| !names.contains(name));
        self
    }

    /// What is in one and not in the other, `-` for what is gone and `+` for what is new.
    pub fn difference(&self, later: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, before) in &self.0 {
            let after = later.0.get(name).map(Vec::as_slice).unwrap_or_default();
            let mut fresh: Vec<&String> = after.iter().collect();
            for line in before {
                match fresh.iter().position(|other| *other == line) {
                    Some(index) => drop(fresh.remove(index)),
                    None => found.push(format!("- {name}: {line}")),
                }
            }
            found.extend(fresh.into_iter().map(|line| format!("+ {name}: {line}")));
        }
        found
    }

    /// Fails with the differences, if there are any.
    ///
    /// # Panics
    /// That is what it is for.
    pub fn assert_unchanged(&self, later: &Self) {
        let difference = self.difference(later);
        assert!(difference.is_empty(), "the host was changed:\n{}", difference.join("\n"));
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, lines) in &self.0 {
            writeln!(f, "== {name}\n{}", lines.join("\n"))?;
        }
        Ok(())
    }
}
