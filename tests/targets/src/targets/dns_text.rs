//! Names and data as people write them in specs and registrations: what is taken can be sent and read by others.
//!
//! The first two bytes are the type.

use netengine_dns::{
    name::Name,
    record::{Rdata, Rtype},
    wire::{
        MESSAGE_MAX,
        read::{Parsed, expand},
        write::{Section, Writer},
    },
};

/// One input.
pub fn target(input: &[u8]) {
    let Some((kind, text)) = input.split_first_chunk::<2>() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(name) = Name::parse(text) {
        assert!(name.as_wire().len() <= 255);
        assert_eq!(Name::parse(&name.to_string()).expect("text of a name").as_wire(), name.as_wire());
        assert_eq!(Name::from_wire(name.as_wire()).expect("wire form of a name").as_wire(), name.as_wire());
    }
    let rtype = Rtype::from_int(u16::from_be_bytes(*kind));
    let Ok(data) = Rdata::parse(rtype, text) else { return };
    let mut writer = Writer::new(1, 0, MESSAGE_MAX);
    if writer.record(Section::Answer, &Name::root(), rtype, 60, &data).is_err() {
        return;
    }
    let message = writer.finish();
    assert_eq!(Parsed::read(&message).expect("a message").records.len(), 1);
    let read = expand(&message).unwrap_or_else(|_| panic!("{rtype} {text:?} cannot be read: {data:?}"));
    // Data without bytes, and types that are part of the message, are read as none.
    if let [Some(read)] = &read[..] {
        assert_eq!(read, &data);
    }
}
