//! The live check of the certificate authority: a whole order (RFC 8555), its chain, and the end of both.

use std::{pin::Pin, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response};
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, HttpClient, Identifier, Key, NewAccount,
    NewOrder, Order, OrderStatus, Problem, RevocationReason, RevocationRequest,
};
use netengine_proto::{control::Fault, trust::Secret};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use tokio::time::sleep;

use super::{
    finding::{Finding, Progress, Seen},
    http::{self, Http, Shared},
    responder::Responder,
    tls,
};

/// The first pause before the order is looked at again; it doubles up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// Our HTTPS under the library that speaks ACME.
struct Carrier(Arc<Http>);

impl HttpClient for Carrier {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let http = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let (url, is_post) = (head.uri.to_string(), head.method == Method::POST);
            let answer = http.send(Request::from_parts(head, body)).await.map_err(carry)?;
            let status = answer.status();
            // The library reads error documents, but only those that answer a POST.
            if (status.is_client_error() || status.is_server_error())
                && (!is_post || http::media_type(&answer) != "application/problem+json")
            {
                return Err(carry(http::refusal(&url, &answer)));
            }
            let (head, body) = answer.into_parts();
            Ok(BytesResponse::from(Response::from_parts(head, Full::new(body))))
        })
    }
}

fn carry(finding: Finding) -> instant_acme::Error {
    instant_acme::Error::Other(Box::new(finding))
}

/// What an error of the library tells of the authority.
fn finding(doing: &str, error: instant_acme::Error) -> Finding {
    match error {
        instant_acme::Error::Api(problem) => refused(doing, &problem),
        instant_acme::Error::Other(inner) => match inner.downcast::<Finding>() {
            Ok(finding) => Finding { detail: format!("{doing}: {}", finding.detail), ..*finding },
            Err(error) => Finding::wrong(format!("{doing}: {error}")),
        },
        error => Finding::wrong(format!("{doing}: {error}")),
    }
}

/// The error document's own words (RFC 8555, section 6.7).
fn refused(doing: &str, problem: &Problem) -> Finding {
    let kind = problem.r#type.as_deref().unwrap_or("about:blank");
    let detail = problem.detail.as_deref().unwrap_or("no detail");
    Finding::refused(format!("{doing}: {kind}: {detail}"))
}

/// Gets a certificate for `name`, verifies and revokes it. An account that was made for it alone, without a key that is
/// given, is ended.
pub async fn check(
    shared: Shared,
    directory: &str,
    name: &str,
    account_key: Option<&Secret>,
    progress: &Progress,
) -> Seen {
    let server_name = tls::server_name(name)?;
    let responder = Responder::get().await?;
    let http = Arc::new(Http::new(shared.clone(), progress.clone()));
    let builder = Account::builder_with_http(Box::new(Carrier(http)));
    let made = match account_key {
        Some(key) => builder.create_from_key(read(key)?, directory.to_owned()).await,
        None => {
            let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
            builder.create(&new, directory.to_owned(), None).await
        }
    };
    let (account, _) = made.map_err(|error| finding("a new account", error))?;
    let mut order = account
        .new_order(&NewOrder::new(&[Identifier::Dns(name.to_owned())]))
        .await
        .map_err(|error| finding("a new order", error))?;
    authorise(&mut order, &responder, name, progress).await?;
    let (chain, key) = finalise(&mut order, name, progress).await?;
    let leaf = chain.first().ok_or_else(|| Finding::wrong("the authority gave an empty chain"))?;

    // Revoked whatever it is like, and then judged.
    let reason = Some(RevocationReason::CessationOfOperation);
    let revoked = account.revoke(&RevocationRequest { certificate: leaf, reason }).await;
    shared.tls.verify(&chain, &server_name)?;
    let valid_s = judge(leaf, &key)?;
    revoked.map_err(|error| finding("the revocation", error))?;
    if account_key.is_none() {
        account.deactivate().await.map_err(|error| finding("the end of the account", error))?;
    }
    let (certificates, hours) = (chain.len(), valid_s / 3600);
    Ok(format!("a certificate for {name} by http-01, valid for {hours} h, {certificates} in its chain, revoked"))
}

/// The key of an account that is kept.
fn read(secret: &Secret) -> Result<(Key, PrivateKeyDer<'static>), Finding> {
    let ours = || Finding::ours("the key of the account for live checks cannot be read");
    let der = PrivatePkcs8KeyDer::from(STANDARD.decode(secret.expose()).map_err(|_| ours())?);
    let key = Key::from_pkcs8_der(der.clone_key()).map_err(|_| ours())?;
    Ok((key, PrivateKeyDer::Pkcs8(der)))
}

