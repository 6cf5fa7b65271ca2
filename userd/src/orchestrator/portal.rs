//! The way out of a world: asked for before anything is touched.

use netengine_proto::{
    api::{Problem, ProblemKind},
    ids::Uid,
};
use netengine_spec::Spec;

use super::Orchestrator;
use crate::{plan::portal, problem::problem};

impl Orchestrator {
    /// Refuses a spec that asks for a way out which no administrator allows its owner.
    pub(super) async fn refuse_way_out(&self, what: &str, owner: Uid, spec: &Spec, up_to: u8) -> Result<(), Problem> {
        if !portal::needs_uplink(spec, up_to) {
            return Ok(());
        }
        let offer = self.root().uplink_offer(owner).await.map_err(|error| error.problem(what))?;
        if !offer.allowed {
            let cause = "gateway_portal asks for a way out of the world, and no administrator allows its owner one";
            let help = "ask an administrator for a line `allow user NAME` in /etc/netengine/uplink.conf, or write `mode: isolated`";
            return Err(problem(ProblemKind::Refused, what, cause, help));
        }
        for one in spec.gateway_portal.published() {
            let port = one.host_port;
            if offer.ports.is_some_and(|(first, last)| (first.get()..=last.get()).contains(&port)) {
                continue;
            }
            let cause = format!("port {port} of the host may not lead into a world");
            let help = match offer.ports {
                None => "ask an administrator for a line `inbound ADDRESS FIRST-LAST` in /etc/netengine/uplink.conf"
                    .to_owned(),
                Some((first, last)) => {
                    format!("write gateway_portal.real_internet.publish with host ports from {first} to {last}")
                }
            };
            return Err(problem(ProblemKind::Refused, what, cause, help));
        }
        Ok(())
    }
}
