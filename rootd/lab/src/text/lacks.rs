//! What this kernel lacks of what a ruleset asks for.
//!
//! Of a statement whose module is not there nft tells the kernel's error number in words, "No such file or directory", and the same of other
//! mistakes. So the kernel is asked: a ruleset that holds nothing but the statement, in the same family, loads or it does not.

use netengine_lab_proto::Family;

use crate::text::scan::family_of;

/// What a kernel is asked, when a rule with certain words was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// A ruleset; the kernel lacks the statement when it is refused with [`is_lack`] as well.
    pub text: String,
    /// What is then added to nft's message.
    pub answer: String,
}

/// Whether a message of nft may mean that the kernel lacks something: ENOENT, EOPNOTSUPP, EPROTO, EPROTONOSUPPORT, EAFNOSUPPORT, ENOSYS of a
/// transaction. Names that do not exist are told in other words.
pub fn is_lack(message: &str) -> bool {
    const WORDS: [&str; 6] = [
        "No such file or directory",
        "Operation not supported",
        "Protocol error",
        "Protocol not supported",
        "Address family not supported by protocol",
        "Function not implemented",
    ];
    message.strip_prefix("Could not process rule: ").is_some_and(|rest| WORDS.contains(&rest.trim()))
}

use Family::{Arp, Bridge, Inet, Ip, Ip6, Netdev};

const ALL: &[Family] = &[Inet, Ip, Arp, Netdev, Bridge, Ip6];
const IP: &[Family] = &[Inet, Ip, Ip6];

/// Words that a line has, the families that the row is about, where the statement stands, the statement, and what brings it: module and
/// setting of the kernel (net/netfilter/Kconfig and those of ipv4, ipv6 and bridge). The first row that fits is asked first.
struct Row(&'static [&'static str], &'static [Family], Stands, &'static str, &'static str);

