//! Section `world_services`.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{AccessKeyId, BucketName, DnsName, Email, Text};

/// Mail and object storage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorldServices {
    /// SMTP and IMAP.
    pub mail: Mail,
    /// S3.
    pub storage: Storage,
}

/// SMTP and IMAP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    /// Whether the world has mail.
    pub enabled: bool,
    /// Which server. With `runtime: embedded` it is the built-in one under either name.
    pub server: MailServer,
    /// Where it listens.
    pub listen_ip: Ipv4Addr,
    /// Its name, the target of MX records.
    pub canonical_name: DnsName,
    /// Signing of mail (RFC 6376).
    pub dkim: Dkim,
    /// What receivers should do with mail that fails (RFC 7489).
    pub dmarc: Dmarc,
    /// How mailboxes come to be.
    pub mailbox_policy: MailboxPolicy,
    /// Where mail for postmasters goes; absent: the postmaster of the mail server's own name.
    pub postmaster_address: Option<Email>,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            enabled: true,
            server: MailServer::Postfix,
            listen_ip: Ipv4Addr::new(10, 0, 0, 13),
            canonical_name: DnsName::ours("mail.internal"),
            dkim: Dkim::default(),
            dmarc: Dmarc::default(),
            mailbox_policy: MailboxPolicy::default(),
            postmaster_address: None,
        }
    }
}

/// Which mail server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailServer {
    /// Postfix.
    #[default]
    Postfix,
    /// The built-in server.
    Embedded,
}

/// Signing of mail (RFC 6376).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dkim {
    /// Whether mail is signed.
    pub enabled: bool,
    /// Whether the keys outlive the world.
    pub key_signing_policy: KeySigningPolicy,
}

impl Default for Dkim {
    fn default() -> Self {
        Self { enabled: true, key_signing_policy: KeySigningPolicy::Ephemeral }
    }
}

/// Whether signing keys outlive the world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeySigningPolicy {
    /// They go away with it.
    #[default]
    Ephemeral,
    /// They are kept.
    Persistent,
}

/// What receivers should do with mail that fails (RFC 7489).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dmarc {
    /// Whether policies are published and judged.
    pub enabled: bool,
    /// The policy.
    pub policy: DmarcPolicy,
}

impl Default for Dmarc {
    fn default() -> Self {
        Self { enabled: true, policy: DmarcPolicy::None }
    }
}

/// A DMARC policy (RFC 7489, section 6.3, tag `p`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DmarcPolicy {
    /// Deliver.
    #[default]
    None,
    /// Treat as suspicious.
    Quarantine,
    /// Refuse.
    Reject,
}

/// How mailboxes come to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MailboxPolicy {
    /// Whether each user of an organisation gets a mailbox.
    pub auto_provision_from_orgs: bool,
    /// How much a mailbox holds, in MiB.
    #[schemars(range(min = 1, max = 1048576))]
    pub quota_mb: u32,
    /// The SPF record of an organisation's domain (RFC 7208).
    pub spf_default: Text,
    /// The DMARC record of an organisation's domain; absent: made from `dmarc.policy`.
    pub dmarc_default: Option<Text>,
}

impl Default for MailboxPolicy {
    fn default() -> Self {
        Self {
            auto_provision_from_orgs: true,
            quota_mb: 1000,
            spf_default: Text::ours("v=spf1 mx -all"),
            dmarc_default: None,
        }
    }
}

/// S3 object storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Whether the world has storage.
    pub enabled: bool,
    /// Which server. With `runtime: embedded` it is the built-in one under either name.
    pub server: StorageServer,
    /// Where it listens.
    pub listen_ip: Ipv4Addr,
    /// Its name.
    pub canonical_name: DnsName,
    /// The access key id of the platform; `generated` makes a random one.
    pub access_key_id: AccessKeyId,
    /// The buckets that exist from the start.
    pub buckets: Vec<Bucket>,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            enabled: true,
            server: StorageServer::Minio,
            listen_ip: Ipv4Addr::new(10, 0, 0, 14),
            canonical_name: DnsName::ours("storage.platform.internal"),
            access_key_id: AccessKeyId::ours("generated"),
            buckets: Vec::new(),
        }
    }
}

/// Which storage server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StorageServer {
    /// MinIO.
    #[default]
    Minio,
    /// The built-in server.
    Embedded,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// What it is for.
    #[serde(default)]
    pub description: Option<Text>,
    /// Who may use it.
    #[serde(default)]
    pub scope: BucketScope,
}

/// Who may use a bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BucketScope {
    /// The platform.
    #[default]
    Platform,
    /// Organisations.
    Org,
}
