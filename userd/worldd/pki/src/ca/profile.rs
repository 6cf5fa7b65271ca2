//! Profiles: how long certificates live and what they are for (draft-ietf-acme-profiles).

use std::collections::BTreeMap;

/// One profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// A sentence for the directory.
    pub description: String,
    /// How long a certificate is valid, in seconds.
    pub lifetime_secs: u32,
    /// Whether a TLS client may use it too.
    pub client_auth: bool,
}

/// The profiles of a world by name; one of them is what a client gets that names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profiles {
    default: String,
    all: BTreeMap<String, Profile>,
}

const DAY: u32 = 24 * 3600;

impl Default for Profiles {
    fn default() -> Self {
        let profile = |description: &str, lifetime_secs, client_auth| Profile {
            description: description.to_owned(),
            lifetime_secs,
            client_auth,
        };
        let all = [
            ("classic", profile("For TLS servers, valid for 90 days", 90 * DAY, false)),
            ("shortlived", profile("For TLS servers, valid for 6 days", 6 * DAY, false)),
            ("mutual", profile("For TLS servers and clients, valid for 90 days", 90 * DAY, true)),
        ];
        Self {
            default: "classic".to_owned(),
            all: all.into_iter().map(|(name, profile)| (name.to_owned(), profile)).collect(),
        }
    }
}

impl Profiles {
    /// Profiles of one's own; `None` when the default is not among them.
    pub fn new(default: &str, all: BTreeMap<String, Profile>) -> Option<Self> {
        all.contains_key(default).then(|| Self { default: default.to_owned(), all })
    }

    /// The name of the default.
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// The profile of that name.
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.all.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.all.iter().map(|(name, profile)| (name.as_str(), profile))
    }
}
