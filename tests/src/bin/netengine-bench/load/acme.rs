//! ACME (RFC 8555): orders by http-01 from the account to the certificate. The client is instant-acme over one kept
//! connection each; this host answers the challenges on port 80.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use instant_acme::{
    Account, BodyWrapper, BytesResponse, ChallengeType, HttpClient, Identifier, NewAccount, NewOrder, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
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
    let tokens = Tokens::default();
    let listener = TcpListener::bind(("0.0.0.0", 80)).await.context("cannot answer challenges")?;
    tokio::spawn(respond(listener, tokens.clone()));
    let mut accounts = Vec::new();
    for number in 0..clients {
        let web = Arc::new(AsyncMutex::new(Web::connect(directory).await?));
        let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_http(Box::new(Carrier(web)));
        accounts.push((number, builder.create(&new, directory.to_owned(), None).await?.0));
    }
    repeat(accounts, seconds, |(number, account), until| {
        let tokens = &tokens;
        async move {
            let mut count = 0;
            while Instant::now() < until {
                certificate(&account, &format!("n{count}.c{number}.{domain}"), tokens).await?;
                count += 1;
            }
            Ok(count)
        }
    })
    .await
}

/// The whole way: order, authorization, challenge, waiting, request, certificate.
async fn certificate(account: &Account, name: &str, tokens: &Tokens) -> Result<()> {
    let mut order = account.new_order(&NewOrder::new(&[Identifier::Dns(name.to_owned())])).await?;
    {
        let mut authorizations = order.authorizations();
        let mut authorization = authorizations.next().await.context("an authorization")??;
        let mut challenge = authorization.challenge(ChallengeType::Http01).context("http-01")?;
        let (token, key) = (challenge.token.clone(), challenge.key_authorization().as_str().to_owned());
        tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(token, key);
        challenge.set_ready().await?;
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
    ensure!(chain.starts_with("-----BEGIN CERTIFICATE-----"), "no certificate: {chain}");
    Ok(())
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
