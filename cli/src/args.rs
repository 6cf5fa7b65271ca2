//! The command line: what clap parses, and what help, man pages and completions show.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Exit codes, shown below the help of the whole program.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 bad usage or spec; 3 refused (permission, quota, \
confirmation); 4 daemon unreachable or engine fault; `plan`: 5 there are changes; `exec`: the command's own status, \
126 cannot be executed, 127 not found, 128+N ended by signal N.";

/// Worlds: self-contained internets on one host, declared in one YAML file.
#[derive(Debug, Parser)]
#[command(name = "netengine", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Print one JSON document on standard output (JSON lines with --follow); errors as JSON on standard error.
    #[arg(long, global = true)]
    pub json: bool,
    /// The daemon's socket [default: $NETENGINE_SOCKET or /run/netengine/user.sock].
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Act as an administrator: use $NETENGINE_ADMIN_SOCKET or /run/netengine/admin.sock.
    #[arg(long, global = true)]
    pub admin: bool,
    /// Act on the worlds of this user (needs --admin).
    #[arg(long, global = true, value_name = "USER|UID")]
    pub owner: Option<String>,
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// No progress and no remarks, only results and errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A spec and what lies over it.
#[derive(Debug, Clone, Args)]
pub struct SpecArgs {
    /// The spec file, netengine.spec.v1.
    pub spec: PathBuf,
    /// Lay the file SPEC.NAME.yaml beside it over the spec.
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Set one value, for example `dns.tlds.0.name=x`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring a world up, or make a running one equal to its spec.
    Up {
        /// The spec.
        #[command(flatten)]
        spec: SpecArgs,
        /// Stop after this phase, 0 to 9.
        #[arg(long, value_name = "PHASE", value_parser = clap::value_parser!(u8).range(0..=9))]
        up_to: Option<u8>,
        /// Only show what would change (like plan, but exits 0).
        #[arg(long)]
        dry_run: bool,
        /// Give up and undo after this many seconds.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
        timeout: Option<u32>,
        /// Only tell when something else changes the world, do not put it right; until the next up (see drift).
        #[arg(long)]
        no_heal: bool,
        /// Prove who reaches whom before saying that it is ready; fails when a flow goes otherwise than the spec says (see prove).
        #[arg(long, conflicts_with = "dry_run")]
        prove: bool,
    },
    /// Show what up would change: exits 0 for nothing, 5 for changes.
    Plan {
        /// The spec.
        #[command(flatten)]
        spec: SpecArgs,
    },
    /// Remove a world and all that belongs to it.
    Down {
        /// The world; may be omitted when you have exactly one.
        world: Option<String>,
        /// Only list exactly what would be removed.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        /// The world's name once more; a persistent world needs it.
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
    /// Show the state of a world: phases, services, networks.
    Status {
        /// The world; may be omitted when you have exactly one.
        world: Option<String>,
    },
    /// List your worlds.
    List,
    /// Check a spec without the daemon, or a ruleset (FILE.nft) in a sandbox.
    ///
    /// A file that is called *.nft is loaded as nft would load it, and nft's messages are told with line and column; no packet is sent.
    Validate {
        /// The spec.
        #[command(flatten)]
        spec: SpecArgs,
        /// List the active fields that are not stable, with state, reason, current and default value.
        #[arg(long)]
        explain: bool,
        /// How to print; json is the same as --json.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Check this host: daemons, kernel, permissions.
    Doctor,
    /// Show the certificates of a world's authority, or what its clients trust.
    Pki {
        /// What of it.
        #[command(subcommand)]
        command: Pki,
    },
    /// Show the passwords, client secrets and keys of your world.
    ///
    /// They go to standard output, in clear. Other users are not shown them; of an administrator who looks, the owner is
    /// told by an event, `credentials.shown`.
    Credentials {
        /// The world; may be omitted when you have exactly one.
        world: Option<String>,
        /// Only secrets of this kind.
        #[arg(long, value_enum, value_name = "KIND")]
        kind: Option<SecretKind>,
        /// Only secrets of this account, client or key.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Check every service of a world as its clients see it: exits 1 when a check failed.
    Diagnose {
        /// The world; may be omitted when you have exactly one.
        world: Option<String>,
    },
    /// Show what others changed in a world, and what differs now: exits 1 when something does.
    Drift {
        /// The world; may be omitted when you have exactly one.
        world: Option<String>,
        /// Then go on showing what is noticed, and when it is put right.
        #[arg(long, short)]
        follow: bool,
    },
    /// Prove who reaches whom: a packet of every kind from every network, as the spec says and as the kernel does.
    ///
    /// From a vantage host in every network to every other network, to each address of the services, to the router and to
    /// an address outside, and from the services to every network: TCP, UDP and ICMP, IPv4 and IPv6. Each vantage host also
    /// says on its own link what no host may say: with another's address or MAC address, as a router, as a DHCP server.
    ///
    /// A flow passes when the router's trace of this very packet and its arrival are what the spec says. Exits 1 when a flow
    /// went otherwise, could not be observed, or the network differs from its plan.
    Prove {
        /// The world; may be omitted when you have exactly one.
        world: Option<String>,
        /// Print JUnit's XML.
        #[arg(long, conflicts_with = "json")]
        junit: bool,
        /// Write the packets to this directory, as FROM-to-TO.pcapng; each has its expectation, verdict and rule as comment.
        #[arg(long, value_name = "DIR")]
        pcap: Option<PathBuf>,
    },
    /// Run firewall suites: nftables rulesets judged by the kernel, packet by packet.
    ///
    /// Exits 0 when all expectations were met, 1 when a verdict differed, 2 for bad usage or a bad suite, 3 when some could not
    /// be observed, 4 when the engine cannot be used. Needs no daemon where the host lets users make user namespaces.
    Test(TestArgs),
    /// Run a command in a vantage host of a world, as yourself.
    ///
    /// The command sees your files, but the world's network, its name servers in /etc/resolv.conf, and its certificate
    /// authorities, and no other, in /etc/ssl/certs (ca-certificates.crt, and one file for each name as OpenSSL looks
    /// it up). Programs with authorities of their own are told of that file by NODE_EXTRA_CA_CERTS (Node.js) and
    /// REQUESTS_CA_BUNDLE (Python's requests), each only where you have not set it. A browser has a store of its own:
    /// give it what `netengine pki root WORLD` prints.
    Exec {
        /// The world, or WORLD/HOST [default host: core]; may be omitted when you have exactly one world.
        #[arg(value_name = "WORLD[/HOST]")]
        target: Option<String>,
        /// Give the command a terminal even when this one's input or output is not one.
        #[arg(long, overrides_with = "no_tty")]
        tty: bool,
        /// Give the command pipes even on a terminal.
        #[arg(long)]
        no_tty: bool,
        /// The exec socket [default: $NETENGINE_EXEC_SOCKET or /run/netengine/exec.sock].
        #[arg(long, value_name = "PATH")]
        exec_socket: Option<PathBuf>,
        /// The command and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Show what happened to a world.
    Events {
        /// The world; may be omitted when you have exactly one.
        world: Option<String>,
        /// Go on showing events as they come.
        #[arg(long, short)]
        follow: bool,
        /// Only events after this place in the stream.
        #[arg(long, value_name = "SEQ", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
        after: i64,
    },
    /// Show the end of the log of a world's services.
    Logs {
        /// The world; may be omitted when you have exactly one.
        world: Option<String>,
        /// The service; all of them (worldd) when omitted.
        service: Option<String>,
        /// How many lines.
        #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        lines: u32,
        /// Go on showing lines as they come.
        #[arg(long, short)]
        follow: bool,
    },
    /// Write a commented spec to start from; never overwrites.
    Init {
        /// The file.
        #[arg(default_value = "world.yaml")]
        file: PathBuf,
    },
    /// Print the JSON Schema of the spec, for editors.
    Schema,
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the man page, or write one page per command into a directory.
    Man {
        /// The directory; must exist.
        dir: Option<PathBuf>,
    },
}

/// What of a world's certificates.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Pki {
    /// List the certificates that were issued, newest first.
    List {
        /// The world; may be omitted when you have exactly one.
        world: Option<String>,
        /// How many at most [default: all].
        #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Show one certificate with its chain, PEM, leaf first, without the root.
    Show {
        /// The world.
        world: String,
        /// Its serial number, hexadecimal, as `pki list` or openssl(1) print it.
        serial: String,
    },
    /// Print the certificate authorities that clients of a world trust, PEM.
    Root {
        /// The world; may be omitted when you have exactly one.
        world: Option<String>,
        /// Print the keys of the world's DNS root instead, one DS record a line.
        #[arg(long)]
        dns: bool,
    },
}

/// Kinds of secrets of a world, by the words of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SecretKind {
    /// An account's password.
    Password,
    /// A client's secret.
    ClientSecret,
    /// A token to register a client with.
    RegistrationToken,
    /// A key for updates and transfers of zones.
    Tsig,
    /// A key identifier and key to bind ACME accounts with.
    AcmeEab,
    /// The key of the live checks' ACME account.
    AcmeAccount,
}

/// What `test` is asked.
#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// The suites, YAML or JSON.
    #[arg(required_unless_present = "derive", value_name = "SUITE")]
    pub suites: Vec<PathBuf>,
    /// Print a suite of boundary packets for this ruleset, with the verdicts that the kernel gives, for you to read.
    #[arg(long, value_name = "RULESET", conflicts_with_all = ["suites", "coverage", "mutate", "diff", "watch", "filter", "trace"])]
    pub derive: Option<PathBuf>,
    /// Run in sandboxes of your own, without the daemons, where the host lets you make user namespaces.
    #[arg(long)]
    pub rootless: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Report::Pretty)]
    pub format: Report,
    /// Cases at once [default: one for each processor].
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Only these cases: `name:TEXT`, `tag:WORD` or a part of the name, joined by `and`, `or`, `not`, with parentheses.
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,
    /// Begin no further case after one that did not pass.
    #[arg(long)]
    pub fail_fast: bool,
    /// Show the whole path of every packet, not only of those that did not pass.
    #[arg(long)]
    pub trace: bool,
    /// Also tell which rules no packet reached.
    #[arg(long, conflicts_with_all = ["mutate", "diff"])]
    pub coverage: bool,
    /// Fail (exit 1) when less than this share of the rules was reached, percent.
    #[arg(long, value_name = "PERCENT", requires = "coverage", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub coverage_min: Option<u8>,
    /// Would any case notice? Remove each rule and element, and turn each verdict and policy, one at a time; prints what goes unnoticed, exits 1 then.
    #[arg(long, conflicts_with = "diff")]
    pub mutate: bool,
    /// Run every case, and boundary packets of both, with this ruleset too and print the packets that fare otherwise; exits 1 when some do.
    #[arg(long, value_name = "RULESET")]
    pub diff: Option<PathBuf>,
    /// Load these tables beside the ruleset under test, after it: as recorded from docker, firewalld, ufw or wireguard, or a ruleset of yours.
    #[arg(long, value_name = "docker|firewalld|ufw|wireguard|FILE", conflicts_with = "derive")]
    pub beside: Vec<String>,
    /// Write what was sent and seen to this directory, a pcapng file for each case; each packet has its verdict as comment.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["mutate", "diff", "derive"])]
    pub pcap: Option<PathBuf>,
    /// Begin the cases in an order that this number makes, the same each time; results are told in the order of the suites.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Run again whenever a suite or a ruleset file changes.
    #[arg(long)]
    pub watch: bool,
}

/// How `test` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Report {
    /// For people, case by case as they end.
    Pretty,
    /// One JSON document.
    Json,
    /// JUnit's XML.
    Junit,
    /// The Test Anything Protocol.
    Tap,
}

/// How `validate` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exec_keeps_the_command_verbatim() {
        let cli = Cli::try_parse_from(["netengine", "exec", "blue/core", "--", "sh", "-c", "--json"]).expect("parses");
        let Command::Exec { target, command, .. } = cli.command else { panic!("not exec") };
        assert_eq!((target.as_deref(), command.len()), (Some("blue/core"), 3));
        assert!(!cli.global.json, "an option after -- belongs to the command");
        let cli = Cli::try_parse_from(["netengine", "exec", "--", "true"]).expect("parses");
        assert!(matches!(cli.command, Command::Exec { target: None, .. }));
    }

    #[test]
    fn bad_bounds_are_usage_errors() {
        for bad in
            [&["up", "x", "--up-to", "10"][..], &["up", "x", "--timeout", "0"], &["logs", "-n", "0"], &["nonsense"]]
        {
            assert!(Cli::try_parse_from(std::iter::once(&"netengine").chain(bad)).is_err(), "{bad:?}");
        }
    }
}
