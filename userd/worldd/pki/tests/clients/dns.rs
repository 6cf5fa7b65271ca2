//! A name server for the tests: addresses from a table, TXT from files that the clients' hooks write.

use std::{net::SocketAddr, path::PathBuf};

use domain::{
    base::{Message, MessageBuilder, Rtype, Ttl, iana::Rcode},
    rdata::{A, Txt},
};
use tokio::net::UdpSocket;

/// Answers until it is dropped. Every name below `suffix` has the address; TXT records are the lines of the file in
/// `texts` that has the name.
pub async fn serve(at: SocketAddr, suffix: &str, address: [u8; 4], texts: PathBuf) {
    let socket = UdpSocket::bind(at).await.expect("port 53 is free");
    let mut buffer = [0; 1500];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.expect("a query");
        let Ok(query) = Message::from_octets(&buffer[..length]) else { continue };
        let Ok(question) = query.sole_question() else { continue };
        let name = question.qname().to_string().trim_end_matches('.').to_ascii_lowercase();
        let is_ours = name.ends_with(suffix);
        let rcode = if is_ours { Rcode::NOERROR } else { Rcode::NXDOMAIN };
        let mut answer = MessageBuilder::new_vec().start_answer(&query, rcode).expect("room");
        let owner = question.qname();
        match question.qtype() {
            Rtype::A if is_ours => {
                answer
                    .push((owner, Ttl::ZERO, A::from_octets(address[0], address[1], address[2], address[3])))
                    .expect("room");
            }
            Rtype::TXT if is_ours => {
                for line in std::fs::read_to_string(texts.join(&name)).unwrap_or_default().lines() {
                    let text = Txt::<Vec<u8>>::build_from_slice(line.as_bytes()).expect("short");
                    answer.push((owner, Ttl::ZERO, text)).expect("room");
                }
            }
            _ => {}
        }
        let message = answer.into_message();
        let _ = socket.send_to(message.as_slice(), peer).await;
    }
}
