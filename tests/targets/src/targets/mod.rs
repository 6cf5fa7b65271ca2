//! What is done with one input, and what must hold of the outcome; one file for each target.

pub mod acme_csr;
pub mod acme_jwk;
pub mod acme_jws;
pub mod acme_request;
pub mod control_frame;
pub mod dhcp;
pub mod dns_authority;
pub mod dns_message;
pub mod dns_resolver;
pub mod dns_text;
pub mod exec_frame;
pub mod lab_suite;
pub mod lab_verdict;
pub mod ntp;
pub mod oidc_form;
pub mod oidc_http;
pub mod oidc_jose;
pub mod pki_ocsp;
pub mod registry_http;
pub mod root_wire;
pub mod spec_json;
pub mod spec_yaml;
pub mod whois;

/// What is done with one input. Panics when it finds a fault.
pub type Target = fn(&[u8]);

/// All targets, by name.
#[rustfmt::skip]
pub const ALL: &[(&str, Target)] = &[
    ("acme_csr", acme_csr::target),
    ("acme_jwk", acme_jwk::target),
    ("acme_jws", acme_jws::target),
    ("acme_request", acme_request::target),
    ("control_frame", control_frame::target),
    ("dhcp", dhcp::target),
    ("dns_authority", dns_authority::target),
    ("dns_message", dns_message::target),
    ("dns_resolver", dns_resolver::target),
    ("dns_text", dns_text::target),
    ("exec_frame", exec_frame::target),
    ("lab_suite", lab_suite::target),
    ("lab_verdict", lab_verdict::target),
    ("ntp", ntp::target),
    ("oidc_form", oidc_form::target),
    ("oidc_http", oidc_http::target),
    ("oidc_jose", oidc_jose::target),
    ("pki_ocsp", pki_ocsp::target),
    ("registry_http", registry_http::target),
    ("root_wire", root_wire::target),
    ("spec_json", spec_json::target),
    ("spec_yaml", spec_yaml::target),
    ("whois", whois::target),
];
