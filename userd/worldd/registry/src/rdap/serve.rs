//! Paths, searches, errors (RFC 7480, 9082).

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Path, RawQuery, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use icann_rdap_common::{
    media_types::RDAP_MEDIA_TYPE,
    response::{Help, Notice, RdapResponseError, Rfc9083Error},
};
use ipnet::IpNet;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    bootstrap,
    object::{self, Base},
};
use crate::{
    decide::shown,
    name::{self, NameError},
    registry::{Registry, now},
    state,
};

/// Most objects that a search answers with.
const MAX_RESULTS: usize = 100;
/// Longest query of a URL, bytes.
const MAX_QUERY_BYTES: usize = 2048;

/// What every path holds.
struct Shared {
    registry: Arc<Registry>,
    base: Base,
}

type Held = State<Arc<Shared>>;

/// Why there is no object.
enum Refused {
    Bad(String),
    Absent(String),
    Broken,
}

impl From<RdapResponseError> for Refused {
    fn from(error: RdapResponseError) -> Self {
        tracing::error!(service = "registry", "cannot make an RDAP answer: {error}");
        Self::Broken
    }
}

type Answer = Result<Response, Refused>;

/// The parts of a path that vary. What cannot be read is an RDAP error like any other.
struct At<T>(T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        read.map(|Path(parts)| Self(parts)).map_err(|_| Refused::Bad("the path is not UTF-8".to_owned()))
    }
}

/// The routes of RDAP. `base` is where they are reached, its path included; nest the router there.
pub fn router(registry: Arc<Registry>, base: Base) -> Router {
    Router::new()
        .route("/help", get(help))
        .route("/domain/{name}", get(domain))
        .route("/nameserver/{name}", get(name_server))
        .route("/entity/{handle}", get(entity))
        .route("/ip/{address}", get(ip))
        .route("/ip/{address}/{length}", get(ip_network))
        .route("/autnum/{number}", get(autnum))
        .route("/domains", get(domains))
        .route("/nameservers", get(name_servers))
        .route("/entities", get(entities))
        .route("/{file}", get(file))
        .fallback(|| std::future::ready(Refused::Absent("nothing is at this path".to_owned())))
        .method_not_allowed_fallback(|| std::future::ready(failed(405, "only GET and HEAD are understood")))
        .with_state(Arc::new(Shared { registry, base }))
}

fn typed(status: u16, kind: &'static str, body: &impl Serialize) -> Response {
    let mut response = Response::new(Body::from(serde_json::to_string(body).unwrap_or_default()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // RFC 7480, section 5.6.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn found(body: &impl Serialize) -> Response {
    typed(200, RDAP_MEDIA_TYPE, body)
}

fn failed(status: u16, description: &str) -> Response {
    let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let error = Rfc9083Error::response_obj().error_code(status).title(title).description_entry(description).build();
    typed(status, RDAP_MEDIA_TYPE, &error)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Bad(why) => failed(400, &why),
            Self::Absent(why) => failed(404, &why),
            Self::Broken => failed(500, "the answer cannot be made"),
        }
    }
}

fn absent(what: &str, text: &str) -> Refused {
    Refused::Absent(format!("no {what} `{}` is registered here", shown(text)))
}

/// A name in its ASCII form (RFC 9082, section 3.1.3: both forms are understood).
fn ldh(text: &str) -> Result<String, Refused> {
    match name::parse(text) {
        Ok(name) => Ok(name.to_string()),
        Err(NameError::Unicode(ascii)) => Ok(ascii),
        Err(error) => Err(Refused::Bad(format!("`{}` {error}", shown(text)))),
    }
}

async fn help(State(shared): Held) -> Response {
    let texts = [
        "Objects: domain/NAME, nameserver/NAME, entity/HANDLE, ip/ADDRESS, ip/ADDRESS/BITS, autnum/NUMBER.",
        "Searches: domains?name=|nsLdhName=|nsIp=, nameservers?name=|ip=, entities?fn=|handle=; `*` ends a pattern.",
        "Bootstrap: dns.json, ipv4.json, ipv6.json, asn.json.",
    ];
    let text = texts.map(str::to_owned).to_vec();
    let notice = Notice::builder().title(format!("RDAP at {}", shared.base.url)).description(text).build();
    found(&Help::response().notice(notice).build())
}