/// Where a statement stands.
#[derive(Clone, Copy)]
enum Stands {
    /// In a chain of this hook; of family netdev, ingress.
    Hook(&'static str),
    /// In a table.
    Table,
}

use Stands::{Hook, Table};

const ROWS: &[Row] = &[
    Row(&["queue"], ALL, Hook("input"), "queue", "nft_queue, CONFIG_NFT_QUEUE"),
    Row(&["reject"], &[Bridge], Hook("input"), "reject", "nft_reject_bridge, CONFIG_NFT_BRIDGE_REJECT"),
    Row(&["reject"], &[Netdev], Hook("input"), "reject", "nft_reject_netdev, CONFIG_NFT_REJECT_NETDEV"),
    Row(&["reject"], IP, Hook("input"), "reject", "nft_reject, CONFIG_NFT_REJECT"),
    Row(
        &["flowtable"],
        &[Inet, Ip, Ip6],
        Table,
        "flowtable f { hook ingress priority 0; devices = { lo }; }",
        "nf_flow_table, CONFIG_NF_FLOW_TABLE",
    ),
    Row(&["ct", "count"], ALL, Hook("input"), "ct count over 1", "nft_connlimit, CONFIG_NFT_CONNLIMIT"),
    Row(&["ct"], &[Bridge], Hook("input"), "ct state new", "nf_conntrack_bridge, CONFIG_NF_CONNTRACK_BRIDGE"),
    Row(&["ct"], ALL, Hook("input"), "ct state new", "nft_ct, CONFIG_NFT_CT; none has it for netdev and arp"),
    Row(&["secmark"], ALL, Table, "secmark s { \"s\"; }", "CONFIG_NETWORK_SECMARK"),
    Row(&["ibrname"], &[Bridge], Hook("input"), "meta ibrname \"x\"", "nft_meta_bridge, CONFIG_NFT_BRIDGE_META"),
    Row(&["obrname"], &[Bridge], Hook("output"), "meta obrname \"x\"", "nft_meta_bridge, CONFIG_NFT_BRIDGE_META"),
    Row(
        &["fib"],
        ALL,
        Hook("prerouting"),
        "fib saddr oif missing drop",
        "nft_fib, CONFIG_NFT_FIB; none has it for bridge",
    ),
    Row(&["socket"], ALL, Hook("prerouting"), "socket transparent 1", "nft_socket, CONFIG_NFT_SOCKET"),
    Row(&["tproxy"], IP, Hook("prerouting"), "meta l4proto tcp tproxy to :1", "nft_tproxy, CONFIG_NFT_TPROXY"),
    Row(
        &["synproxy"],
        IP,
        Hook("input"),
        "meta l4proto tcp synproxy mss 1460 wscale 7",
        "nft_synproxy, CONFIG_NFT_SYNPROXY",
    ),
    Row(&["osf"], IP, Hook("input"), "osf name \"Linux\"", "nft_osf, CONFIG_NFT_OSF"),
    Row(&["fwd"], &[Netdev], Hook("ingress"), "fwd to lo", "nft_fwd_netdev, CONFIG_NFT_FWD_NETDEV"),
    Row(&["dup"], &[Netdev], Hook("ingress"), "dup to lo", "nft_dup_netdev, CONFIG_NFT_DUP_NETDEV"),
    Row(&["dup"], &[Ip], Hook("input"), "dup to 127.0.0.1", "nft_dup_ipv4, CONFIG_NFT_DUP_IPV4"),
    Row(&["dup"], &[Ip6], Hook("input"), "dup to ::1", "nft_dup_ipv6, CONFIG_NFT_DUP_IPV6"),
    Row(&["log"], ALL, Hook("input"), "log", "nft_log, CONFIG_NFT_LOG"),
    Row(&["limit"], ALL, Hook("input"), "limit rate 1/second", "nft_limit, CONFIG_NFT_LIMIT"),
    Row(&["quota"], ALL, Hook("input"), "quota 1 bytes", "nft_quota, CONFIG_NFT_QUOTA"),
    Row(&["numgen"], ALL, Hook("input"), "numgen inc mod 2 0", "nft_numgen, CONFIG_NFT_NUMGEN"),
    Row(&["jhash"], ALL, Hook("input"), "jhash ip saddr mod 2 0", "nft_hash, CONFIG_NFT_HASH"),
    Row(&["ipsec"], IP, Hook("input"), "ipsec in reqid 1", "nft_xfrm, CONFIG_NFT_XFRM"),
    Row(&["table", "bridge"], ALL, Table, "", "nf_tables_bridge, CONFIG_NF_TABLES_BRIDGE"),
    Row(&["table", "arp"], ALL, Table, "", "CONFIG_NF_TABLES_ARP"),
    Row(&["table", "netdev"], ALL, Table, "", "CONFIG_NF_TABLES_NETDEV"),
    Row(&["egress"], &[Netdev], Hook("egress"), "", "CONFIG_NETFILTER_EGRESS"),
];

/// What to ask the kernel about a line of a text, counted from 1, that was refused with [`is_lack`].
pub fn questions(text: &str, line: u32) -> Vec<Question> {
    let mut family = Family::Ip;
    let mut words = Vec::new();
    for each in text.lines().take(line as usize) {
        words = self::words(each);
        let named = |pair: &[&str]| (matches!(pair[0], "table" | "rule")).then(|| family_of(pair[1]).unwrap_or(Ip));
        family = words.windows(2).filter_map(named).next_back().unwrap_or(family);
    }
    let fits = |row: &&Row| row.0.iter().all(|word| words.contains(word)) && row.1.contains(&family);
    let question = |row: &Row| {
        let name = match row.0 {
            ["table", _] => "tables".to_owned(),
            ["egress"] => "hook `egress`".to_owned(),
            words => format!("`{}`", words.join(" ")),
        };
        let (family_name, statement) = (family.as_str(), row.3);
        let inside = match row.2 {
            Table => statement.to_owned(),
            Hook(hook) => {
                let at = match family {
                    Netdev if hook != "egress" => "ingress device lo",
                    Netdev => "egress device lo",
                    _ => hook,
                };
                format!("chain c {{ type filter hook {at} priority 0;\n{statement}\n}}")
            }
        };
        Question {
            text: format!("table {family_name} netengine_question {{\n{inside}\n}}\n"),
            answer: format!(
                "this kernel has no {name} in family {family_name}: load its module, or test where it is ({})",
                row.4
            ),
        }
    };
    ROWS.iter().filter(fits).map(question).collect()
}

/// The words of a line that are no comment and stand in no quotes.
fn words(line: &str) -> Vec<&str> {
    let outside = line.split('"').step_by(2);
    let mut found = Vec::new();
    for part in outside {
        let (before, is_cut) = part.split_once('#').map_or((part, false), |(before, _)| (before, true));
        found.extend(before.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty()));
        if is_cut {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_of_a_refused_line_is_asked_about_in_its_family() {
        let text = "table inet a { }\ntable bridge t {\n chain c {\n  tcp dport 22 reject with tcp reset # queue\n";
        let asked = questions(text, 4);
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].text.starts_with("table bridge ") && asked[0].text.contains("\nreject\n"), "{asked:?}");
        assert!(asked[0].answer.starts_with("this kernel has no `reject` in family bridge: "), "{asked:?}");
        let quoted = questions("add rule ip6 t c log prefix \"queue\" accept", 1);
        assert!(
            quoted.iter().all(|one| one.answer.starts_with("this kernel has no `log` in family ip6")),
            "{quoted:?}"
        );
        assert_eq!(questions("table ip t { chain c { ip saddr 10.0.0.1 accept", 1), []);
        let ingress = questions("table netdev t {\nchain c {\nqueue", 3);
        assert!(ingress[0].text.contains("hook ingress device lo priority 0;\nqueue"), "{ingress:?}");
    }

    #[test]
    fn only_words_of_error_numbers_that_a_lacking_module_gives_are_asked_about() {
        assert!(is_lack("Could not process rule: No such file or directory"));
        for other in [
            "No such file or directory; did you mean table `x` in family inet?",
            "Could not process rule: Too many links",
            "syntax error, unexpected newline",
        ] {
            assert!(!is_lack(other), "{other}");
        }
    }
}
