//! The journal: what was acknowledged is there again, whatever a crash did to the end of the file.

use std::{collections::BTreeSet, path::Path};

use netengine_dns::{
    journal::{FileJournal, OpenError},
    name::Name,
    record::{Record, Rtype, Soa},
    zone::{Catalog, Change, Edited, SerialPolicy, Store, StoreError, Zone},
};
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn record(owner: &str, ttl: u32, rtype: Rtype, data: &str) -> Record {
    Record::parse(owner, ttl, rtype, data).expect("a record")
}

/// What the plan makes: `x` with two records, and `y`.
fn planned() -> Catalog {
    let mut catalog = Catalog::default();
    for apex in ["x", "y"] {
        let (primary, mailbox) = (name("ns.x"), name("admin.x"));
        let soa = Soa { primary, mailbox, serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 1 };
        let mut draft = Zone::new(name(apex), soa, 60).edit();
        for planned in [
            record(apex, 60, Rtype::NS, "ns.x"),
            record(&format!("www.{apex}"), 60, Rtype::A, "10.0.0.1"),
            record(&format!("alias.{apex}"), 60, Rtype::CNAME, "www.x"),
        ] {
            assert_eq!(draft.add(planned), Ok(Edited::Changed));
        }
        catalog.insert_zone(draft.into_zone());
    }
    catalog
}

fn open(directory: &Path) -> (Store, netengine_dns::journal::Restored) {
    let mut catalog = planned();
    let (journal, restored) =
        FileJournal::restore(directory, &mut catalog, SerialPolicy::Counted, 0).expect("the journal opens");
    (Store::new(catalog, SerialPolicy::Counted, journal), restored)
}

fn change(store: &Store, zone: &str, change: Change) {
    let made = store.change(&name(zone), 0, |draft| draft.apply(change).map(drop).map_err(StoreError::from));
    // What no zone may be is refused, which is an outcome like any other here.
    let _ = made;
}

/// All records but the SOA, with their TTL, and the serial.
fn said(store: &Store, zone: &str) -> (BTreeSet<String>, u32) {
    let catalog = store.snapshot();
    let zone = catalog.zone(&name(zone)).expect("the zone");
    let records = zone.records().filter(|record| record.rtype != Rtype::SOA);
    let all = records.map(|record| format!("{} {} {} {:?}", record.owner, record.ttl, record.rtype, record.data));
    (all.collect(), zone.soa().serial)
}

fn changes() -> impl Strategy<Value = Vec<(bool, Change)>> {
    let owner = prop::sample::select(vec!["www", "alias", "a", "b", "*"]);
    let step = (any::<bool>(), owner, 0..6_u8, 1..4_u8).prop_map(|(in_x, owner, kind, n)| {
        let zone = if in_x { "x" } else { "y" };
        let owner = format!("{owner}.{zone}");
        let address = record(&owner, 60 * u32::from(n), Rtype::A, &format!("10.0.0.{n}"));
        let step = match kind {
            0 | 1 => Change::Add(address),
            2 => Change::Add(record(&owner, 60, Rtype::CNAME, &format!("n{n}.x"))),
            3 => Change::Remove(address),
            4 => Change::RemoveSet(name(&owner), if n == 1 { Rtype::CNAME } else { Rtype::A }),
            _ => Change::RemoveName(name(&owner)),
        };
        (in_x, step)
    });
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_torn_end_costs_only_what_was_not_acknowledged(changes in changes(), cut in 0.0..1.0_f64, garbage in any::<bool>()) {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, _) = open(directory.path());
        let log = directory.path().join("changes.log");
        let length = || std::fs::metadata(&log).expect("the log").len();
        let begin = length();
        let mut moments = vec![(begin, said(&store, "x"), said(&store, "y"))];
        for (in_x, step) in changes {
            change(&store, if in_x { "x" } else { "y" }, step);
            moments.push((length(), said(&store, "x"), said(&store, "y")));
        }
        let end = length();
        let cut = begin + ((end - begin) as f64 * cut) as u64;
        let mut bytes = std::fs::read(&log).expect("the log");
        bytes.truncate(usize::try_from(cut).expect("small"));
        if garbage {
            bytes.extend_from_slice(&[0, 0, 0, 9, 1, 2, 3]);
        }
        let other = tempfile::tempdir().expect("a directory");
        std::fs::write(other.path().join("changes.log"), bytes).expect("written");
        let (again, _) = open(other.path());
        let (_, x, y) = moments.iter().rev().find(|(at, ..)| *at <= cut).expect("the beginning at least");
        prop_assert_eq!(&said(&again, "x").0, &x.0);
        prop_assert_eq!(&said(&again, "y").0, &y.0);
        prop_assert!(said(&again, "x").1 > x.1 && said(&again, "y").1 > y.1, "serials rise over a restart");
        // The file that was written anew says the same.
        drop(again);
        let (once_more, restored) = open(other.path());
        prop_assert_eq!(restored.torn, 0);
        prop_assert_eq!(&said(&once_more, "x").0, &x.0);
        prop_assert!(said(&once_more, "x").1 > x.1 + 1);
    }
}

