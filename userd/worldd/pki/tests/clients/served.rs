//! What is served, looked at with openssl, curl and certtool.

use super::world::{DIRECTORY, Difference, NAME, World};

#[test]
fn curl_trusts_the_server_by_the_worlds_root_alone() {
    let world = World::start(Difference { intermediate: true, ..Difference::default() });
    let directory = world.client(&format!("curl -sSf {DIRECTORY}"));
    assert!(directory.contains("\"newOrder\":\"https://ca.platform.internal/acme/acme/new-order\""), "{directory}");
    let nonces = world.client("curl -sSfI https://ca.platform.internal/acme/acme/new-nonce");
    assert!(nonces.to_ascii_lowercase().contains("replay-nonce: "), "{nonces}");
    // A forged host header changes no URL.
    let forged = world.client(&format!("curl -sSf -H 'Host: evil.example' {DIRECTORY}"));
    assert_eq!(forged, directory);
    let answer = world.client("curl -sS -X POST https://ca.platform.internal/acme/acme/new-order");
    assert!(answer.contains("urn:ietf:params:acme:error:malformed") && answer.contains("415"), "{answer}");
}

#[test]
fn name_constraints_hold_for_openssl_and_gnutls() {
    let world = World::start(Difference { intermediate: true, ..Difference::default() });
    let root = world.client("openssl x509 -in root.pem -noout -text");
    assert!(root.contains("X509v3 Name Constraints: critical"), "{root}");
    assert!(root.contains("DNS:internal") && root.contains("DNS:test"), "{root}");
    assert!(root.contains("IP:10.0.0.0/255.255.255.0"), "{root}");
    world.client(&format!(
        "curl -sSf http://{NAME}/pki/root.der | openssl x509 -inform der -out again.pem && cmp again.pem root.pem"
    ));
    let served = world.client(&format!(
        "openssl s_client -connect {NAME}:443 -servername {NAME} -CAfile root.pem -verify_return_error -showcerts </dev/null"
    ));
    assert!(served.contains("Verify return code: 0 (ok)"), "{served}");
    std::fs::write(world.path("served.pem"), served).expect("a file");
    let gnutls = world.client("certtool --verify --load-ca-certificate root.pem --infile served.pem");
    assert!(gnutls.contains("Chain verification output: Verified."), "{gnutls}");
}

#[test]
fn openssl_asks_by_ocsp_and_believes_the_answer() {
    let world = World::start(Difference { intermediate: true, ..Difference::default() });
    let lego = "lego --accept-tos --server $SERVER --email a@acme.test --path $DIR/lego --domains www.acme.test --http";
    world.client(&format!("{lego} run"));
    world.client(&format!(
        "curl -sSf http://{NAME}/pki/issuing.der | openssl x509 -inform der -out issuing.pem \
             && cat issuing.pem root.pem > both.pem"
    ));
    let ask = |how: &str| {
        world.client(&format!(
            "openssl ocsp {how} -issuer issuing.pem -cert lego/certificates/www.acme.test.crt -CAfile both.pem \
                 -url $(openssl x509 -in lego/certificates/www.acme.test.crt -noout -ocsp_uri)"
        ))
    };
    for how in ["", "-no_nonce", "-sha256"] {
        let good = ask(how);
        assert!(good.contains("Response verify OK") && good.contains(".crt: good"), "{how}: {good}");
        assert!(!good.contains("WARNING: no nonce") || how == "-no_nonce", "{how}: {good}");
    }
    let above = world.client(&format!(
        "openssl ocsp -issuer root.pem -cert issuing.pem -CAfile root.pem -url http://{NAME}/pki/ocsp"
    ));
    assert!(above.contains("Response verify OK") && above.contains("issuing.pem: good"), "{above}");
    world.client(&format!("{lego} revoke --keep --reason 4"));
    let revoked = ask("");
    assert!(revoked.contains("Response verify OK") && revoked.contains(".crt: revoked"), "{revoked}");
    assert!(revoked.contains("Reason: superseded"), "{revoked}");
}
