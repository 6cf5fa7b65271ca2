//! A name server for the tests: everything has the address 127.0.0.1 but what begins with `elsewhere`, and the records
//! that a test wants.

use std::{collections::HashMap, net::SocketAddr};

use domain::{
    base::{Message, MessageBuilder, Rtype, Ttl, iana::Rcode},
    rdata::{
        A, Txt,
        caa::{Caa, CaaFlags, CaaTag},
    },
};
use tokio::net::UdpSocket;

#[derive(Default, Clone)]
pub struct Zone {
    pub texts: HashMap<String, Vec<String>>,
    pub caa: HashMap<String, Vec<(String, String)>>,
}

/// Serves until the runtime ends; where.
pub async fn serve(zone: Zone) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.expect("a query");
            let Ok(query) = Message::from_octets(&buffer[..length]) else { continue };
            if let Some(answer) = answer(&zone, &query) {
                let _ = socket.send_to(answer.as_slice(), peer).await;
            }
        }
    });
    address
}

fn answer(zone: &Zone, query: &Message<&[u8]>) -> Option<Message<Vec<u8>>> {
    let question = query.sole_question().ok()?;
    let name = question.qname().to_string().trim_end_matches('.').to_ascii_lowercase();
    let rcode = match name.starts_with("absent") {
        true => Rcode::NXDOMAIN,
        false if name.starts_with("broken") => Rcode::SERVFAIL,
        false => Rcode::NOERROR,
    };
    let mut answer = MessageBuilder::new_vec().start_answer(query, rcode).ok()?;
    let owner = question.qname();
    match question.qtype() {
        Rtype::A if name.starts_with("elsewhere") => {
            answer.push((owner, Ttl::ZERO, A::from_octets(192, 0, 2, 1))).ok()?;
        }
        Rtype::A if rcode == Rcode::NOERROR => answer.push((owner, Ttl::ZERO, A::from_octets(127, 0, 0, 1))).ok()?,
        Rtype::TXT => {
            for text in zone.texts.get(&name).into_iter().flatten() {
                let text = Txt::<Vec<u8>>::build_from_slice(text.as_bytes()).ok()?;
                answer.push((owner, Ttl::ZERO, text)).ok()?;
            }
        }
        Rtype::CAA => {
            for (tag, value) in zone.caa.get(&name).into_iter().flatten() {
                let tag = CaaTag::from_octets(tag.clone().into_bytes()).ok()?;
                answer.push((owner, Ttl::ZERO, Caa::new(CaaFlags::new(0), tag, value.clone().into_bytes()))).ok()?;
            }
        }
        _ => {}
    }
    Some(answer.into_message())
}
