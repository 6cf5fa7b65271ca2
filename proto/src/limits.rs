//! Every bound of the product, each with its reason. A bound that has no reason here does not exist.

use std::time::Duration;

/// Longest name (RFC 1035, section 2.3.4: a DNS label holds 63 octets; names become labels).
pub const NAME_BYTES: usize = 63;
/// Longest link name (linux/if.h: `IFNAMSIZ` is 16 with the terminating NUL).
pub const IF_NAME_BYTES: usize = 15;

/// Nodes (network namespaces) of one world: a 1,000-decoy fleet plus its routers fits.
pub const NODES_PER_WORLD: usize = 1200;
/// Links of one world: every node has one or two, each network adds a bridge.
pub const LINKS_PER_WORLD: usize = 4096;
/// Addresses on one link: every service of a large world may have its own.
pub const ADDRESSES_PER_LINK: usize = 4096;
/// Routes of one node; a router of 500 ANDs needs one per AND and a few more.
pub const ROUTES_PER_NODE: usize = 1024;
/// Entries of the forward policy: 64 networks in every direction.
pub const FORWARD_PAIRS: usize = 4096;
/// Administrative Network Domains of one world: the promise is 500, and each needs a bridge and a cable.
pub const DOMAINS: usize = 1024;
/// Worlds that one world is joined with.
pub const PEERS: usize = 16;
/// Networks of a joined world that routes lead to.
pub const PEER_NETWORKS: usize = 1024;
/// Typed rules between domains of one world: one chain entry each.
pub const ALLOW_RULES: usize = 4096;
/// Port ranges of one rule.
pub const PORT_RANGES: usize = 64;
/// Port ranges of all rules of one policy: a rule in the kernel each, about a microsecond when the policy is replaced.
pub const POLICY_PORT_RANGES: usize = 16_384;
/// Flows one domain may have open through the router unless its plan says less (nf_conntrack(5): an entry takes about 400
/// bytes, and the table of a namespace holds 262,144).
pub const DOMAIN_FLOWS: u32 = 16_384;
/// Flows proven in one call: about a second of work of the probe worker, so that others wait no longer.
pub const FLOW_PROBES: usize = 1024;
/// A batch of flows is given up after this.
pub const FLOW_PROBE_TIME: Duration = Duration::from_secs(5);
/// Typed rules between a world and its uplink: one chain entry each.
pub const UPLINK_RULES: usize = 256;
/// Ports of the host that lead into one world: passt(1) listens on each.
pub const UPLINK_PORTS: usize = 16;
/// Ports that a router answers on by itself (DNS, DHCP, NTP, and room).
pub const INPUT_PORTS: usize = 32;
/// Name servers in one resolv.conf (resolv.conf(5): `MAXNS` is 3).
pub const NAME_SERVERS: usize = 3;
/// Search domains in one resolv.conf (resolv.conf(5): six before glibc 2.26).
pub const SEARCH_DOMAINS: usize = 6;
/// Certificate authorities that commands of a world trust: a root, its predecessor, peers. Tickets carry them, so few.
pub const TRUST_ANCHORS: usize = 8;
/// Keys of a world's DNS root: one in use, one to come, one going.
pub const DNS_ANCHORS: usize = 8;
/// Bytes of a DS record's digest (RFC 6605: SHA-384 has 48).
pub const DNS_DIGEST_BYTES: usize = 64;
/// Bytes of one DER certificate; real ones are 400 to 2,000.
pub const CERTIFICATE_BYTES: usize = 8192;
/// Worlds rootd holds at most; userd's quotas are lower, this is the backstop against a hostile userd.
pub const WORLDS: usize = 4096;
/// Namespaces rootd holds at most, over all worlds: two descriptors and about 100 KiB of kernel memory each.
pub const NODES_TOTAL: usize = 16_384;
/// Processes rootd holds at most (one worldd per world, probers and user commands).
pub const PROCESSES_TOTAL: usize = 8192;
/// User commands of one owner at the same time.
pub const COMMANDS_PER_OWNER: usize = 64;

/// Largest frame between userd and rootd, each way: a plan of `NODES_PER_WORLD` nodes, or its observation, is about 300 KiB.
pub const ROOT_FRAME_BYTES: usize = 1 << 20;
/// Calls in flight on one connection to rootd; more are refused as busy.
pub const ROOT_CALLS_IN_FLIGHT: usize = 32;
/// Calls that change something and are at work at once, over all connections, those included whose caller is gone: a
/// decoded plan is at most 5 MiB, and rootd's unit has 512 MiB.
pub const ROOT_EFFECTS: usize = 64;
/// Connections rootd accepts from userd at the same time: one in use, one after a reconnect, two spare.
pub const ROOT_CONNECTIONS: usize = 4;
/// A call's time to live is clamped to this, so no peer can make the timer overflow.
pub const ROOT_CALL_TTL: Duration = Duration::from_secs(60);
/// A connection must send its first frame within this.
pub const ROOT_FIRST_FRAME: Duration = Duration::from_secs(2);
/// A frame once begun must be complete within this.
pub const ROOT_FRAME_TIME: Duration = Duration::from_secs(5);
/// A connection that sends nothing for this long and has no call in flight is closed.
pub const ROOT_IDLE: Duration = Duration::from_secs(60);
/// A response must be taken by the peer within this.
pub const ROOT_WRITE_TIME: Duration = Duration::from_secs(5);

