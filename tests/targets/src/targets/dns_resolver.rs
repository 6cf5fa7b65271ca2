//! What servers tell a resolver: it ends within its bounds, its answer can be read, and lies outside a server's zone are
//! not believed.
//!
//! The input is what the servers say, one after the other: two bytes of length, two of flags, three of counts, records
//! as they stand behind the question.

use std::{
    io,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use crate::dns::{Still, check, name, peer};
use netengine_dns::{
    record::Rtype,
    resolve::{Cache, Hint, Resolver, Upstream},
    serve::{Handler, Limiter, Reply, Transport},
    wire::{CLASS_IN, edns, flag, read::Parsed, write::Writer},
};

/// The only server that hints name, for the zone `x`.
const SERVER: [u8; 4] = [10, 0, 0, 1];
/// Questions for one question of a client, and one for the bound to show.
const MOST: usize = 65;

#[derive(Default)]
struct Told {
    words: Mutex<Vec<u8>>,
    asked: Mutex<usize>,
}

struct Servers(Arc<Told>);

impl Upstream for Servers {
    async fn ask(&self, _: IpAddr, query: Vec<u8>, _: bool) -> io::Result<Vec<u8>> {
        let mut asked = self.0.asked.lock().expect("one thread");
        *asked += 1;
        assert!(*asked < 2 * MOST, "a resolution does not end");
        let mut words = self.0.words.lock().expect("one thread");
        let Some(&[high, low]) = words.first_chunk() else { return Err(io::ErrorKind::TimedOut.into()) };
        let length = (usize::from(high) << 8 | usize::from(low)).min(words.len() - 2);
        let said: Vec<u8> = words.drain(..length + 2).skip(2).collect();
        let Some((&[f1, f2, answers, authorities, additionals], records)) = said.split_first_chunk() else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        // The question as it was asked, without the OPT record behind it.
        let end = query.len() - edns::OPT_BYTES;
        let mut answer = query[..end].to_vec();
        answer[2..4].copy_from_slice(&[f1 | 0x80, f2]);
        for (at, count) in [(7, answers), (9, authorities), (11, additionals)] {
            answer[at] = count;
        }
        answer.extend_from_slice(records);
        Ok(answer)
    }
}

fn query(rtype: Rtype, dnssec_ok: bool) -> Vec<u8> {
    let mut writer = Writer::new(4711, flag::RD, 512);
    writer.question(&name("www.a.b.x"), rtype, CLASS_IN).expect("fits");
    edns::Reply { dnssec_ok, ..edns::Reply::default() }.write(&mut writer).expect("fits");
    writer.finish()
}

/// One input.
pub fn target(input: &[u8]) {
    let told = Arc::new(Told { words: Mutex::new(input.to_vec()), asked: Mutex::default() });
    let hints = vec![Hint { zone: name("x"), servers: vec![SERVER.into()] }];
    let resolver = Resolver::new(Servers(told.clone()), Still, hints, Cache::new(64), Limiter::new(0, 1));
    // The second question may be answered by what the first one left in the cache.
    for (rtype, dnssec_ok, transport) in [(Rtype::A, true, Transport::Udp), (Rtype::AAAA, false, Transport::Tcp)] {
        let request = query(rtype, dnssec_ok);
        let answer = match resolver.handle(&request, &peer(transport)) {
            Reply::Message(message) => message,
            Reply::Later(future) => match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answer) => answer.expect("an answer"),
                Poll::Pending => panic!("nothing to wait for"),
            },
            _ => panic!("a question is answered by a message"),
        };
        check(&request, &answer, transport);
        let parsed = Parsed::read(&answer).expect("a message");
        for record in parsed.section(1) {
            assert!(record.owner.is_under(&name("x")), "{} was believed of a server of x", record.owner);
        }
        if let Some(first) = parsed.section(1).next() {
            assert_eq!(first.owner, name("www.a.b.x"), "an answer begins with what was asked");
        }
    }
    // A resolver that forgot the name still knows the bound.
    assert!(*told.asked.lock().expect("one thread") <= 2 * MOST);
}
