//! From the root down (RFC 1034, section 5.3.3), every loop bounded.

use std::{future::Future, net::IpAddr, pin::Pin};

use super::{
    Outcome, Shared,
    ask::Upstream,
    cache::{Known, Link, Server},
    message::{self, Response},
};
use crate::{
    authority::Clock,
    name::Name,
    record::{RrSet, Rtype},
    wire::Rcode,
};

/// Questions to servers for one question of a client, all detours included.
const QUESTIONS: u32 = 64;
/// Longest chain of aliases.
const ALIASES: usize = 16;
/// Servers' names whose addresses are looked for within each other.
const DEPTH: u32 = 4;

/// Resolves within the bounds; what exceeds them is SERVFAIL.
pub(super) async fn resolve<U: Upstream, C: Clock>(shared: &Shared<U, C>, name: &Name, rtype: Rtype) -> Outcome {
    let mut work = Work { shared, questions: QUESTIONS };
    work.resolve(name.clone(), rtype, DEPTH).await
}

/// The outcome as far as it needs no question; `None` when it needs one.
pub(super) fn cached<U, C: Clock>(shared: &Shared<U, C>, name: &Name, rtype: Rtype) -> Option<Outcome> {
    let now = shared.clock.monotonic();
    let mut cache = shared.cache();
    let (mut answers, mut at) = (Vec::new(), name.clone());
    for _ in 0..ALIASES {
        if let Some(denial) = cache.find_absent(&at, now) {
            return Some(Outcome { rcode: Rcode::NXDOMAIN, answers, denial });
        }
        match cache.find(&at, rtype, now) {
            Some(Known::Set(link)) => {
                answers.push(link);
                return Some(Outcome { rcode: Rcode::NOERROR, answers, denial: Vec::new() });
            }
            Some(Known::NoData(denial)) => return Some(Outcome { rcode: Rcode::NOERROR, answers, denial }),
            None => {}
        }
        let Some(Known::Set(alias)) = cache.find(&at, Rtype::CNAME, now) else { return None };
        let target = target(&alias.set)?;
        answers.push(alias);
        at = target;
    }
    None
}

fn target(alias: &RrSet) -> Option<Name> {
    alias.data.first().and_then(|data| data.name_at(0))
}

struct Work<'s, U, C> {
    shared: &'s Shared<U, C>,
    questions: u32,
}

type Resolving<'f> = Pin<Box<dyn Future<Output = Outcome> + Send + 'f>>;

impl<U: Upstream, C: Clock> Work<'_, U, C> {
    fn resolve(&mut self, name: Name, rtype: Rtype, depth: u32) -> Resolving<'_> {
        Box::pin(async move {
            let (mut answers, mut at) = (Vec::new(), name);
            for _ in 0..ALIASES {
                let step = match cached(self.shared, &at, rtype) {
                    Some(known) => known,
                    None => self.find(&at, rtype, depth).await,
                };
                answers.extend(step.answers);
                let next = answers.last().filter(|link: &&Link| {
                    link.set.rtype == Rtype::CNAME && !matches!(rtype, Rtype::CNAME | Rtype::ANY)
                });
                let Some(next) = next
                    .and_then(|link| target(&link.set))
                    .filter(|_| step.rcode == Rcode::NOERROR && step.denial.is_empty())
                else {
                    return Outcome { rcode: step.rcode, answers, denial: step.denial };
                };
                // A circle of aliases answers with what it is, as others do.
                if answers.iter().any(|link| link.owner == next) {
                    return Outcome { rcode: Rcode::SERVFAIL, answers: Vec::new(), denial: Vec::new() };
                }
                at = next;
            }
            Outcome::failure(Rcode::SERVFAIL)
        })
    }

    /// Goes down from the deepest known zone until somebody answers.
    async fn find(&mut self, name: &Name, rtype: Rtype, depth: u32) -> Outcome {
        let now = self.shared.clock.monotonic();
        let known = self.shared.cache().find_servers(name, rtype, now);
        let Some((mut zone, mut servers)) = known.or_else(|| self.hint(name)) else {
            // Nobody in this world answers for anything above the name: it does not exist here.
            return Outcome::failure(Rcode::NXDOMAIN);
        };
        loop {
            let response = self.ask_any(&zone, &servers, name, rtype, depth).await;
            let now = self.shared.clock.monotonic();
            let mut cache = self.shared.cache();
            match response {
                Some(Response::Answer(answers)) => {
                    answers.iter().for_each(|link| cache.insert_set(link, now));
                    return Outcome { rcode: Rcode::NOERROR, answers, denial: Vec::new() };
                }
                Some(Response::NoData(denial)) => {
                    cache.insert_no_data(name, rtype, denial.clone(), now);
                    return Outcome { rcode: Rcode::NOERROR, answers: Vec::new(), denial };
                }
                Some(Response::Absent(denial)) => {
                    cache.insert_absent(name, denial.clone(), now);
                    return Outcome { rcode: Rcode::NXDOMAIN, answers: Vec::new(), denial };
                }
                // Each referral is deeper than the one before, so there are at most as many as labels.
                Some(Response::Referral(child, next, ttl)) => {
                    cache.insert_servers(&child, next.clone(), ttl, now);
                    (zone, servers) = (child, next);
                }
                Some(Response::Truncated | Response::Lame) | None => return Outcome::failure(Rcode::SERVFAIL),
            }
        }
    }

    fn hint(&self, name: &Name) -> Option<(Name, Vec<Server>)> {
        let hints = self.shared.hints.load();
        let deepest =
            hints.iter().filter(|hint| name.is_under(&hint.zone)).max_by_key(|hint| hint.zone.label_count())?;
        let server = Server { name: deepest.zone.clone(), addresses: deepest.servers.clone() };
        Some((deepest.zone.clone(), vec![server]))
    }

    /// Asks the servers of a zone one after the other until one answers.
    async fn ask_any(
        &mut self,
        zone: &Name,
        servers: &[Server],
        name: &Name,
        rtype: Rtype,
        depth: u32,
    ) -> Option<Response> {
        for server in servers.iter().filter(|server| !server.addresses.is_empty()) {
            for &address in &server.addresses {
                if let Some(response) = self.ask(zone, address, name, rtype).await {
                    return Some(response);
                }
            }
        }
        // No glue, or none that answers: the servers' own names lead to their addresses.
        for server in servers.iter().filter(|server| server.addresses.is_empty() && depth > 0) {
            for of in [Rtype::A, Rtype::AAAA] {
                let found = self.resolve(server.name.clone(), of, depth - 1).await;
                let sets = found.answers.iter().filter(|link| link.set.rtype == of);
                let data = sets.flat_map(|link| link.set.data.iter());
                for address in data.filter_map(|data| message::address(of, data.as_wire())).collect::<Vec<_>>() {
                    if let Some(response) = self.ask(zone, address, name, rtype).await {
                        return Some(response);
                    }
                }
            }
        }
        None
    }

    /// Asks one server; `None` when it does not help.
    async fn ask(&mut self, zone: &Name, server: IpAddr, name: &Name, rtype: Rtype) -> Option<Response> {
        for stream in [false, true] {
            self.questions = self.questions.checked_sub(1)?;
            let mut id = [0; 2];
            getrandom::fill(&mut id).ok()?;
            let id = u16::from_be_bytes(id);
            let query = message::query(id, name, rtype);
            let answer = self.shared.upstream.ask(server, query, stream).await.ok()?;
            match message::judge(&answer, id, zone, name, rtype).ok()? {
                Response::Truncated => {}
                Response::Lame => return None,
                response => return Some(response),
            }
        }
        None
    }
}
