//! Requests to an authoritative server: queries, transfers, updates, with and without the key.
//!
//! The first byte says how it comes: bit 0 by TCP, bit 1 signed with the key that may do everything.

use crate::dns::{ask, authority, check, name, signed};
use netengine_dns::{
    record::Rtype,
    wire::{CLASS_IN, write::Writer},
};
use netengine_dns::{serve::Transport, wire::read::Parsed, zone::Zone};

/// One input.
pub fn target(input: &[u8]) {
    let Some((&mode, request)) = input.split_first() else { return };
    let transport = if mode & 1 == 1 { Transport::Tcp } else { Transport::Udp };
    let is_signed = mode & 2 == 2;
    let request = if is_signed { signed(request) } else { request.to_vec() };
    let authority = authority();
    let before = authority.store().snapshot();
    let answers = ask(&authority, &request, transport);
    let is_request = request.len() >= 12 && request[2] & 0x80 == 0;
    assert_eq!(!answers.is_empty(), is_request, "requests are answered, and nothing else is");
    answers.iter().for_each(|answer| check(&request, answer, transport));
    if transport == Transport::Udp && !answers.is_empty() {
        let asked = Parsed::read(&request);
        let opt = asked.iter().flat_map(|asked| &asked.records).find(|record| record.rtype == Rtype::OPT);
        let limit = opt.map_or(512, |opt| usize::from(opt.class.max(512)).min(1232));
        assert!(answers[0].len() <= limit, "{} bytes by UDP, {limit} are allowed", answers[0].len());
    }
    let after = authority.store().snapshot();
    for apex in ["x", "s"] {
        let (before, after) = (before.zone(&name(apex)).expect("it was"), after.zone(&name(apex)).expect("it is"));
        let is_changed = before.soa() != after.soa() || before.size() != after.size();
        assert!(is_signed || !is_changed, "a zone was changed without the key");
        if is_changed {
            whole(&authority, after, apex);
        }
    }
}

/// The zone still is one, and can be transferred as a whole.
fn whole(authority: &netengine_dns::authority::Authority<crate::dns::Still>, zone: &Zone, apex: &str) {
    let apex_node = zone.apex_node().expect("the apex");
    assert!(
        apex_node.get(Rtype::SOA).is_some() && apex_node.get(Rtype::NS).is_some(),
        "the apex lost what makes it one"
    );
    assert!(zone.records().all(|record| record.owner.is_under(zone.apex())), "a record outside the zone");
    let mut writer = Writer::new(1, 0, 512);
    writer.question(&name(apex), Rtype::AXFR, CLASS_IN).expect("fits");
    let request = signed(&writer.finish());
    let mut sent = Vec::new();
    for message in ask(authority, &request, Transport::Tcp) {
        check(&request, &message, Transport::Tcp);
        let parsed = Parsed::read(&message).expect("a message");
        sent.extend(parsed.section(1).map(|record| (record.owner.clone(), record.rtype)));
    }
    assert!(sent.len() > zone.records().count(), "{} records sent", sent.len());
    for end in [sent.first(), sent.last()] {
        assert_eq!(end, Some(&(name(apex), Rtype::SOA)), "a transfer begins and ends with the SOA record");
    }
    for record in zone.records() {
        assert!(sent.contains(&(record.owner.clone(), record.rtype)), "{} was not sent", record.owner);
    }
}
