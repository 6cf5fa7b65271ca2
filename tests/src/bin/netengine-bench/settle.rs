//! Waiting until the kernel has removed every namespace that was given up.
//!
//! The kernel removes namespaces later, in one work item of one ordered queue (net/core/net_namespace.c,
//! `cleanup_net`), each run taking all that wait. A sentinel is a namespace with one end of a cable whose other end is here: when
//! it is given up after the world, the message that the link here is gone comes from that run or a later one. A second
//! sentinel, given up then, is in the run after, which begins when the first has ended. So after the second message
//! everything given up before has been removed. No clock, no polling.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use netengine_proto::net::{IfName, Mac};
use netengine_rootd::{
    netlink::{
        request::{self, End},
        socket::Netlink as Socket,
    },
    sys::netns::{self, Netlink},
};
use nix::sys::socket::{MsgFlags, NetlinkAddr, bind, recv};

const RTMGRP_LINK: u32 = 1;
const RTM_DELLINK: u16 = 17;

/// Two sentinels, ready.
pub struct Settle {
    sentinels: Vec<(u32, OwnedFd)>,
    news: OwnedFd,
}

impl Settle {
    /// Makes the sentinels, before the clock starts. The calling thread stands in `home`, a namespace of its own.
    ///
    /// # Errors
    /// The kernel refuses something.
    pub fn prepare(home: &OwnedFd) -> Result<Self> {
        let news = netns::netlink(Netlink::Route)?;
        bind(news.as_raw_fd(), &NetlinkAddr::new(0, RTMGRP_LINK)).context("cannot listen to links")?;
        let mut here = Socket::new(netns::netlink(Netlink::Route)?);
        let mut sentinels = Vec::new();
        for number in 0..2u8 {
            netns::unshare_net()?;
            let ns = netns::of_socket(&netns::netlink(Netlink::Route)?)?;
            netns::enter(home)?;
            let index = 900 + u32::from(number);
            let (name, peer) = (IfName::numbered("se", number.into()), IfName::numbered("st", 0));
            let near = End { index, name: &name, mac: Mac::local([2, 9, 0, 0, 0, number]) };
            let far = End { index: 900, name: &peer, mac: Mac::local([2, 9, 0, 0, 1, number]) };
            here.batch(vec![request::create_cable(near, far, ns.as_raw_fd())]).context("cannot make a sentinel")?;
            sentinels.push((index, ns));
        }
        Ok(Self { sentinels, news })
    }

    /// Returns when every namespace given up before this call has been removed.
    ///
    /// # Errors
    /// The kernel's messages cannot be read.
    pub fn wait(mut self) -> Result<()> {
        for (index, ns) in std::mem::take(&mut self.sentinels) {
            drop(ns);
            while !self.is_news_of_removal(index)? {}
        }
        Ok(())
    }

    fn is_news_of_removal(&self, index: u32) -> Result<bool> {
        let mut buffer = [0u8; 16 << 10];
        let length = recv(self.news.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        // struct nlmsghdr (16 bytes), struct ifinfomsg (index at its byte 4); netlink(7), rtnetlink(7).
        while rest.len() >= 24 {
            let word = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            if kind == RTM_DELLINK && word(20) == index {
                return Ok(true);
            }
            let step = (word(0) as usize).next_multiple_of(4).max(16);
            rest = rest.get(step..).unwrap_or_default();
        }
        Ok(false)
    }
}
