//! From the root down (RFC 1034, section 5.3.3), every loop bounded.

use std::{future::Future, net::IpAddr, pin::Pin};

use super::{
    Outcome, Shared,
    ask::Upstream,
    cache::{Denial, Known, Link, Server},
    message::{self, Response},
    security::{ExtendedError, Security},
};
use crate::{
    authority::Clock,
    dnssec::verify::Effort,
    name::Name,
    record::{RrSet, Rtype},
    wire::Rcode,
};

/// Questions to servers for one question of a client, all detours and chains of trust included.
const QUESTIONS: u32 = 100;
/// Public-key operations for one question of a client: a chain of trust takes two for each zone, a denial up to four.
const EFFORT: u32 = 100;
/// Longest chain of aliases.
const ALIASES: usize = 16;
/// Servers' names whose addresses are looked for within each other.
const DEPTH: u32 = 4;

/// Resolves within the bounds; what exceeds them is SERVFAIL.
pub(super) async fn resolve<U: Upstream, C: Clock>(shared: &Shared<U, C>, name: &Name, rtype: Rtype) -> Outcome {
    let (chains, forgets) = {
        let cache = shared.cache();
        (cache.chains(), cache.forgets())
    };
    let mut work = Work { shared, questions: QUESTIONS, effort: Effort::new(EFFORT), chains, forgets };
    work.resolve(name.clone(), rtype, DEPTH).await
}

/// The outcome as far as it needs no question; `None` when it needs one.
pub(super) fn cached<U, C: Clock>(shared: &Shared<U, C>, name: &Name, rtype: Rtype) -> Option<Outcome> {
    let now = shared.clock.monotonic();
    let mut cache = shared.cache();
    let (mut answers, mut at) = (Vec::new(), name.clone());
    for _ in 0..ALIASES {
        if let Some((denial, security)) = cache.find_absent(&at, now) {
            return Some(outcome(Found::Absent(denial), security, answers));
        }
        match cache.find(&at, rtype, now) {
            Some(Known::Set(link)) => {
                let security = link.security;
                answers.push(link);
                return Some(outcome(Found::Answer(Vec::new()), security, answers));
            }
            Some(Known::NoData(denial, security)) => return Some(outcome(Found::NoData(denial), security, answers)),
            None => {}
        }
        let Some(Known::Set(alias)) = cache.find(&at, Rtype::CNAME, now) else { return None };
        let target = target(&alias.set)?;
        answers.push(alias);
        at = target;
    }
    None
}

/// What was found, put behind the links that led there.
fn outcome(found: Found, security: Security, mut answers: Vec<Link>) -> Outcome {
    let (rcode, denial) = match found {
        Found::Answer(links) => {
            answers.extend(links);
            (Rcode::NOERROR, Denial::new())
        }
        Found::NoData(denial) => (Rcode::NOERROR, denial),
        Found::Absent(denial) => (Rcode::NXDOMAIN, denial),
        Found::Failure(Rcode::SERVFAIL) => return Outcome::broken(ExtendedError::NO_REACHABLE_AUTHORITY),
        Found::Failure(rcode) => (rcode, Denial::new()),
    };
    let security = answers.iter().fold(security, |worst, link| worst.max(link.security));
    Outcome { rcode, answers, denial, security, error: security.error() }
}

/// What the servers of a zone said in the end.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// Sets of the answer: the name's own, or the beginning of a chain of aliases.
    Answer(Vec<Link>),
    /// The name has nothing of this type.
    NoData(Denial),
    /// The name does not exist.
    Absent(Denial),
    /// Nobody said anything of use: SERVFAIL; or there is nobody who could: NXDOMAIN.
    Failure(Rcode),
}

fn target(alias: &RrSet) -> Option<Name> {
    alias.data.first().and_then(|data| data.name_at(0))
}

/// The work for one question of a client.
pub(super) struct Work<'s, U, C> {
    pub(super) shared: &'s Shared<U, C>,
    /// Questions to servers that may still be asked.
    pub(super) questions: u32,
    pub(super) effort: Effort,
    /// [`Cache::chains`](super::cache::Cache::chains) at the beginning.
    pub(super) chains: u64,
    /// [`Cache::forgets`](super::cache::Cache::forgets) at the beginning.
    forgets: u64,
}

type Resolving<'f> = Pin<Box<dyn Future<Output = Outcome> + Send + 'f>>;

