//! Asking as a client does: by message.

use domain::base::{Message, iana::OptRcode, opt::AllOptData};
use netengine_dns::{
    name::Name,
    record::Rtype,
    serve::{Handler, Peer, Reply, Transport},
    wire::{CLASS_IN, edns, flag, write::Writer},
};

use crate::world::World;

/// What a client sees.
#[derive(Debug)]
pub struct Seen {
    pub rcode: String,
    pub authentic: bool,
    /// Types of the records of the answer section, in order.
    pub answers: Vec<String>,
    pub authority: Vec<String>,
    /// Code of the extended error.
    pub error: Option<u16>,
}

impl World {
    /// Asks the resolver with these header flags beside RD, and with an OPT record whose DO bit is `dnssec_ok`.
    pub async fn ask(&self, owner: &str, rtype: Rtype, flags: u16, dnssec_ok: bool) -> Seen {
        let mut writer = Writer::new(77, flag::RD | flags, 512);
        writer.question(&Name::parse(owner).expect("a name"), rtype, CLASS_IN).expect("fits");
        edns::Reply { dnssec_ok, ..edns::Reply::default() }.write(&mut writer).expect("fits");
        let peer =
            Peer { local: [10, 0, 0, 1].into(), remote: ([10, 0, 0, 9], 5000).into(), transport: Transport::Tcp };
        let message = match self.resolver.handle(&writer.finish(), &peer) {
            Reply::Message(message) => message,
            Reply::Later(later) => later.await.expect("an answer"),
            _ => panic!("silence"),
        };
        let message = Message::from_octets(message).expect("a message");
        let types = |section: domain::base::message::RecordSection<'_, Vec<u8>>| {
            section.map(|record| record.expect("a record").rtype().to_string()).collect::<Vec<_>>()
        };
        let opt = message.opt().expect("EDNS");
        let error = opt.opt().iter::<AllOptData<_, _>>().find_map(|option| match option.expect("an option") {
            AllOptData::ExtendedError(error) => Some(error.code().to_int()),
            _ => None,
        });
        Seen {
            rcode: OptRcode::to_string(&message.opt_rcode()),
            authentic: message.header().ad(),
            answers: types(message.answer().expect("answers")),
            authority: types(message.authority().expect("authority")),
            error,
        }
    }

    /// As a validating stub would: with DO.
    pub async fn validated(&self, owner: &str, rtype: Rtype) -> Seen {
        self.ask(owner, rtype, 0, true).await
    }
}
