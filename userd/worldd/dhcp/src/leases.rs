//! Which host has which address of a link.
//!
//! Hosts of the plan have theirs for good. Any other gets one of the rest of the subnet, one per MAC address: the bridge
//! lets no host speak for another's, while a client identifier may be anything, so it is no key here.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;

use crate::Mac;

/// Most addresses of a link that hosts outside the plan have.
pub const DYNAMIC: usize = 1024;
/// Most addresses of a link that are kept back because a host said they are in use.
const DECLINED: usize = 16;
/// How long they are kept back.
const DECLINED_MS: u64 = 600_000;
/// How long an offer stands.
const OFFER_MS: u64 = 30_000;

#[derive(Debug, Clone, Copy)]
struct Lease {
    address: Ipv4Addr,
    until_ms: u64,
    /// Acknowledged, not only offered.
    is_bound: bool,
}

/// The addresses of one link.
#[derive(Debug)]
pub struct Leases {
    subnet: Ipv4Net,
    /// Addresses that no host outside the plan gets.
    taken: BTreeSet<Ipv4Addr>,
    planned: BTreeMap<Mac, Ipv4Addr>,
    dynamic: BTreeMap<Mac, Lease>,
    holders: BTreeMap<Ipv4Addr, Mac>,
    declined: Vec<(Ipv4Addr, u64)>,
}

impl Leases {
    /// None but the plan's.
    pub fn new(subnet: Ipv4Net, router: Ipv4Addr, planned: &[(Mac, Ipv4Addr)]) -> Self {
        let mut leases = Self {
            subnet,
            taken: BTreeSet::new(),
            planned: BTreeMap::new(),
            dynamic: BTreeMap::new(),
            holders: BTreeMap::new(),
            declined: Vec::new(),
        };
        leases.plan(router, planned);
        leases
    }

    /// Follows a changed plan; who has an address that is now planned for another loses it.
    pub fn plan(&mut self, router: Ipv4Addr, planned: &[(Mac, Ipv4Addr)]) {
        self.planned = planned.iter().copied().collect();
        self.taken = planned.iter().map(|(_, address)| *address).collect();
        self.taken.extend([router, self.subnet.network(), self.subnet.broadcast()]);
        let (planned, taken) = (&self.planned, &self.taken);
        self.dynamic.retain(|mac, lease| !planned.contains_key(mac) && !taken.contains(&lease.address));
        self.holders = self.dynamic.iter().map(|(mac, lease)| (lease.address, *mac)).collect();
    }

    /// The address that `mac` has or was offered, whether planned or not.
    pub fn of(&self, mac: &Mac) -> Option<Ipv4Addr> {
        self.planned.get(mac).copied().or_else(|| self.dynamic.get(mac).map(|lease| lease.address))
    }

    /// Whether `mac` is one of the plan's.
    pub fn is_planned(&self, mac: &Mac) -> bool {
        self.planned.contains_key(mac)
    }

    /// The address to offer to `mac`; `None` when there is none left. `wish` is taken when it is free.
    pub fn offer(&mut self, mac: Mac, wish: Option<Ipv4Addr>, now_ms: u64) -> Option<Ipv4Addr> {
        if let Some(address) = self.planned.get(&mac) {
            return Some(*address);
        }
        if let Some(lease) = self.dynamic.get_mut(&mac) {
            lease.until_ms = lease.until_ms.max(now_ms + OFFER_MS);
            return Some(lease.address);
        }
        self.declined.retain(|(_, until_ms)| *until_ms > now_ms);
        let free = wish.filter(|address| self.is_free(*address)).or_else(|| self.choose(mac));
        let address = free.filter(|_| self.dynamic.len() < DYNAMIC).or_else(|| self.reclaim(now_ms))?;
        self.dynamic.insert(mac, Lease { address, until_ms: now_ms + OFFER_MS, is_bound: false });
        self.holders.insert(address, mac);
        Some(address)
    }

