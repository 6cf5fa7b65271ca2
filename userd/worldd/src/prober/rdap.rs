//! The live check of an RDAP server (RFC 7480, 9082, 9083).

use serde_json::Value;

use super::{
    finding::{Finding, Progress, Seen},
    http::{self, Http, Shared},
};

/// The media type of answers (RFC 7480, section 4.2).
const MEDIA: &str = "application/rdap+json";

/// Fetches `url` and wants an object of `class`, or one without a class when that is empty.
pub async fn check(shared: Shared, url: &str, class: &str, progress: &Progress) -> Seen {
    let answer = Http::new(shared, progress.clone()).get(url, MEDIA).await?;
    if answer.status() != hyper::StatusCode::OK {
        return Err(http::refusal(url, &answer));
    }
    let media = http::media_type(&answer);
    if media != MEDIA {
        return Err(Finding::wrong(format!("{url} answered as {media:?}, not {MEDIA}")));
    }
    let object: Value = serde_json::from_slice(answer.body())
        .map_err(|error| Finding::wrong(format!("{url} answered what is not JSON: {error}")))?;
    judge(url, class, &object)
}

fn judge(url: &str, class: &str, object: &Value) -> Seen {
    let conformance = object.get("rdapConformance").and_then(Value::as_array);
    if !conformance.is_some_and(|levels| levels.iter().any(|level| level == "rdap_level_0")) {
        return Err(Finding::wrong(format!("{url}: rdapConformance does not name rdap_level_0")));
    }
    let seen = match object.get("objectClassName") {
        None => "",
        Some(Value::String(seen)) => seen,
        Some(_) => return Err(Finding::wrong(format!("{url}: objectClassName is not a text"))),
    };
    let shown = |class: &str| if class.is_empty() { "no class".to_owned() } else { format!("the class {class}") };
    if seen != class {
        return Err(Finding::wrong(format!("{url} has {}, not {}", shown(seen), shown(class))));
    }
    let name = ["ldhName", "handle"].iter().find_map(|field| object.get(field)?.as_str()).unwrap_or_default();
    Ok(format!("{url}: an object of {} {name}", shown(seen)).trim_end().to_owned())
}
