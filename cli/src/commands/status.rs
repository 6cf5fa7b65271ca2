//! `netengine status`.

use std::fmt::Write;

use netengine_proto::api::WorldStatus;

use super::duration;
use crate::{
    client::Client,
    escape,
    failure::Failure,
    table::{Table, Tint},
    ui::Ui,
};

/// Shows one world.
///
/// # Errors
/// The daemon's problem.
pub async fn run(ui: &Ui, client: &Client, world: Option<&str>) -> Result<u8, Failure> {
    let world = client.world(world).await?;
    let status: WorldStatus = client.get(&format!("/worlds/{world}"), &[]).await?;
    if ui.json {
        ui.print_json(&status)?;
    } else {
        ui.print(&render(&status, ui.color))?;
    }
    Ok(0)
}

fn render(status: &WorldStatus, color: bool) -> String {
    let mut text = String::new();
    let state = Tint::of_state(status.state.as_str()).paint(status.state.as_str(), color);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "world  {}", escape::line(&status.world));
    let _ = writeln!(text, "owner  {}", escape::line(&status.owner));
    let _ = writeln!(text, "state  {state}");
    if let Some(since) = &status.started_at {
        let _ = writeln!(text, "since  {}", escape::line(since));
    }
    for note in &status.notes {
        let _ = writeln!(text, "note   {}", escape::line(note));
    }
    for table in [phases(status), services(status), networks(status), peers(status)].into_iter().flatten() {
        text.push('\n');
        text.push_str(&table.render(color));
    }
    text
}

fn phases(status: &WorldStatus) -> Option<Table> {
    let mut table = Table::new(&["PHASE", "NAME", "STATE", "TIME", "DETAIL"]);
    for phase in &status.phases {
        let state = phase.state.as_str();
        let time = phase.millis.map(duration).unwrap_or_default();
        table.tinted([
            (&phase.id.to_string(), Tint::Plain),
            (&phase.name, Tint::Plain),
            (state, Tint::of_state(state)),
            (&time, Tint::Plain),
            (&phase.detail, Tint::Plain),
        ]);
    }
    (!status.phases.is_empty()).then_some(table)
}

fn services(status: &WorldStatus) -> Option<Table> {
    let mut table = Table::new(&["SERVICE", "ADDRESS", "STATE", "DETAIL"]);
    for service in &status.services {
        let state = service.state.as_str();
        let address = match service.address.contains(':') {
            true => format!("[{}]:{}", service.address, service.port),
            false => format!("{}:{}", service.address, service.port),
        };
        table.tinted([
            (&service.name, Tint::Plain),
            (&address, Tint::Plain),
            (state, Tint::of_state(state)),
            (&service.detail, Tint::Plain),
        ]);
    }
    (!status.services.is_empty()).then_some(table)
}

fn networks(status: &WorldStatus) -> Option<Table> {
    let mut table = Table::new(&["NETWORK", "SUBNET", "GATEWAY", "HOSTS"]);
    for network in &status.networks {
        let subnets: Vec<&str> = std::iter::once(network.subnet.as_str()).chain(network.subnet6.as_deref()).collect();
        let hosts: Vec<String> =
            network.hosts.iter().map(|host| format!("{} ({})", host.name, host.addresses.join(", "))).collect();
        table.row([&network.name, &subnets.join(", "), &network.gateway.join(", "), &shorten(&hosts)]);
    }
    (!status.networks.is_empty()).then_some(table)
}

fn peers(status: &WorldStatus) -> Option<Table> {
    let mut table = Table::new(&["PEER", "MODE", "STATE", "DETAIL"]);
    for peer in &status.peers {
        let state = peer.state.as_str();
        table.tinted([
            (&peer.endpoint, Tint::Plain),
            (&peer.mode, Tint::Plain),
            (state, Tint::of_state(state)),
            (&peer.detail, Tint::Plain),
        ]);
    }
    (!status.peers.is_empty()).then_some(table)
}

/// The first hosts by name, the others by number; `--json` has them all.
fn shorten(hosts: &[String]) -> String {
    const SHOWN: usize = 3;
    match hosts.len().checked_sub(SHOWN) {
        None | Some(0) => hosts.join(", "),
        Some(more) => format!("{} and {more} more", hosts[..SHOWN].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use netengine_proto::api::{
        HostStatus, NetworkStatus, PeerState, PeerStatus, PhaseState, PhaseStatus, ServiceState, ServiceStatus,
        WorldState,
    };

    use super::*;

    fn status() -> WorldStatus {
        let phase = |id, name: &str, state, millis, detail: &str| PhaseStatus {
            id,
            name: name.into(),
            state,
            millis,
            detail: detail.into(),
        };
        let host = |n: u8| HostStatus { name: format!("core-{n}"), addresses: vec![format!("10.0.0.{n}")] };
        WorldStatus {
            world: "blue".into(),
            owner: "alice".into(),
            state: WorldState::Ready,
            phases: vec![
                phase(0, "substrate", PhaseState::Done, Some(41), ""),
                phase(1, "dns-root", PhaseState::Skipped, None, "not in this release"),
            ],
            services: vec![ServiceStatus {
                name: "ntp".into(),
                address: "fd00::1".into(),
                port: 123,
                state: ServiceState::Ready,
                detail: "stratum 10\u{1b}[2J".into(),
            }],
            networks: vec![NetworkStatus {
                name: "core".into(),
                subnet: "10.0.0.0/24".into(),
                subnet6: None,
                gateway: vec!["10.0.0.1".into()],
                hosts: (2..=6).map(host).collect(),
            }],
            started_at: Some("2026-01-02T03:04:05Z".into()),
            notes: vec!["environment dev".into()],
            peers: vec![PeerStatus {
                endpoint: "world:bob/green".into(),
                mode: "peered".into(),
                state: PeerState::Joined,
                detail: "reaches 10.1.0.0/24".into(),
            }],
        }
    }

    #[test]
    fn all_of_a_world_on_one_screen() {
        let expected = "\
world  blue
owner  alice
state  ready
since  2026-01-02T03:04:05Z
note   environment dev

PHASE  NAME       STATE    TIME   DETAIL
0      substrate  done     41 ms
1      dns-root   skipped         not in this release

SERVICE  ADDRESS        STATE  DETAIL
ntp      [fd00::1]:123  ready  stratum 10\\x1b[2J

NETWORK  SUBNET       GATEWAY   HOSTS
core     10.0.0.0/24  10.0.0.1  core-2 (10.0.0.2), core-3 (10.0.0.3), core-4 (10.0.0.4) and 2 more

PEER             MODE    STATE   DETAIL
world:bob/green  peered  joined  reaches 10.1.0.0/24
";
        assert_eq!(render(&status(), false), expected);
    }
}