async fn file(State(shared): Held, At(name): At<String>) -> Answer {
    let file = bootstrap::file(&shared.base, &shared.registry.look(), &name, now());
    file.map(|file| typed(200, "application/json", &file))
        .ok_or_else(|| Refused::Absent("nothing is at this path".to_owned()))
}

async fn domain(State(shared): Held, At(text): At<String>) -> Answer {
    let (name, state) = (ldh(&text)?, shared.registry.state());
    let it = state.domain(&name).ok_or_else(|| absent("domain", &name))?;
    Ok(found(&object::domain(&shared.base, &state, it)?))
}

async fn name_server(State(shared): Held, At(text): At<String>) -> Answer {
    let (name, state) = (ldh(&text)?, shared.registry.state());
    let addresses = object::addresses(&state, &name).ok_or_else(|| absent("name server", &name))?;
    Ok(found(&object::name_server(&shared.base, &name, &addresses)?))
}

async fn entity(State(shared): Held, At(handle): At<String>) -> Answer {
    let state = shared.registry.state();
    let it = state.organisation(&handle.to_ascii_lowercase()).ok_or_else(|| absent("entity", &handle))?;
    Ok(found(&object::entity(&shared.base, it, &[])))
}

async fn ip(State(shared): Held, At(text): At<String>) -> Answer {
    let address: IpAddr = text.parse().map_err(|_| Refused::Bad(format!("`{}` is not an address", shown(&text))))?;
    held(&shared, IpNet::from(address))
}

async fn ip_network(State(shared): Held, At((address, length)): At<(String, String)>) -> Answer {
    let text = format!("{address}/{length}");
    let network: IpNet = text.parse().map_err(|_| Refused::Bad(format!("`{}` is not a network", shown(&text))))?;
    held(&shared, network.trunc())
}

fn held(shared: &Shared, asked: IpNet) -> Answer {
    let state = shared.registry.state();
    let it = state.holder_of(asked).ok_or_else(|| absent("network that holds", &asked.to_string()))?;
    Ok(found(&object::network(&shared.base, &state, it)?))
}

async fn autnum(State(shared): Held, At(text): At<String>) -> Answer {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u32>().ok().filter(|_| is_number);
    let number =
        number.ok_or_else(|| Refused::Bad(format!("`{}` is not the number of an autonomous system", shown(&text))))?;
    let state = shared.registry.state();
    let lease = state.leases().find(|lease| lease.asn == number).ok_or_else(|| absent("autonomous system", &text))?;
    Ok(found(&object::autnum(&shared.base, &state, lease)))
}

/// A search: its one parameter and what is looked for.
fn search(query: Option<String>, known: &[&str]) -> Result<(String, Pattern), Refused> {
    let query = query.unwrap_or_default();
    if query.len() > MAX_QUERY_BYTES {
        return Err(Refused::Bad("the query is too long".to_owned()));
    }
    let wrong = || Refused::Bad(format!("one of these parameters is needed: {}", known.join(", ")));
    let (key, value) = query.split_once('=').ok_or_else(wrong)?;
    if !known.contains(&key) || value.contains('&') {
        return Err(wrong());
    }
    Ok((key.to_owned(), Pattern::parse(value)?))
}

/// A text with at most one `*`, which stands for any characters (RFC 9082, section 4.1).
struct Pattern {
    before: String,
    after: Option<String>,
}