/// Largest request on `exec.sock`: arguments and environment (execve(2): `ARG_MAX` is 2 MiB; half of it here).
pub const EXEC_REQUEST_BYTES: usize = 1 << 20;
/// Arguments plus environment entries of a command.
pub const EXEC_STRINGS: usize = 8192;
/// Bytes of one argument or environment entry (execve(2): `MAX_ARG_STRLEN` is 128 KiB).
pub const EXEC_STRING_BYTES: usize = 131_072;
/// Connections on `exec.sock` whose command is not yet handed over: each may hold [`EXEC_REQUEST_BYTES`].
pub const EXEC_CONNECTIONS: usize = 256;
/// Those of one user, so that nobody keeps others out; as many as [`COMMANDS_PER_OWNER`].
pub const EXEC_CONNECTIONS_PER_USER: usize = COMMANDS_PER_OWNER;
/// A ticket for `exec.sock` is void after this.
pub const TICKET_LIFE: Duration = Duration::from_secs(10);
/// Tickets that wait to be used, over all users.
pub const TICKETS_PENDING: usize = 1024;

/// Sandboxes of the firewall lab at the same time, over all users: about 20 MiB each.
pub const SANDBOXES: usize = 64;
/// Those of one user, so that nobody keeps others out; more than most machines have processors.
pub const SANDBOXES_PER_OWNER: usize = 16;
/// A connection on `lab.sock` must say whom its sandbox is for within this.
pub const SANDBOX_REQUEST_TIME: Duration = Duration::from_secs(2);
/// Largest body of a request to the firewall lab: a ruleset of 16 MiB, escaped, and what belongs to it.
pub const LAB_BODY_BYTES: usize = 40 << 20;
/// Bodies of more than [`API_BODY_BYTES`] that are read or at work at the same time, over all users.
pub const LAB_LARGE_BODIES: usize = 4;
/// Runs of suites of one user that userd knows, those that are over included; the oldest that is over makes room.
pub const LAB_RUNS_PER_OWNER: usize = 8;
/// Cases of one run.
pub const LAB_RUN_CASES: usize = 10_000;
/// Bytes of the results that one run may have, as they come from the sandbox.
pub const LAB_RUN_BYTES: usize = 64 << 20;
/// Sandboxes of one run at most.
pub const LAB_RUN_JOBS: usize = 4;

/// Largest frame on a world's control socket: a spec of [`SPEC_BYTES`] as JSON in JSON, and a secret for each account.
pub const CONTROL_BYTES: usize = 8 << 20;
/// A control frame once begun must be complete within this, and a reply must be taken within this.
pub const CONTROL_FRAME_TIME: Duration = Duration::from_secs(5);
/// Connections to one control socket at the same time: userd's, its successor's after a restart, and room.
pub const CONTROL_CONNECTIONS: usize = 8;
/// Live checks in one request: every address of a large network's services.
pub const PROBES: usize = 1024;
/// Certificates in one answer about issued ones.
pub const CERTIFICATES_LISTED: usize = 500;
/// A live check's time limit is clamped to this.
pub const PROBE_TIME: Duration = Duration::from_secs(30);
/// A prober that nobody has connected to exits after this.
pub const PROBER_IDLE: Duration = Duration::from_secs(30);
/// Sources an NTP server remembers for its rate limit: 80 bytes each; the least recent are forgotten first.
pub const NTP_SOURCES: usize = 8192;

/// Largest body of an API request; a spec is at most [`SPEC_BYTES`].
pub const API_BODY_BYTES: usize = 2 << 20;
/// Connections of one user to userd at the same time: each of `COMMANDS_PER_OWNER` begun at once, and as many streams.
pub const API_CONNECTIONS_PER_USER: usize = 2 * COMMANDS_PER_OWNER;
/// The head of a request must be complete within this.
pub const API_HEADER_TIME: Duration = Duration::from_secs(5);
/// Events kept for one slow reader before it is told that it lagged.
pub const EVENT_BACKLOG: usize = 1024;

/// Bytes of one spec file.
pub const SPEC_BYTES: usize = 1 << 20;
/// YAML nodes of one spec file, aliases expanded.
pub const SPEC_NODES: usize = 100_000;
/// Depth of nesting of a spec file; the model needs eight.
pub const SPEC_DEPTH: usize = 32;
/// Aliases of one spec file.
pub const SPEC_ALIASES: usize = 1000;

/// Bytes of a world's log kept on disk (two files of half this, rotated).
pub const LOG_BYTES: u64 = 8 << 20;
/// Lines of a log that one request returns.
pub const LOG_LINES: usize = 10_000;
