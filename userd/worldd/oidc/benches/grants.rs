//! How many client-credentials grants and password logins one core does: over HTTP on the loopback interface, one
//! current_thread runtime for server and clients together, so the server alone does more. Stops by itself after 5 s each.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use netengine_oidc::{
    from_spec::{Wanted, WantedRealm, WantedUser},
    provider::{Provider, Settings},
    realm::RealmConfig,
    secret::Kernel,
    store::SqliteStore,
};
use support::{QUERY, SECRET, now, site_with};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const RUN: Duration = Duration::from_secs(5);
const PEERS: usize = 8;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(&directory.path().join("oidc.db")).await.expect("a store");
    let site = site_with(Arc::new(store)).await;
    let body = format!("grant_type=client_credentials&client_id=web&client_secret={SECRET}");
    let request = format!(
        "POST /realms/acme/protocol/openid-connect/token HTTP/1.1\r\nhost: {}\r\ncontent-type: \
         application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        site.address,
        body.len()
    );
    let start = Instant::now();
    let mut peers: JoinSet<u64> = JoinSet::new();
    for _ in 0..PEERS {
        let (request, address) = (request.clone(), site.address);
        peers.spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            let mut buffer = vec![0; 16 * 1024];
            let mut count = 0;
            while start.elapsed() < RUN {
                stream.write_all(request.as_bytes()).await.expect("written");
                let read = stream.read(&mut buffer).await.expect("read");
                assert!(buffer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..read]));
                count += 1;
            }
            count
        });
    }
    let mut total = 0;
    while let Some(count) = peers.join_next().await {
        total += count.expect("no peer failed");
    }
    println!("client-credentials grants: {:.0}/s", total as f64 / start.elapsed().as_secs_f64());

    let start = Instant::now();
    let mut logins = 0;
    while start.elapsed() < RUN {
        assert_eq!(site.log_in(QUERY, now()).await.status, 303);
        logins += 1;
    }
    println!(
        "password logins (argon2id, 12 MiB, 3 passes): {:.0}/s",
        f64::from(logins) / start.elapsed().as_secs_f64()
    );

    let start = Instant::now();
    let store = SqliteStore::open(&directory.path().join("large.db")).await.expect("a store");
    let provider = Provider::open(
        Settings { base: "https://auth.internal".into(), admin_realm: None },
        Arc::new(store),
        tokio::sync::mpsc::channel(1).0,
    )
    .await
    .expect("a provider");
    let users = |org: usize| {
        (0..10).map(move |n| WantedUser {
            username: format!("user{n}"),
            email: format!("{n}@{org}"),
            roles: Vec::new(),
        })
    };
    let realms = (0..100).map(|org| WantedRealm {
        config: RealmConfig::new(&format!("org{org}")),
        users: users(org).collect(),
        services: BTreeMap::new(),
    });
    let base = "https://auth.internal".to_owned();
    let wanted = Wanted { base, admin_realm: String::new(), realms: realms.collect() };
    let credentials = wanted.credentials(&mut Kernel);
    for realm in &wanted.realms {
        assert!(provider.fill(realm, &credentials, now()).await.expect("stored").is_empty());
    }
    println!("100 realms with 1,000 users: {} ms", start.elapsed().as_millis());
}
