//! The users and groups of a test host. Ids are fixed, so that a test may compare them.

/// Somebody with an account on the test host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// Login name.
    pub name: &'static str,
    /// User id; the primary group of a person has the same number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    pub groups: &'static [u32],
}

const NETENGINE: u32 = 804;
const NETENGINE_ADMIN: u32 = 805;
const NETENGINE_DAEMON: u32 = 806;

const fn account(name: &'static str, uid: u32, gid: u32, groups: &'static [u32]) -> Person {
    Person { name, uid, gid, groups }
}

/// The administrator of the machine.
pub const ROOT: Person = account("root", 0, 0, &[]);
/// May use NetEngine.
pub const ALICE: Person = account("alice", 2001, 2001, &[NETENGINE]);
/// May use NetEngine; a stranger to alice.
pub const BOB: Person = account("bob", 2002, 2002, &[NETENGINE]);
/// May not use NetEngine.
pub const CAROL: Person = account("carol", 2003, 2003, &[]);
/// Administrates NetEngine.
pub const DANA: Person = account("dana", 2004, 2004, &[NETENGINE_ADMIN]);
/// Runs rootd.
pub const ROOTD: Person = account("netengine-rootd", 801, 801, &[]);
/// Runs userd.
pub const USERD: Person = account("netengine", 802, NETENGINE_DAEMON, &[]);
/// Runs worldd.
pub const WORLDD: Person = account("netengine-world", 803, 803, &[NETENGINE_DAEMON]);
/// Is the firewall lab's sandboxes.
pub const LAB: Person = account("netengine-lab", 807, 807, &[]);
/// Runs uplinks.
pub const UPLINK: Person = account("netengine-uplink", 808, 808, &[]);
/// Nobody.
pub const NOBODY: Person = account("nobody", 65534, 65534, &[]);

/// Those with a home.
pub const PEOPLE: [Person; 4] = [ALICE, BOB, CAROL, DANA];
const DAEMONS: [Person; 5] = [ROOTD, USERD, WORLDD, LAB, UPLINK];
const SHARED: [(&str, u32); 3] =
    [("netengine", NETENGINE), ("netengine-admin", NETENGINE_ADMIN), ("netengine-daemon", NETENGINE_DAEMON)];

/// Where a person's home is on the test host.
pub fn home(person: &Person) -> String {
    if PEOPLE.contains(person) { format!("{}/home/{}", crate::SCRATCH, person.name) } else { "/".to_owned() }
}

/// `passwd` of the test host: that of this machine, without whoever would be in the way, and ours.
pub fn passwd(of_machine: &str) -> String {
    let ours = || DAEMONS.iter().chain(&PEOPLE);
    let mut text = without(of_machine, |name, id| ours().any(|person| person.name == name || person.uid == id));
    for person in ours() {
        text += &format!("{}:x:{}:{}::{}:/bin/sh\n", person.name, person.uid, person.gid, home(person));
    }
    text
}

/// `group` of the test host, made like [`passwd`].
pub fn group(of_machine: &str) -> String {
    let own = DAEMONS.iter().chain(&PEOPLE).filter(|person| person.uid == person.gid);
    let all: Vec<(&str, u32)> = SHARED.into_iter().chain(own.map(|person| (person.name, person.gid))).collect();
    let mut text = without(of_machine, |name, id| all.iter().any(|ours| ours.0 == name || ours.1 == id));
    for (name, gid) in all {
        let members = DAEMONS.iter().chain(&PEOPLE).filter(|person| person.groups.contains(&gid));
        text += &format!("{name}:x:{gid}:{}\n", members.map(|person| person.name).collect::<Vec<_>>().join(","));
    }
    text
}

fn without(file: &str, in_the_way: impl Fn(&str, u32) -> bool) -> String {
    let keep = |line: &&str| {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let id = fields.nth(1).and_then(|id| id.parse().ok());
        id.is_some_and(|id| !in_the_way(name, id))
    };
    file.lines().filter(keep).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_the_machine_stay_unless_they_are_in_the_way() {
        let of_machine =
            "root:x:0:0:root:/root:/bin/bash\nubuntu:x:2001:2001::/home/u:/bin/sh\nalice:x:9:9::/:/bin/sh\n";
        let text = passwd(of_machine);
        assert!(text.starts_with("root:x:0:0:root:/root:/bin/bash\n") && !text.contains("ubuntu"));
        assert_eq!(text.matches("\nalice:").count(), 1);
        assert!(text.contains("netengine:x:802:806::/:/bin/sh\n"));
        let groups = group("root:x:0:\nnetengine:x:50:eve\n");
        assert!(groups.contains("netengine:x:804:alice,bob\n") && !groups.contains("eve"));
        assert!(groups.contains("netengine-daemon:x:806:netengine-world\n"));
        assert!(groups.contains("netengine-admin:x:805:dana\n"));
    }
}