#[test]
fn what_the_plan_changes_is_the_plans_again_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    change(&store, "x", Change::Add(record("run.x", 60, Rtype::A, "10.0.0.9")));
    change(&store, "x", Change::Remove(record("www.x", 60, Rtype::A, "10.0.0.1")));
    let plan = |change| {
        let made = store.change_planned(&name("x"), 0, |draft| draft.apply(change).map(drop).map_err(StoreError::from));
        assert!(made.expect("made").is_some());
    };
    // The plan of today adds a record, and says again what somebody had removed.
    plan(Change::Add(record("today.x", 60, Rtype::A, "10.0.0.8")));
    plan(Change::Add(record("www.x", 60, Rtype::A, "10.0.0.1")));
    let (_, serial) = said(&store, "x");
    drop(store);
    let (store, restored) = open(directory.path());
    let (records, now) = said(&store, "x");
    let has = |owner: &str| records.iter().any(|record| record.starts_with(owner));
    assert!(has("run.x.") && has("www.x."), "{records:?}");
    assert!(!has("today.x."), "the plan of now has it not");
    assert_eq!((restored.records, restored.dropped), (1, 0));
    assert!(now > serial, "{now} after {serial}");
}

#[test]
fn a_zone_that_comes_late_gets_its_changes_and_one_that_went_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let late = planned().zone(&name("x")).expect("the zone").as_ref().clone();
    change(&store, "x", Change::Add(record("run.x", 60, Rtype::A, "10.0.0.9")));
    let (_, serial) = said(&store, "x");
    drop(store);
    // At this start the zone is not there yet.
    let mut catalog = planned();
    catalog.delete_zone(&name("x"));
    let (journal, _) = FileJournal::restore(directory.path(), &mut catalog, SerialPolicy::Counted, 0).expect("opens");
    let store = Store::new(catalog, SerialPolicy::Counted, journal);
    store.arrange(|catalog| catalog.insert_zone(late.clone()));
    let (records, now) = said(&store, "x");
    assert!(records.iter().any(|record| record.starts_with("run.x.")) && now > serial, "{records:?} {now}");
    store.arrange(|catalog| catalog.delete_zone(&name("x")));
    store.arrange(|catalog| catalog.insert_zone(late.clone()));
    assert!(!said(&store, "x").0.iter().any(|record| record.starts_with("run.x.")), "another zone of that name");
    drop(store);
    let (store, _) = open(directory.path());
    assert!(!said(&store, "x").0.iter().any(|record| record.starts_with("run.x.")));
}

#[test]
fn one_process_has_it_and_what_is_no_journal_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let second = FileJournal::restore(directory.path(), &mut planned(), SerialPolicy::Counted, 0);
    assert!(matches!(second, Err(OpenError::Busy(_))), "{second:?}");
    drop(store);
    let log = directory.path().join("changes.log");
    std::fs::write(&log, b"something else").expect("written");
    let wrong = FileJournal::restore(directory.path(), &mut planned(), SerialPolicy::Counted, 0);
    assert!(matches!(wrong, Err(OpenError::Version(_))), "{wrong:?}");
    assert_eq!(std::fs::read(&log).expect("read"), b"something else");
}

#[test]
fn the_file_does_not_grow_without_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let text = "t".repeat(60_000);
    for n in 0..100 {
        let long = record(&format!("n{}.x", n % 2), 60, Rtype::TXT, &text);
        change(&store, "x", if n % 4 < 2 { Change::Add(long) } else { Change::Remove(long) });
    }
    let log = std::fs::metadata(directory.path().join("changes.log")).expect("the log");
    assert!(log.len() < 2 << 20, "{} bytes", log.len());
    let expected = said(&store, "x").0;
    drop(store);
    assert_eq!(said(&open(directory.path()).0, "x").0, expected);
}

#[test]
fn a_change_that_cannot_be_kept_is_not_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    change(&store, "x", Change::Add(record("kept.x", 60, Rtype::A, "10.0.0.9")));
    let before = said(&store, "x");
    // Longer than any entry: more records than fit.
    let refused = store.change(&name("x"), 0, |draft| {
        for n in 0..1100_u32 {
            let long = record(&format!("n{n}.x"), 60, Rtype::TXT, &"t".repeat(65_000));
            let _ = draft.add(long).map_err(StoreError::from)?;
        }
        Ok::<_, StoreError>(())
    });
    assert!(matches!(refused, Err(StoreError::Journal(_))), "{refused:?}");
    assert_eq!(said(&store, "x"), before);
    change(&store, "x", Change::Add(record("after.x", 60, Rtype::A, "10.0.0.9")));
    let after = said(&store, "x").0;
    drop(store);
    assert_eq!(said(&open(directory.path()).0, "x").0, after);
}