impl<U: Upstream, C: Clock> Work<'_, U, C> {
    fn resolve(&mut self, name: Name, rtype: Rtype, depth: u32) -> Resolving<'_> {
        Box::pin(async move {
            let (mut answers, mut at, mut security) = (Vec::new(), name, Security::Secure);
            for _ in 0..ALIASES {
                let step = match cached(self.shared, &at, rtype) {
                    Some(known) => known,
                    None => self.find(&at, rtype, depth).await,
                };
                answers.extend(step.answers);
                security = security.max(step.security);
                let next = answers.last().filter(|link: &&Link| {
                    link.set.rtype == Rtype::CNAME && !matches!(rtype, Rtype::CNAME | Rtype::ANY)
                });
                let Some(next) = next
                    .and_then(|link| target(&link.set))
                    .filter(|_| step.rcode == Rcode::NOERROR && step.denial.is_empty())
                else {
                    let error = step.error.or(security.error());
                    return Outcome { rcode: step.rcode, answers, denial: step.denial, security, error };
                };
                // A circle of aliases answers with what it is, as others do.
                if answers.iter().any(|link| link.owner == next) {
                    return Outcome::failure(Rcode::SERVFAIL);
                }
                at = next;
            }
            Outcome::failure(Rcode::SERVFAIL)
        })
    }

    /// Asks, judges and remembers.
    async fn find(&mut self, name: &Name, rtype: Rtype, depth: u32) -> Outcome {
        let mut found = self.descend(name, rtype, depth).await;
        let mut security = self.validate(name, rtype, &mut found, depth).await;
        if security.error().is_none()
            && let Some(forwarded) = self.forward(name, rtype, &found).await
        {
            (found, security) = (forwarded, Security::Indeterminate);
        }
        // What was not found out for want of effort is found out by the next who asks.
        if security.error().is_none() || !self.is_spent() {
            self.remember(name, rtype, &found, security);
        }
        outcome(found, security, Vec::new())
    }

    fn remember(&self, name: &Name, rtype: Rtype, found: &Found, security: Security) {
        let now = self.shared.clock.monotonic();
        let mut cache = self.shared.cache();
        // Asked for before a change, or judged by anchors or keys that have changed meanwhile.
        if cache.forgets() != self.forgets || security != Security::Indeterminate && cache.chains() != self.chains {
            return;
        }
        match found {
            Found::Answer(links) => links.iter().for_each(|link| cache.insert_set(link, now)),
            Found::NoData(denial) => cache.insert_no_data(name, rtype, (denial.clone(), security), now),
            Found::Absent(denial) => cache.insert_absent(name, (denial.clone(), security), now),
            Found::Failure(_) => {}
        }
    }

    /// What is known, or what the servers say, not judged.
    pub(super) async fn raw(&mut self, name: &Name, rtype: Rtype, depth: u32) -> Found {
        let now = self.shared.clock.monotonic();
        let known = self.shared.cache().find(name, rtype, now);
        match known {
            Some(Known::Set(link)) => Found::Answer(vec![link]),
            Some(Known::NoData(denial, _)) => Found::NoData(denial),
            None => self.descend(name, rtype, depth).await,
        }
    }

    /// Goes down from the deepest known zone until somebody answers.
    async fn descend(&mut self, name: &Name, rtype: Rtype, depth: u32) -> Found {
        let now = self.shared.clock.monotonic();
        let known = self.shared.cache().find_servers(name, rtype, now);
        let Some((mut zone, mut servers)) = known.or_else(|| self.hint(name)) else {
            // Nobody in this world answers for anything above the name: it does not exist here.
            return Found::Failure(Rcode::NXDOMAIN);
        };
        loop {
            match self.ask_any(&zone, &servers, name, rtype, depth).await {
                Some(Response::Answer(answers)) => return Found::Answer(answers),
                Some(Response::NoData(denial)) => return Found::NoData(denial),
                Some(Response::Absent(denial)) => return Found::Absent(denial),
                // Each referral is deeper than the one before, so there are at most as many as labels.
                Some(Response::Referral(child, next, ttl)) => {
                    let now = self.shared.clock.monotonic();
                    let mut cache = self.shared.cache();
                    if cache.forgets() == self.forgets {
                        cache.insert_servers(&child, next.clone(), ttl, now);
                    }
                    drop(cache);
                    (zone, servers) = (child, next);
                }
                Some(Response::Truncated | Response::Lame) | None => return Found::Failure(Rcode::SERVFAIL),
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
                let sound = |link: &&Link| link.set.rtype == of && link.security.error().is_none();
                let sets = found.answers.iter().filter(sound);
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
            let query = message::query(id, name, rtype, 0);
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