impl Pattern {
    fn parse(encoded: &str) -> Result<Self, Refused> {
        let text = decode(encoded).ok_or_else(|| Refused::Bad("the parameter is not UTF-8".to_owned()))?.to_lowercase();
        let text = text.strip_suffix('.').unwrap_or(&text).to_owned();
        let wrong = Refused::Bad("a search has characters and at most one `*`, at the end of a label".to_owned());
        match text.split_once('*') {
            None if !text.is_empty() => Ok(Self { before: text, after: None }),
            Some((before, after))
                if !after.contains('*') && (after.is_empty() || after.starts_with('.')) && text != "*" =>
            {
                Ok(Self { before: before.to_owned(), after: Some(after.to_owned()) })
            }
            _ => Err(wrong),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match &self.after {
            None => text == self.before,
            Some(after) => text.strip_prefix(&self.before).is_some_and(|rest| {
                // What the `*` stands for has no dot when more labels follow.
                rest.strip_suffix(after.as_str()).is_some_and(|any| after.is_empty() || !any.contains('.'))
            }),
        }
    }

    fn address(&self) -> Result<IpAddr, Refused> {
        let parsed = self.before.parse().ok().filter(|_| self.after.is_none());
        parsed.ok_or_else(|| Refused::Bad("an address is needed".to_owned()))
    }
}

/// Percent-decoding of a query's value.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits =
                    std::str::from_utf8(&digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
                u8::from_str_radix(digits, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The answer of a search (RFC 9083, section 8), which tells when it was cut (section 9).
fn results<T: Serialize>(member: &str, mut all: Vec<T>) -> Answer {
    let is_cut = all.len() > MAX_RESULTS;
    all.truncate(MAX_RESULTS);
    let mut all: Vec<Value> =
        all.into_iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(|_| Refused::Broken)?;
    for one in &mut all {
        if let Some(object) = one.as_object_mut() {
            // It stands once, at the top.
            object.remove("rdapConformance");
        }
    }
    let mut body = json!({"rdapConformance": ["rdap_level_0"], member: all});
    if is_cut {
        let text = format!("only the first {MAX_RESULTS} objects are shown; ask more exactly");
        body["notices"] = json!([{
            "title": "Search Results Truncated",
            "type": "result set truncated due to excessive load",
            "description": [text],
        }]);
    }
    Ok(found(&body))
}

async fn domains(State(shared): Held, RawQuery(query): RawQuery) -> Answer {
    let (key, pattern) = search(query, &["name", "nsLdhName", "nsIp"])?;
    let state: Arc<state::State> = shared.registry.state();
    let address = if key == "nsIp" { Some(pattern.address()?) } else { None };
    let hits = state.domains().filter(|it| match (key.as_str(), address) {
        ("name", _) => pattern.matches(&it.name) || name::unicode(&it.name).is_some_and(|name| pattern.matches(&name)),
        ("nsLdhName", _) => state.servers_of(it).iter().any(|server| pattern.matches(server)),
        (_, Some(address)) => state
            .servers_of(it)
            .iter()
            .any(|server| object::addresses(&state, server).is_some_and(|addresses| addresses.contains(&address))),
        _ => false,
    });
    let all: Result<Vec<_>, _> =
        hits.take(MAX_RESULTS + 1).map(|it| object::domain(&shared.base, &state, it)).collect();
    results("domainSearchResults", all?)
}

async fn name_servers(State(shared): Held, RawQuery(query): RawQuery) -> Answer {
    let (key, pattern) = search(query, &["name", "ip"])?;
    let state = shared.registry.state();
    let address = if key == "ip" { Some(pattern.address()?) } else { None };
    let of_domains = state.domains().flat_map(|domain| domain.name_servers()).map(|server| server.name);
    let hosts: std::collections::BTreeSet<String> =
        of_domains.chain(state.tlds().map(|tld| tld.server.clone())).collect();
    let mut found = Vec::new();
    for host in hosts {
        let addresses = object::addresses(&state, &host).unwrap_or_default();
        let is_hit = address.map_or_else(|| pattern.matches(&host), |address| addresses.contains(&address));
        if is_hit {
            found.push(object::name_server(&shared.base, &host, &addresses)?);
        }
        if found.len() > MAX_RESULTS {
            break;
        }
    }
    results("nameserverSearchResults", found)
}

async fn entities(State(shared): Held, RawQuery(query): RawQuery) -> Answer {
    // The full name of an organisation is its handle.
    let (_, pattern) = search(query, &["fn", "handle"])?;
    let state = shared.registry.state();
    let hits = state.organisations().filter(|it| pattern.matches(&it.name));
    results("entitySearchResults", hits.take(MAX_RESULTS + 1).map(|it| object::entity(&shared.base, it, &[])).collect())
}