    /// Gives `mac` what it has for `lease_ms` more; whether that is a binding that was none before. The caller has asked
    /// [`Self::of`].
    pub fn bind(&mut self, mac: &Mac, lease_ms: u64, now_ms: u64) -> bool {
        let Some(lease) = self.dynamic.get_mut(mac) else { return false };
        lease.until_ms = now_ms + lease_ms;
        !std::mem::replace(&mut lease.is_bound, true)
    }

    /// Takes an offer back that was not acknowledged.
    pub fn withdraw(&mut self, mac: &Mac) {
        if self.dynamic.get(mac).is_some_and(|lease| !lease.is_bound) {
            self.forget(mac);
        }
    }

    /// Takes a binding back; whether there was one.
    pub fn release(&mut self, mac: &Mac, address: Ipv4Addr) -> bool {
        self.dynamic.get(mac).is_some_and(|lease| lease.address == address) && self.forget(mac)
    }

    /// The host has found its new address in use by somebody: another next time, and nobody gets this one for a while. At
    /// most 16 are kept back, so that declining all of them does not empty the link. Whether a binding ended.
    pub fn decline(&mut self, mac: &Mac, address: Ipv4Addr, now_ms: u64) -> bool {
        if !self.release(mac, address) {
            return false;
        }
        if self.declined.len() >= DECLINED {
            self.declined.remove(0);
        }
        self.declined.push((address, now_ms + DECLINED_MS));
        true
    }

    /// Every acknowledged binding outside the plan: what a successor must know.
    pub fn bound(&self) -> impl Iterator<Item = (Mac, Ipv4Addr)> {
        self.dynamic.iter().filter(|(_, lease)| lease.is_bound).map(|(mac, lease)| (*mac, lease.address))
    }

    /// Takes over a predecessor's bindings. None was given for longer than `lease_ms` before now, so each counts as given
    /// now. What contradicts the plan or another is left out.
    pub fn restore(&mut self, bound: impl IntoIterator<Item = (Mac, Ipv4Addr)>, lease_ms: u64, now_ms: u64) {
        for (mac, address) in bound {
            let is_new = !self.planned.contains_key(&mac) && !self.dynamic.contains_key(&mac);
            if is_new && self.is_free(address) && self.dynamic.len() < DYNAMIC {
                self.dynamic.insert(mac, Lease { address, until_ms: now_ms + lease_ms, is_bound: true });
                self.holders.insert(address, mac);
            }
        }
    }

    fn forget(&mut self, mac: &Mac) -> bool {
        let lease = self.dynamic.remove(mac);
        lease.is_some_and(|lease| self.holders.remove(&lease.address).is_some())
    }

    fn is_free(&self, address: Ipv4Addr) -> bool {
        let is_held = self.taken.contains(&address) || self.holders.contains_key(&address);
        self.subnet.contains(&address) && !is_held && self.declined.iter().all(|(declined, _)| *declined != address)
    }

    /// A free address that depends on the MAC address, so that a host without memory tends to get the same again.
    fn choose(&self, mac: Mac) -> Option<Ipv4Addr> {
        let size = 1_u64 << (32 - self.subnet.prefix_len());
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let start = mac.iter().fold(0xcbf2_9ce4_8422_2325, fold) % size;
        let address = |step: u64| {
            let offset = u32::try_from((start + step) % size).unwrap_or(0);
            Ipv4Addr::from(u32::from(self.subnet.network()).wrapping_add(offset))
        };
        // Nothing but these is in the way, so a free one is met within one step more, if there is one.
        let in_the_way = self.taken.len() + self.holders.len() + self.declined.len();
        (0..size.min(in_the_way as u64 + 1)).map(address).find(|address| self.is_free(*address))
    }

    /// The address of whose time ended first, if any has ended.
    fn reclaim(&mut self, now_ms: u64) -> Option<Ipv4Addr> {
        let ended = self.dynamic.iter().filter(|(_, lease)| lease.until_ms <= now_ms);
        let (mac, address) = ended.min_by_key(|(_, lease)| lease.until_ms).map(|(mac, lease)| (*mac, lease.address))?;
        self.forget(&mac);
        Some(address)
    }
}
