//! Names that are not of this world, asked of a resolver outside (`gateway_portal.real_internet.upstream_resolver_*`).

use std::net::IpAddr;

use super::{
    ask::Upstream,
    iterate::{Found, Work},
    message::{self, Response},
};
use crate::{
    authority::Clock,
    name::Name,
    record::Rtype,
    wire::{Rcode, flag},
};

/// Resolvers outside the world, asked in order; with none such names do not exist.
///
/// Only what the world's root denies is forwarded: a name below a zone of the world never is, nor does an answer from
/// outside say anything of such a name. What comes from outside is never called authentic: the world's root denies it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forward {
    /// Their addresses; asked at the resolver's own [`Network::port`](super::Network).
    pub servers: Vec<IpAddr>,
}

impl<U: Upstream, C: Clock> Work<'_, U, C> {
    /// What a resolver outside says of a name that the world's root denied; `None` when it is not to be asked.
    pub(super) async fn forward(&mut self, name: &Name, rtype: Rtype, found: &Found) -> Option<Found> {
        let forward = self.shared.forward.load_full();
        if forward.servers.is_empty() || !is_outside(found) {
            return None;
        }
        for &server in &forward.servers {
            match self.ask_forwarded(server, name, rtype).await {
                Some(Response::Answer(links)) => return Some(Found::Answer(links)),
                Some(Response::NoData(denial)) => return Some(Found::NoData(denial)),
                Some(Response::Absent(denial)) => return Some(Found::Absent(denial)),
                _ => {}
            }
        }
        Some(Found::Failure(Rcode::SERVFAIL))
    }

    async fn ask_forwarded(&mut self, server: IpAddr, name: &Name, rtype: Rtype) -> Option<Response> {
        for stream in [false, true] {
            self.questions = self.questions.checked_sub(1)?;
            let mut id = [0; 2];
            getrandom::fill(&mut id).ok()?;
            let id = u16::from_be_bytes(id);
            let query = message::query(id, name, rtype, flag::RD);
            let answer = self.shared.upstream.ask(server, query, stream).await.ok()?;
            match message::judge_forwarded(&answer, id, name, rtype).ok()? {
                Response::Truncated => {}
                response => return Some(response),
            }
        }
        None
    }
}

/// True for a name that the root itself denies, or that is below nothing of this world.
fn is_outside(found: &Found) -> bool {
    match found {
        Found::Absent(denial) => denial.iter().any(|(owner, set)| owner.is_root() && set.rtype == Rtype::SOA),
        Found::Failure(rcode) => *rcode == Rcode::NXDOMAIN,
        Found::Answer(_) | Found::NoData(_) => false,
    }
}
