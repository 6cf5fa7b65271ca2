//! AXFR (RFC 5936): a zone as it was when it was asked for, in full messages, made as fast as the peer takes them.

use std::{ops::ControlFlow, sync::Arc};

use crate::{
    dnssec::Signatures,
    name::LookupKey,
    record::{RrSet, Rtype},
    wire::{
        MESSAGE_MAX, flag,
        read::Question,
        tsig::Signer,
        write::{Full, Section, Writer},
    },
    zone::{Found, Node, Zone},
};

/// The messages of one transfer. IXFR is answered by it as well (RFC 1995, section 4).
#[derive(Debug)]
pub struct Transfer {
    zone: Arc<Zone>,
    id: u16,
    question: Question,
    signer: Option<Signer>,
    /// Makes the RRSIG records of a signed zone, as of when it was asked for; the messages are signed with that time too.
    signatures: Signatures,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The SOA record that begins it.
    First,
    /// From this key on; of that node this many records are sent already.
    Nodes(Vec<u8>, usize),
    Over,
}

impl Transfer {
    /// Begins a transfer of `zone` to the asker of `question` in the message `id`.
    pub fn new(zone: Arc<Zone>, id: u16, question: Question, signer: Option<Signer>, signatures: Signatures) -> Self {
        Self { zone, id, question, signer, signatures, stage: Stage::First }
    }

    fn soa(&self) -> Option<&RrSet> {
        self.zone.apex_node().and_then(|node| node.get(Rtype::SOA))
    }

    fn write_soa(&self, writer: &mut Writer) -> Result<(), Full> {
        let Some(soa) = self.soa() else { return Ok(()) };
        writer.set_of(Section::Answer, self.zone.apex(), soa, soa.ttl)
    }

    /// Writes from the stage on; returns the stage that remains.
    fn fill(&self, writer: &mut Writer) -> Stage {
        let (key, mut skip) = match &self.stage {
            Stage::First => {
                // The first record of a message of 64 KiB fits.
                let _ = self.write_soa(writer);
                (Vec::new(), 0)
            }
            Stage::Nodes(key, skip) => (key.clone(), *skip),
            Stage::Over => return Stage::Over,
        };
        let mut rest = None;
        self.zone.walk(&key, |node| {
            let sent = self.write_node(writer, node, std::mem::take(&mut skip));
            if let Err(done) = sent {
                rest = Some(Stage::Nodes(node.name.key().as_bytes().to_vec(), done));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        rest.unwrap_or_else(|| match self.write_soa(writer) {
            Ok(()) => Stage::Over,
            // A key after all names: nothing but the last SOA record is left.
            Err(Full) => Stage::Nodes(vec![0xff; 520], 0),
        })
    }

    /// Writes a node's records but SOA, from the `skip`th on; when the message is full, how many of them are sent.
    fn write_node(&self, writer: &mut Writer, node: &Node, skip: usize) -> Result<(), usize> {
        let mut index = 0;
        let mut write = |set: &RrSet| -> Result<(), usize> {
            for data in set.data.iter() {
                if index >= skip {
                    writer.record(Section::Answer, &node.name, set.rtype, set.ttl, data).map_err(|Full| index)?;
                }
                index += 1;
            }
            Ok(())
        };
        node.sets.iter().filter(|set| set.rtype != Rtype::SOA).try_for_each(&mut write)?;
        if self.zone.keys().is_none() {
            return Ok(());
        }
        let is_cut = node.name != *self.zone.apex() && node.get(Rtype::NS).is_some();
        // Names below a delegation are glue: neither signed nor part of the chain.
        let is_glue =
            matches!(self.zone.find(&LookupKey::of(node.name.as_wire())), Found::Cut(cut) if cut.name != node.name);
        if is_glue {
            return Ok(());
        }
        let nsec = self.zone.nsec(node);
        write(&nsec)?;
        for set in node.sets.iter().filter(|set| !is_cut || set.rtype == Rtype::DS).chain([&nsec]) {
            let signature = self.signatures.of(&self.zone, &node.name, set);
            signature.as_ref().map_or(Ok(()), &mut write)?;
        }
        Ok(())
    }
}

impl Iterator for Transfer {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if matches!(self.stage, Stage::Over) {
            return None;
        }
        let mut writer = Writer::new(self.id, flag::QR | flag::AA, MESSAGE_MAX);
        if matches!(self.stage, Stage::First) {
            let _ = writer.question(&self.question.name, self.question.rtype, self.question.class);
        }
        writer.reserve(self.signer.as_ref().map_or(0, Signer::len));
        let before = writer.len();
        let stage = self.fill(&mut writer);
        // A record that fits into no message would be tried for ever: the stream ends short, which the peer notices.
        self.stage = if writer.len() == before { Stage::Over } else { stage };
        let mut message = writer.finish();
        if let Some(signer) = &mut self.signer {
            signer.sign(&mut message, self.signatures.now);
        }
        Some(message)
    }
}