/// Proves that the name is this host's.
async fn authorise(order: &mut Order, responder: &Responder, name: &str, progress: &Progress) -> Result<(), Finding> {
    let mut tokens = Offered { responder, tokens: Vec::new() };
    let mut authorisations = order.authorizations();
    while let Some(authorisation) = authorisations.next().await {
        let mut authorisation = authorisation.map_err(|error| finding("an authorization", error))?;
        if authorisation.status == AuthorizationStatus::Valid {
            continue;
        }
        let mut challenge = authorisation
            .challenge(ChallengeType::Http01)
            .ok_or_else(|| Finding::wrong(format!("the authority offers no http-01 challenge for {name}")))?;
        responder.put(&challenge.token, challenge.key_authorization().as_str());
        tokens.tokens.push(challenge.token.clone());
        challenge.set_ready().await.map_err(|error| finding("the challenge", error))?;
    }
    let status = settled(order, &[OrderStatus::Pending], "validated", progress).await?;
    if status == OrderStatus::Ready || status == OrderStatus::Valid {
        return Ok(());
    }
    Err(invalid(order, name).await)
}

/// Challenges that are answered as long as this lives.
struct Offered<'a> {
    responder: &'a Responder,
    tokens: Vec<String>,
}

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        self.tokens.iter().for_each(|token| self.responder.delete(token));
    }
}

/// Waits until the order is none of `unsettled` any more.
async fn settled(
    order: &mut Order,
    unsettled: &[OrderStatus],
    what: &str,
    progress: &Progress,
) -> Result<OrderStatus, Finding> {
    let mut pause = FIRST_PAUSE;
    loop {
        let status = order.refresh().await.map_err(|error| finding("the order", error))?.status;
        if !unsettled.contains(&status) {
            return Ok(status);
        }
        progress.enter_for(Some(Fault::Refused), format!("the order waits to be {what}"));
        sleep(pause).await;
        pause = LAST_PAUSE.min(pause * 2);
    }
}

/// Why an order became invalid: what the authority says of the challenge.
async fn invalid(order: &mut Order, name: &str) -> Finding {
    let mut authorisations = order.authorizations();
    while let Some(Ok(mut authorisation)) = authorisations.next().await {
        if let Ok(state) = authorisation.refresh().await
            && let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref())
        {
            return refused(&format!("the challenge for {name}"), problem);
        }
    }
    match &order.state().error {
        Some(problem) => refused(&format!("the order for {name}"), problem),
        None => Finding::refused(format!("the order for {name} became invalid without a reason")),
    }
}

/// Sends the request for the certificate and reads the chain.
async fn finalise(
    order: &mut Order,
    name: &str,
    progress: &Progress,
) -> Result<(Vec<CertificateDer<'static>>, KeyPair), Finding> {
    let ours = |error: rcgen::Error| Finding::ours(format!("cannot make a certificate request: {error}"));
    let key = KeyPair::generate().map_err(ours)?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(ours)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(ours)?;
    order.finalize_csr(request.der()).await.map_err(|error| finding("the certificate request", error))?;
    if order.state().status == OrderStatus::Processing {
        settled(order, &[OrderStatus::Processing], "finalised", progress).await?;
    }
    if order.state().status != OrderStatus::Valid {
        return Err(invalid(order, name).await);
    }
    let pem = order.certificate().await.map_err(|error| finding("the certificate", error))?;
    let pem = pem.ok_or_else(|| Finding::wrong("the order is valid, but there is no certificate"))?;
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| Finding::wrong(format!("the chain cannot be read: {error}")))?;
    Ok((chain, key))
}

/// Whether the certificate is for our key; how long it is valid yet, seconds. The chain's verification has checked
/// name and time.
fn judge(leaf: &CertificateDer<'_>, key: &KeyPair) -> Result<i64, Finding> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf)
        .map_err(|error| Finding::wrong(format!("the certificate cannot be read: {error}")))?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err(Finding::wrong("the certificate is for another key than the one asked for"));
    }
    let left = certificate.validity().time_to_expiration().map_or(0, |left| left.whole_seconds());
    if left <= 0 {
        return Err(Finding::new(Fault::CertificateExpired, "the certificate is over its time already"));
    }
    Ok(left)
}
