//! How a domain reaches the world's DNS.

mod dns;

use netengine_spec::Spec;

pub use self::dns::DnsNames;
use crate::model::Domain;

/// Why a domain cannot be in DNS as it is wanted.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The world uses the name itself.
    #[error("cannot serve `{0}`: the world uses the name itself")]
    Reserved(String),
    /// There is no zone above it.
    #[error("cannot serve `{0}`: no zone lies above it")]
    NoZone(String),
    /// The records do not make a zone.
    #[error("cannot make the zone of `{name}`")]
    Zone {
        /// The domain.
        name: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Where domains are published. Blocking, short, and idempotent.
pub trait Names: Send + Sync + 'static {
    /// The spec whose zones are served from now on: names and addresses of the servers.
    fn follow(&self, spec: &Spec);

    /// Whether a domain could be published so in place of `before`; a domain that is new must not hide names of the world.
    ///
    /// # Errors
    /// [`NamesError`].
    fn check(&self, before: Option<&Domain>, after: &Domain) -> Result<(), NamesError>;

    /// Makes the zones say what `after` says, or nothing of the domain when it is absent. What any of `before` said and
    /// `after` does not is taken away; what others put there stays. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`NamesError`]; publishing again goes on.
    fn publish(&self, before: &[&Domain], after: Option<&Domain>, now: u32) -> Result<(), NamesError>;
}
