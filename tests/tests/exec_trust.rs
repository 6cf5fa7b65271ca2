//! What a command in a vantage host trusts: certificates and the DNS root's keys come with its ticket, and are found by the
//! programs of others at the places where they look.

use netengine_proto::{
    bounded::Bounded,
    ids::{Ticket, Uid, WorldId},
    plan::NetworkPlan,
    root::{RootRequest, RootResponse},
    trust::{DelegationSigner, Trust},
};
use netengine_tests::{
    ALICE, Host, ROOT, SCRATCH,
    attack::{Raw, python, rootd_only},
    root::{self, host_name, world_plan},
};

/// Runs a command by a ticket and prints what it prints; the command ends before its end is told.
const RUN: &str = "
import os,socket,sys
s=socket.socket(socket.AF_UNIX); s.connect('/run/netengine/exec.sock')
body=bytes.fromhex(sys.argv[1]); s.sendall(len(body).to_bytes(4,'big')+body)
told,fds,_,_=socket.recv_fds(s,4096,3)
if len(fds)!=3: sys.exit('not started: '+told.hex())
os.close(fds[0])
with os.fdopen(fds[1],'rb') as out: sys.stdout.buffer.write(out.read())
";

fn grant(raw: &mut Raw, world: WorldId, trust: &Trust) -> Ticket {
    let (owner, user, host) = (Uid(ALICE.uid), Uid(ALICE.uid), host_name("n0h0"));
    match raw.call(&RootRequest::GrantExec { world, owner, host, user, trust: trust.clone() }) {
        RootResponse::GrantExec(ticket) => ticket.expect("granted"),
        other => panic!("another answer: {other:?}"),
    }
}

/// What a shell script prints, both streams, run by alice in the vantage host of a world that trusts this.
fn inside(host: &Host, raw: &mut Raw, world: WorldId, trust: &Trust, script: &str) -> String {
    let script = format!("exec 2>&1; {script}");
    let request = serde_json::json!({
        "ticket": grant(raw, world, trust), "arguments": [b"/bin/sh", b"-c", script.as_bytes()],
        "environment": [b"PATH=/usr/bin:/bin"], "directory": b"/", "umask": 0o022, "terminal": null,
    });
    let request: netengine_proto::exec::ExecRequest = serde_json::from_value(request).expect("a request");
    let body = postcard::to_stdvec(&request).expect("encodes");
    let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
    let (done, said) = python(host, ALICE, RUN, &[&hex]);
    assert!(done, "{said}");
    said
}

fn booted(host: &Host) -> (Raw, NetworkPlan) {
    let mut raw = Raw::greeted(host);
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 1, 1);
    raw.apply(&plan).expect("applies");
    (raw, plan)
}

/// Makes an authority with this subject (openssl-req(1)) in its own files; gives its certificate, DER.
fn authority(host: &Host, name: &str, subject: &str, options: &str) -> Vec<u8> {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3";
    host.shell(
        ROOT,
        &format!(
            "mkdir -p {SCRATCH}/pki; cd {SCRATCH}/pki
            openssl req -x509 {key} -subj '{subject}' {options} -keyout {name}.key -out {name}.pem 2>/dev/null
            openssl x509 -in {name}.pem -outform DER -out {name}.der; chmod 644 {name}.*"
        ),
    );
    std::fs::read(host.path(&format!("{SCRATCH}/pki/{name}.der"))).expect("a certificate")
}

fn trusting(certificates: Vec<Vec<u8>>) -> Trust {
    let certificates = certificates.into_iter().map(|der| Bounded::new(der).expect("short")).collect();
    Trust { certificates: Bounded::new(certificates).expect("few"), ..Trust::default() }
}

