//! ACME (RFC 8555): orders by http-01 from the account to the certificate. The client is instant-acme over one kept
//! connection each; this host answers the challenges on port 80.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, CertificateIdentifier, ChallengeType, HttpClient,
    Identifier, NewAccount, NewOrder, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Mutex as AsyncMutex,
    time::sleep,
};

use super::{Rate, repeat, web::Web};

/// Between two looks at an order that is being validated.
const PAUSE: Duration = Duration::from_millis(3);

/// Key authorisations by their tokens.
type Tokens = Arc<Mutex<HashMap<String, String>>>;

/// Our connection under the library.
struct Carrier(Arc<AsyncMutex<Web>>);

impl HttpClient for Carrier {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let web = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let answer = web.lock().await.send(Request::from_parts(head, Full::new(body))).await;
            let (head, body) = answer.map_err(|error| instant_acme::Error::Other(error.into()))?.into_parts();
            Ok(BytesResponse::from(Response::from_parts(head, Full::new(body))))
        })
    }
}

/// Certificates until the time is over.
pub async fn run(directory: &str, domain: &str, clients: usize, seconds: f64) -> Result<Rate> {
    let tokens = responder().await?;
    let mut accounts = Vec::new();
    for number in 0..clients {
        accounts.push((number, register(directory).await?));
    }
    repeat(accounts, seconds, |(number, account), until| {
        let tokens = &tokens;
        async move {
            let mut count = 0;
            while Instant::now() < until {
                certificate(&account, &format!("n{count}.c{number}.{domain}"), None, tokens).await?;
                count += 1;
            }
            Ok(count)
        }
    })
    .await
}

/// What a client saw that asked when to renew, and renewed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Renewed {
    /// From now to the beginning and to the end of the suggested window, seconds.
    window: (i64, i64),
    /// Until it is to be asked again, seconds.
    again: u64,
    /// The numbers of the first certificate and of what replaced it, hexadecimal.
    serials: (String, String),
    /// What another replacement of the first was refused with.
    refused: String,
}

/// A certificate, when to renew it (RFC 9773, section 4), and an order that says what it replaces (section 5), twice.
pub async fn renew(directory: &str, name: &str) -> Result<Renewed> {
    let (tokens, account) = (responder().await?, register(directory).await?);
    let first = certificate(&account, name, None, &tokens).await?;
    let id = CertificateIdentifier::try_from(&first).map_err(anyhow::Error::msg)?.into_owned();
    let (info, again) = account.renewal_info(&id).await?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let window = info.suggested_window;
    let window = (window.start.unix_timestamp() - now, window.end.unix_timestamp() - now);
    let second = certificate(&account, name, Some(&id), &tokens).await?;
    let refused = match certificate(&account, name, Some(&id), &tokens).await {
        Ok(_) => bail!("a certificate was replaced twice"),
        Err(error) => match error.downcast::<instant_acme::Error>()? {
            instant_acme::Error::Api(problem) => problem.r#type.context("a type")?,
            other => return Err(other.into()),
        },
    };
    let serial = |der: &CertificateDer<'_>| -> Result<String> {
        let id = CertificateIdentifier::try_from(der).map_err(anyhow::Error::msg)?;
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(id.serial.as_bytes())?;
        // DER puts a 0 before a number whose highest bit is set.
        let number = bytes.strip_prefix(&[0]).unwrap_or(&bytes);
        Ok(number.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    Ok(Renewed { window, again: again.as_secs(), serials: (serial(&first)?, serial(&second)?), refused })
}

async fn register(directory: &str) -> Result<Account> {
    let web = Arc::new(AsyncMutex::new(Web::connect(directory).await?));
    let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let builder = Account::builder_with_http(Box::new(Carrier(web)));
    Ok(builder.create(&new, directory.to_owned(), None).await?.0)
}

/// The whole way: order, authorization, challenge, waiting, request, certificate.
async fn certificate(
    account: &Account,
    name: &str,
    replaces: Option<&CertificateIdentifier<'_>>,
    tokens: &Tokens,
) -> Result<CertificateDer<'static>> {
    let names = [Identifier::Dns(name.to_owned())];
    let mut wanted = NewOrder::new(&names);
    if let Some(replaced) = replaces {
        wanted = wanted.replaces(replaced.clone());
    }
    let mut order = account.new_order(&wanted).await?;
    {
        let mut authorizations = order.authorizations();
        let mut authorization = authorizations.next().await.context("an authorization")??;
        if authorization.status == AuthorizationStatus::Pending {
            let mut challenge = authorization.challenge(ChallengeType::Http01).context("http-01")?;
            let (token, key) = (challenge.token.clone(), challenge.key_authorization().as_str().to_owned());
            tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(token, key);
            challenge.set_ready().await?;
        }
    }
    loop {
        match order.refresh().await?.status {
            OrderStatus::Pending => sleep(PAUSE).await,
            OrderStatus::Ready => break,
            other => bail!("the order for {name} is {other:?}"),
        }
    }
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    order.finalize_csr(params.serialize_request(&KeyPair::generate()?)?.der()).await?;
    let chain = loop {
        if let Some(chain) = order.certificate().await? {
            break chain;
        }
        order.refresh().await?;
    };
    CertificateDer::from_pem_slice(chain.as_bytes()).with_context(|| format!("no certificate: {chain}"))
}

/// Begins to answer challenges on port 80.
async fn responder() -> Result<Tokens> {
    let tokens = Tokens::default();
    let listener = TcpListener::bind(("0.0.0.0", 80)).await.context("cannot answer challenges")?;
    tokio::spawn(respond(listener, tokens.clone()));
    Ok(tokens)
}

/// Answers challenges, one a connection, until the program ends.
async fn respond(listener: TcpListener, tokens: Tokens) {
    while let Ok((stream, _)) = listener.accept().await {
        let tokens = tokens.clone();
        // Whatever fails here fails the order, which tells.
        tokio::spawn(async move { answer(stream, &tokens).await });
    }
}

async fn answer(mut stream: TcpStream, tokens: &Tokens) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await? > 0 {}
    let request = String::from_utf8(request)?;
    let token = request.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).context("a path")?;
    let key = tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(token).context("a token of ours")?;
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", key.len());
    stream.write_all((head + &key).as_bytes()).await?;
    Ok(stream.shutdown().await?)
}
