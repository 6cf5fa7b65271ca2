//! Messages as peers send them: what is read can be written and read again, and crate `domain` reads the same.

use crate::dns::{NOW, name};
use domain::base::Message;
use netengine_dns::{
    name::Name,
    record::Rtype,
    wire::{
        MESSAGE_MAX,
        edns::Edns,
        read::{Parsed, expand},
        tsig::{Algorithm, Checked, Key, Keyring, check},
        write::{Section, Writer},
    },
};

/// One input.
pub fn target(bytes: &[u8]) {
    let Ok(parsed) = Parsed::read(bytes) else { return };
    // Another secret of the same name: one of the seeds is signed by the one that servers here have.
    let mut keys = Keyring::default();
    keys.insert(Key::new(name("test"), Algorithm::Sha256, b"another one"));
    assert!(!matches!(check(bytes, &parsed, &keys, NOW), Ok(Checked::Signed(_))), "a signature made without the key");
    for record in &parsed.records {
        let text = record.owner.to_string();
        assert_eq!(Name::parse(&text).expect("text of a name").as_wire(), record.owner.as_wire(), "{text}");
        if record.rtype == Rtype::OPT
            && let Ok(edns) = Edns::read(record)
        {
            assert!(edns.size >= 512);
        }
    }
    let Ok(data) = expand(bytes) else { return };
    assert_eq!(data.len(), parsed.records.len());
    let theirs = Message::from_slice(bytes).expect("a header");
    assert_eq!(theirs.is_error(), parsed.header.rcode().0 != 0);

    let mut writer = Writer::new(parsed.header.id, parsed.header.flags, MESSAGE_MAX);
    if let Some(question) = &parsed.question
        && writer.question(&question.name, question.rtype, question.class).is_err()
    {
        return;
    }
    for (record, data) in parsed.records.iter().zip(&data) {
        let section = [Section::Answer, Section::Authority, Section::Additional][record.section - 1];
        let data = data.as_ref().map_or(&[][..], |data| data.as_wire());
        // Names that were compressed may take more than a message holds when they are written whole.
        if writer.raw(section, &record.owner, record.rtype, record.class, record.ttl, data).is_err() {
            return;
        }
    }
    let written = writer.finish();
    assert!(written.len() <= MESSAGE_MAX);
    let again = Parsed::read(&written).expect("what was written can be read");
    assert_eq!((again.header, &again.question), (parsed.header, &parsed.question));
    for (one, other) in again.records.iter().zip(&parsed.records) {
        assert_eq!(
            (&one.owner, one.rtype, one.class, one.ttl, one.section),
            (&other.owner, other.rtype, other.class, other.ttl, other.section)
        );
    }
    assert_eq!(expand(&written).expect("data that was written can be read"), data);
}