#[test]
fn clients_of_others_verify_a_server_of_the_world_without_a_flag() {
    let host = rootd_only();
    let (mut raw, plan) = booted(&host);
    let trust = trusting(vec![authority(&host, "root", "/O=A  World/CN=World Root", "")]);
    let of_other = trusting(vec![authority(&host, "other", "/O=A  World/CN=World Root", "")]);
    host.shell(
        ROOT,
        &format!(
            "cd {SCRATCH}/pki; printf 'subjectAltName=DNS:www.test' > san
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=www.test -keyout www.key -out www.csr 2>/dev/null
            openssl x509 -req -in www.csr -CA root.pem -CAkey root.key -CAcreateserial -extfile san -days 2 -out www.pem 2>/dev/null
            chmod 644 *"
        ),
    );
    // A server in the vantage host; the clients have no flag that names a trust store, but for OpenSSL's directory.
    let script = format!(
        "cd {SCRATCH}/pki; openssl s_server -quiet -accept 8443 -cert www.pem -key www.key -www & server=$!
         get='curl -sS -o /dev/null --resolve www.test:8443:127.0.0.1 https://www.test:8443/'
         n=0; until $get -k; do n=$((n+1)); [ $n -lt 300 ] || exit; sleep 0.1; done >/dev/null 2>&1
         $get 2>/dev/null; echo curl=$?
         openssl s_client -connect 127.0.0.1:8443 -verify_return_error -verify_hostname www.test </dev/null >/dev/null 2>&1; echo openssl=$?
         openssl verify -no-CAfile -no-CAstore -CApath /etc/ssl/certs www.pem >/dev/null 2>&1; echo directory=$?
         python3 -I -c 'import socket,ssl
try: ssl.create_default_context().wrap_socket(socket.create_connection((\"127.0.0.1\",8443)),server_hostname=\"www.test\"); print(\"python=0\")
except ssl.SSLError: print(\"python=1\")'
         kill $server"
    );
    let said = inside(&host, &mut raw, plan.world, &trust, &script);
    assert_eq!(said, "curl=0\nopenssl=0\ndirectory=0\npython=0\n");
    // Of the same name but another key: two files of one name's hash, the right one is found behind the wrong one.
    let both = [&of_other, &trust].map(|trust| trust.certificates[0].to_vec());
    let said = inside(&host, &mut raw, plan.world, &trusting(both.into()), &script);
    assert_eq!(said, "curl=0\nopenssl=0\ndirectory=0\npython=0\n");
    // With the trust of another world, or none at all, nothing is verified.
    for wrong in [of_other, Trust::default()] {
        let said = inside(&host, &mut raw, plan.world, &wrong, &script);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 4, "{said}");
        assert!(lines.iter().all(|line| !line.ends_with("=0")), "{said}");
    }
    raw.delete(plan.world, plan.owner);
}

#[test]
fn authorities_lie_under_the_names_that_openssl_looks_for() {
    let host = rootd_only();
    let (mut raw, plan) = booted(&host);
    let subjects = [
        ("/CN=plain", ""),
        ("/C=DE/ST=  Two   Spaces /O=UPPER lower/CN=mixed", ""),
        ("/CN=Gr\u{fc}\u{df}e \u{c4}", "-utf8"),
        ("/O=Set+OU=Of+CN=Several/CN=second", "-multivalue-rdn"),
        ("/DC=Test/DC=example/CN=IA5", ""),
        ("/CN=x/emailAddress=Someone@Example.test/serialNumber=42", ""),
        ("/CN=Plain", ""),
        (
            "/O=A name with more than one hundred and twenty-eight octets/OU=so that a length takes more octets than one/OU=and the whole even more/CN=long",
            "",
        ),
    ];
    let mut expected = Vec::new();
    let mut certificates = Vec::new();
    for (number, (subject, options)) in subjects.iter().enumerate() {
        certificates.push(authority(&host, &format!("s{number}"), subject, options));
        let hash = host.shell(ROOT, &format!("openssl x509 -in {SCRATCH}/pki/s{number}.pem -noout -subject_hash"));
        let hash = hash.trim().to_owned();
        let same = expected.iter().filter(|name: &&String| name.starts_with(&hash)).count();
        expected.push(format!("{hash}.{same}"));
    }
    assert!(expected.contains(&format!("{}.1", expected[0].trim_end_matches(".0"))), "two names are equal");
    expected.push("ca-certificates.crt".into());
    expected.sort();
    let said = inside(&host, &mut raw, plan.world, &trusting(certificates), "LC_ALL=C ls /etc/ssl/certs");
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    // What is no certificate is in the bundle alone, and harms nobody there.
    let junk = trusting(vec![b"junk".to_vec(), vec![0x30, 0x80], vec![]]);
    let said = inside(&host, &mut raw, plan.world, &junk, "ls /etc/ssl/certs; id -un");
    assert_eq!(said, "ca-certificates.crt\nalice\n");
    raw.delete(plan.world, plan.owner);
}

#[test]
fn validating_resolvers_find_the_keys_of_the_worlds_dns_root() {
    let host = rootd_only();
    // A place for BIND's keys, in a copy: this machine's own /etc stays.
    let etc = format!("{SCRATCH}/etc");
    host.shell(
        ROOT,
        &format!("cp -a /etc {etc}; mkdir -p {etc}/bind; echo old > {etc}/bind/bind.keys; mount --bind {etc} /etc"),
    );
    let (mut raw, plan) = booted(&host);
    let key = |key_tag| DelegationSigner {
        key_tag,
        algorithm: 13,
        digest_type: 2,
        digest: Bounded::new((0..32).collect()).expect("short"),
    };
    let trust = Trust { dns_root: Bounded::new(vec![key(7), key(65_535)]).expect("few"), ..Trust::default() };
    // Nothing answers at this port: what matters is that each program takes the file.
    let script = "cd /etc/ssl/certs; ls -l dns-root.* | cut -c 1-10
        delv -a dns-root.key @127.0.0.1 -p 1 . SOA 2>&1 | grep -c 'resolution failed'
        drill -k dns-root.ds -p 1 @127.0.0.1 . SOA 2>&1 | grep -c 'ould not parse'
        delv -a dns-root.ds @127.0.0.1 -p 1 . SOA 2>&1 | grep -c 'Unable to load keys'
        drill -k dns-root.key -p 1 @127.0.0.1 . SOA 2>&1 | grep -c 'ould not parse the key'
        cmp dns-root.key /etc/bind/bind.keys; echo x > /etc/bind/bind.keys; cat dns-root.ds";
    let digest = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F";
    let said = inside(&host, &mut raw, plan.world, &trust, script);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..6], ["-rw-r--r--", "-rw-r--r--", "1", "0", "1", "1"], "{said}");
    assert!(lines[6].contains("bind.keys"), "it cannot be written: {said}");
    assert_eq!(lines[7..], [format!(". IN DS 7 13 2 {digest}"), format!(". IN DS 65535 13 2 {digest}")]);
    // A world that is not signed has neither file, and leaves BIND's alone.
    let said = inside(&host, &mut raw, plan.world, &Trust::default(), "ls /etc/ssl/certs; cat /etc/bind/bind.keys");
    assert_eq!(said, "ca-certificates.crt\nold\n");
    raw.delete(plan.world, plan.owner);
}
