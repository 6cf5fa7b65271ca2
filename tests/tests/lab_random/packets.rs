//! Packets that the rulesets of `rulesets.rs` may decide on.

use serde_json::{Map, Value, json};

use super::{Gateway, seeds::Seed};

/// One packet of a case, the `number`-th: none shares its source port with another unless it is the one before again.
pub fn packet(seed: &mut Seed, gateway: Gateway, number: usize) -> Value {
    let mut keys = Map::new();
    let mut put = |key: &str, value: Value| drop(keys.insert(key.to_owned(), value));
    let v6 = seed.once_in(3);
    let from = match seed.below(7) {
        0 => "fw",
        1 if gateway.0 => "server",
        _ => "client",
    };
    let (client, near, far, server) = match (gateway.0, v6) {
        (true, false) => ("10.0.1.1", "10.0.1.2", "10.0.2.1", "10.0.2.2"),
        (true, true) => ("fd00:1::1", "fd00:1::2", "fd00:2::1", "fd00:2::2"),
        (false, false) => ("10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2"),
        (false, true) => ("fd00::1", "fd00::2", "fd00::2", "fd00::2"),
    };
    let (src, dst) = match from {
        "fw" if gateway.0 && seed.once_in(2) => (far, server),
        "fw" => (near, client),
        "server" => (server, client),
        _ if seed.once_in(4) => (client, near),
        _ => (client, server),
    };
    // An address that nobody owns; it lies behind the client.
    let stranger = from == "client" && !v6 && seed.once_in(6);
    put("from", json!(from));
    put("src_ip", json!(if stranger { "10.9.9.9" } else { src }));
    put("dst_ip", json!(dst));
    match seed.below(8) {
        0..=4 => {
            put(
                "tcp_flags",
                seed.pick(&[&["S"][..], &["S"], &["S"], &["S"], &["A"], &["S", "A"], &["F", "A"], &["R"], &[]]).into(),
            );
            put("dst_port", json!(seed.pick(&[22, 80, 80, 81, 82, 443, 1500])));
            put("src_port", json!(12345 + number));
        }
        5 | 6 => {
            put("protocol", json!("udp"));
            put("dst_port", json!(seed.pick(&[53, 53, 80, 81, 1500])));
            put("src_port", json!(12345 + number));
            put("payload", json!(seed.pick(&["a", "some more than a byte or two of it"])));
        }
        _ if v6 => put("protocol", json!("icmpv6")),
        _ => {
            put("protocol", json!("icmp"));
            put("icmp_type", json!(seed.pick(&[8, 8, 13])));
        }
    }
    if seed.once_in(6) {
        put("ttl", json!(5));
    }
    if seed.once_in(6) {
        put("dscp", json!(8));
    }
    if from == "fw" && seed.once_in(3) {
        put("mark", json!(seed.pick(&[1, 2])));
    }
    Value::Object(keys)
}
