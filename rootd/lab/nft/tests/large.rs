//! Rulesets larger than a send buffer, in a user namespace: loaded in pieces, they are what nft(8) makes of them at once. Runs as root, for nft
//! itself could not load them otherwise.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{IoSlice, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// The program in user and network namespaces of its own.
struct Reader {
    socket: UnixStream,
    namespace: File,
    child: Child,
}

impl Reader {
    fn start() -> Self {
        let (mut socket, theirs) = UnixStream::pair().expect("a pair");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", env!("CARGO_BIN_EXE_netengine-nft")]);
        let child = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).spawn().expect("unshare runs");
        let mut word = [0];
        socket.read_exact(&mut word).expect("says that it runs");
        let namespace = File::open(format!("/proc/{}/ns/net", child.id())).expect("its namespace");
        socket.write_all(b"g").expect("go");
        socket.read_exact(&mut word).expect("limited");
        Self { socket, namespace, child }
    }

    /// Status and text of the answer.
    fn ask(&mut self, mode: u8, text: &str) -> (u8, String) {
        let mut head = vec![mode];
        head.extend((text.len() as u32).to_le_bytes());
        let descriptors = [self.namespace.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let parts = [IoSlice::new(&head)];
        sendmsg::<()>(self.socket.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).expect("sent");
        self.socket.write_all(text.as_bytes()).expect("sent");
        let mut answer = [0; 5];
        self.socket.read_exact(&mut answer).expect("an answer");
        let mut text = vec![0; u32::from_le_bytes([answer[1], answer[2], answer[3], answer[4]]) as usize];
        self.socket.read_exact(&mut text).expect("an answer");
        (answer[0], String::from_utf8(text).expect("text"))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// What nft(8) lists after it loaded the text, with the buffers that root may force.
fn nft(text: &str) -> String {
    let file = std::env::temp_dir().join(format!("netengine-nft-large-{}", std::process::id()));
    fs::write(&file, text).expect("written");
    let script = format!("nft -f {} && nft -s list ruleset", file.display());
    let output = Command::new("unshare").args(["--net", "sh", "-c", &script]).output().expect("unshare and nft run");
    fs::remove_file(&file).expect("there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Handles are counted as messages arrive, and sets without names arrive with their rules.
fn without_handles(listing: &str) -> String {
    let line = |line: &str| format!("{}\n", line.rsplit_once(" # handle ").map_or(line, |(before, _)| before));
    listing.lines().map(line).collect()
}

/// Everything that a transaction can call by number, `rules` times.
fn ruleset(rules: u32) -> String {
    let mut text = String::from(
        "flush ruleset\ntable inet t {\n counter hits { }\n set many {\n  type ipv4_addr; flags interval\n  elements = { ",
    );
    for number in 0..rules {
        let [_, b, c, d] = number.to_be_bytes();
        let _ = write!(text, "10.{b}.{c}.{d}-10.{b}.{c}.{d}, 11.{b}.{}.{d}/32, ", 2 * (c % 120));
    }
    text += "192.0.2.0/24 }\n }\n set seen { type ipv4_addr; size 1000; flags dynamic; }\n\
             chain later { counter; }\n chain i {\n  type filter hook input priority 0; policy drop;\n  ip saddr @many drop\n";
    for number in 0..rules {
        let port = 1 + number % 60_000;
        let _ = match number % 8 {
            0 => writeln!(text, "  tcp dport {{ {port}, 65000 }} accept"),
            1 => writeln!(text, "  tcp dport {port} jump {{ udp sport {{ 1, {port} }} drop; ip id {port} counter; }}"),
            2 => writeln!(
                text,
                "  ip saddr . tcp dport vmap {{ 192.0.2.1 . {port} : accept, 192.0.2.2 . 9 : goto later }}"
            ),
            3 => writeln!(text, "  tcp dport {port} add @seen {{ ip saddr }} accept"),
            4 => writeln!(text, "  udp dport {port} counter name hits jump later"),
            5 => writeln!(text, "  meta mark set tcp dport map {{ {port} : 1, 65001 : 2 }}"),
            6 => writeln!(text, "  udp dport {port} counter name ip saddr map {{ 192.0.2.{} : \"hits\" }}", port % 256),
            _ => writeln!(
                text,
                "  tcp dport {port} limit rate 1/second log prefix \"p\" drop comment \"number {number}\""
            ),
        };
    }
    text + " }\n}\ntable ip after { chain c { type filter hook output priority 0; }; }\nadd rule ip after c accept\n"
}

#[test]
fn pieces_make_the_ruleset_that_one_transaction_makes() {
    let text = ruleset(6_000);
    let (status, listing) = Reader::start().ask(3, &text);
    assert_eq!(status, 0, "{listing}");
    let (ours, theirs) = (without_handles(&listing), nft(&text));
    let differ = ours.lines().zip(theirs.lines()).position(|(ours, theirs)| ours != theirs);
    assert!(ours == theirs, "line {differ:?}");
}

#[test]
fn rules_with_numbers_are_what_they_are_without_and_some_of_them_are_listed_alone() {
    let text = ruleset(2_000) + "insert rule inet t i tcp dport 9 accept comment \"first\"\n";
    let mut reader = Reader::start();
    let (status, chains) = reader.ask(5, &text);
    assert!(status == 0 && chains.contains("hook input") && !chains.contains("dport"), "{status}: {chains}");
    let (_, numbered) = reader.ask(2, "");
    let (_, plain) = Reader::start().ask(3, &text);
    let without_counts = |listing: &str| without_handles(listing).replace(" packets 0 bytes 0", "");
    let unnamed = |listing: String| {
        listing
            .lines()
            .filter(|line| !line.trim().starts_with("packets 0"))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    let (numbered_rules, plain) = (unnamed(without_counts(&numbered)), unnamed(without_counts(&plain)));
    let differ = numbered_rules.lines().zip(plain.lines()).position(|(numbered, plain)| numbered != plain);
    assert!(numbered_rules == plain, "line {differ:?}");
    // Two rules by their handles, one of another table, and one that is not there.
    let handle = |part: &str| {
        let line = numbered.lines().find(|line| line.contains(part)).expect("a rule");
        line.rsplit_once("# handle ").expect("a handle").1.to_owned()
    };
    let some = [("\"first\"", "1 t i"), ("tcp dport { 1001", "1 t i"), ("\t\taccept #", "2 after c")];
    let asked: String = some.iter().map(|(part, chain)| format!("{chain} {}\n", handle(part))).collect();
    let (status, listed) = reader.ask(8, &asked);
    assert_eq!(status, 0, "{listed}");
    let rules: Vec<&str> =
        listed.lines().filter(|line| line.contains("accept #") || line.contains("accept comment")).collect();
    assert_eq!(rules.len(), 3, "{rules:#?}");
    assert!(some.iter().all(|(part, _)| listed.contains(part.trim())), "{listed}");
    let (status, none) = reader.ask(8, "1 t i 999999\n");
    assert!(status == 0 && none.contains("chain i {") && !none.contains("accept #"), "{status}: {none}");
    assert_eq!(reader.ask(2, ""), (0, numbered), "a listing has all again");
}

#[test]
fn of_a_text_that_is_refused_in_a_later_piece_nothing_is_left_and_its_place_is_told() {
    let mut reader = Reader::start();
    assert_eq!(reader.ask(1, "table ip before { }").0, 0);
    let lines = 6_000;
    // The name of a chain is looked up by the kernel alone.
    let text = ruleset(lines).replacen("vmap { 192.0.2.1 . 5003 : accept", "vmap { 192.0.2.1 . 5003 : jump nowhere", 1);
    let line = text.lines().position(|line| line.contains("nowhere")).expect("put in") + 1;
    let (status, messages) = reader.ask(3, &text);
    assert_eq!(status, 4, "{messages}");
    assert!(messages.contains(&format!("/dev/stdin:{line}:")) && messages.contains("No such file"), "{messages}");
    assert_eq!(reader.ask(2, ""), (0, String::new()));
    assert_eq!(reader.ask(1, &ruleset(10)).0, 0, "the next one loads");
}

#[test]
fn what_cannot_be_in_pieces_loads_whole_or_says_that_it_is_too_long_and_the_next_text_loads() {
    let mut reader = Reader::start();
    let mut text = String::from("table ip t {\n chain c {\n");
    for _ in 0..6_000 {
        text += "  tcp dport { 1, 2 } accept\n";
    }
    text += " }\n}\ninsert rule ip t c index 3 drop\n";
    let (status, messages) = reader.ask(1, &text);
    // Between two and four million bytes; a socket gets twice this setting.
    let most: usize =
        fs::read_to_string("/proc/sys/net/core/wmem_max").expect("readable").trim().parse().expect("a number");
    let told = status == 1 && messages.contains("Message too long");
    assert!(if most < 1_000_000 { told } else { told || status == 0 }, "{status}: {messages}");
    assert!(most < 2_500_000 || status == 0, "{status}: {messages}");
    assert_eq!(reader.ask(2, "").1.lines().count() > 6_000, status == 0, "all of it or nothing");
    assert_eq!(reader.ask(1, &ruleset(10)).0, 0);
}
