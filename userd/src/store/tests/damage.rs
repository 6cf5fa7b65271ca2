//! A database that is newer, damaged, locked or full: refused or told, never made worse.

use netengine_proto::api::ProblemKind;
use sqlx::Connection;

use super::*;

async fn refused(url: &str) -> StoreError {
    Store::open(url, Arc::default()).await.err().expect("refused")
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    for database in databases() {
        let store = open(&database).await;
        sqlx::query("UPDATE schema_version SET version = 99")
            .execute(&mut *store.connection().await.expect("open"))
            .await
            .expect("written");
        store.close().await;
        let error = refused(&database.url).await;
        assert!(matches!(error, StoreError::Newer { found: 99, known: 7 }), "{error:?}");
        assert!(matches!(refused(&database.url).await, StoreError::Newer { found: 99, .. }));
    }
}

#[tokio::test]
async fn a_schema_of_the_release_before_keeps_what_it_holds() {
    for database in databases() {
        sqlx::any::install_default_drivers();
        let url = database.url.replace("state.db", "state.db?mode=rwc");
        let mut older = sqlx::AnyConnection::connect(&url).await.expect("open");
        let (up, broken_off) = (operation(ALICE, "w"), operation(ALICE, "v"));
        let spec = serde_json::to_string(&up.spec).expect("JSON");
        let rows = [
            "CREATE TABLE schema_version (version BIGINT NOT NULL)".to_owned(),
            "INSERT INTO schema_version (version) VALUES (6)".to_owned(),
            format!(
                "INSERT INTO worlds (id, owner, name, state, detail, spec, up_to, nodes, links, trust, zones) \
                 VALUES ('{}', 1000, 'w', 'ready', '', '{spec}', 7, 4, 10, '{{\"certificates\":[],\"dns_root\":[]}}', '[]')",
                up.world.id
            ),
            format!(
                "INSERT INTO services (world, name, address, port, state, detail) VALUES \
                 ('{0}', 'ntp', '10.0.0.1', 123, 'ready', 'it \"is\" \\'), ('{0}', 'dns', '10.0.0.1', 53, 'failed', '')",
                up.world.id
            ),
            format!("INSERT INTO phases (world, phase, state, detail) VALUES ('{}', 0, 'done', 'so')", up.world.id),
            format!(
                "INSERT INTO operations (id, world, owner, name, kind, state, spec, up_to, changes, begun_at) \
                 VALUES ('{}', '{}', 1000, 'v', 'up', 'running', '{spec}', 7, 0, 1)",
                broken_off.id, broken_off.world.id
            ),
        ];
        for text in super::super::schema::MIGRATIONS[..6].iter().map(|text| (*text).to_owned()).chain(rows) {
            sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut older).await.expect("written");
        }
        older.close().await.expect("closed");
        let store = open(&database).await;
        let world = store.load(&up.world).await.expect("read").expect("there");
        assert_eq!((world.spec, world.phases.len(), world.peers), (up.spec, 1, Vec::new()));
        assert_eq!(store.trust(up.world.id).await.expect("read"), netengine_proto::trust::Trust::default());
        let verdict = decide(Principal::user(ALICE), act::ViewWorld, up.world.clone()).expect("her own");
        let services = store.services(&verdict).await.expect("read");
        let told: Vec<_> = services.iter().map(|one| (one.name.as_str(), one.port, one.detail.as_str())).collect();
        assert_eq!(told, [("dns", 53, ""), ("ntp", 123, "it \"is\" \\")]);
        let interrupted = store.interrupted().await.expect("read");
        assert_eq!(interrupted.len(), 1);
        assert_eq!((interrupted[0].id, &interrupted[0].spec), (broken_off.id, &broken_off.spec));
    }
}

#[tokio::test]
async fn a_second_start_changes_nothing() {
    for database in databases() {
        let store = open(&database).await;
        store.begin_up(&operation(ALICE, "w"), false, SIZE, SIZE, None).await.expect("begun");
        store.close().await;
        assert_eq!(open(&database).await.held(ALICE).await.expect("counted"), SIZE);
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_the_cause() {
    let database = sqlite();
    let path = sqlite_path(&database.url).expect("a file");
    std::fs::write(&path, vec![0x5a; 8192]).expect("written");
    let problem = refused(&database.url).await.problem("cannot start");
    assert_eq!((problem.kind, problem.cause.as_str()), (ProblemKind::Failed, "the database is damaged"));
    assert_eq!(std::fs::read(&path).expect("read"), vec![0x5a; 8192], "it was written to");
}

#[tokio::test]
async fn a_page_that_was_overwritten_is_found_at_start() {
    let database = sqlite();
    let store = open(&database).await;
    for n in 0..20 {
        store.begin_up(&operation(ALICE, &format!("w{n}")), false, SIZE, SIZE, None).await.expect("begun");
    }
    store.close().await;
    let path = sqlite_path(&database.url).expect("a file");
    let mut bytes = std::fs::read(&path).expect("read");
    let (from, to) = (8192, bytes.len() - 4096);
    bytes[from..to].fill(0xa5);
    std::fs::write(&path, bytes).expect("written");
    let problem = refused(&database.url).await.problem("cannot start");
    assert_eq!(problem.kind, ProblemKind::Failed);
    assert!(problem.cause.contains("damaged"), "{}", problem.cause);
}

#[tokio::test]
async fn a_locked_database_is_told_and_serves_again() {
    let database = sqlite();
    let store = open(&database).await;
    sqlx::raw_sql("PRAGMA busy_timeout = 50")
        .execute(&mut *store.connection().await.expect("open"))
        .await
        .expect("set");
    let mut other = sqlx::AnyConnection::connect(&database.url).await.expect("connected");
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut other).await.expect("locked");
    let error = store.begin_up(&operation(ALICE, "w"), false, SIZE, SIZE, None).await.expect_err("locked");
    let problem = error.problem("cannot start world \"w\"");
    assert_eq!(
        (problem.kind, problem.cause.as_str()),
        (ProblemKind::Failed, "the database is locked by another process")
    );
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("released");
    store.begin_up(&operation(ALICE, "w"), false, SIZE, SIZE, None).await.expect("begun");
}

/// SQLite has one connection: who waits behind a writer that waits for a foreign lock is told of the lock as well.
#[tokio::test]
async fn who_waits_behind_a_locked_writer_is_told_of_the_lock() {
    let database = sqlite();
    let store = open(&database).await;
    let writer = store.connection().await.expect("the connection");
    let problem = store.ping().await.expect_err("waits in vain").problem("cannot list worlds");
    assert_eq!(
        (problem.kind, problem.cause.as_str()),
        (ProblemKind::Failed, "the database is locked by another process")
    );
    drop(writer);
    store.ping().await.expect("answers");
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_answers_with_the_cause_until_it_can() {
    let database = sqlite();
    let path = sqlite_path(&database.url).expect("a file");
    std::fs::write(&path, vec![0x5a; 8192]).expect("written");
    let store = Store::shut(Arc::default());
    let asked = tokio::spawn({
        let store = store.clone();
        async move { store.ping().await }
    });
    store.try_open(&database.url).await.expect_err("damaged");
    for error in [asked.await.expect("ran").expect_err("refused"), store.ping().await.expect_err("refused")] {
        let problem = error.problem("cannot list worlds");
        assert_eq!((problem.kind, problem.cause.as_str()), (ProblemKind::Failed, "the database is damaged"));
        assert!(problem.help.contains("backup"), "{}", problem.help);
    }
    std::fs::remove_file(&path).expect("removed");
    assert!(store.try_open(&database.url).await.expect("opened").is_empty());
    let begun = operation(ALICE, "w");
    store.begin_up(&begun, false, SIZE, SIZE, None).await.expect("serves");
    store.close().await;
    // What was at work is handed over by the opening itself.
    let next = Store::shut(Arc::default());
    let interrupted = next.try_open(&database.url).await.expect("opened");
    assert_eq!(interrupted.iter().map(|operation| operation.id).collect::<Vec<_>>(), [begun.id]);
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_half_written() {
    let database = sqlite();
    let store = open(&database).await;
    // The same result code as a full disk (SQLITE_FULL), by SQLite's own bound on pages.
    sqlx::raw_sql("PRAGMA max_page_count = 1")
        .execute(&mut *store.connection().await.expect("open"))
        .await
        .expect("set");
    let mut error = None;
    for n in 0..200 {
        error = store.begin_up(&operation(ALICE, &format!("w{n}")), false, SIZE, SIZE, None).await.err();
        if error.is_some() {
            let held = store.held(ALICE).await.expect("counted");
            assert_eq!(held, Size { worlds: n, nodes: 4 * n, links: 10 * n });
            break;
        }
    }
    let problem = error.expect("full").problem("cannot start world \"w\"");
    assert_eq!(problem.cause, "the disk under the database is full");
    sqlx::raw_sql("PRAGMA max_page_count = 100000")
        .execute(&mut *store.connection().await.expect("open"))
        .await
        .expect("set");
    // Somebody is refused, and what is begun afterwards is there for who opens the file next, after an end by SIGKILL too.
    store.begin_up(&operation(ALICE, "w0"), false, SIZE, SIZE, None).await.expect_err("it is there already");
    let kept = operation(ALICE, "v");
    store.begin_up(&kept, false, SIZE, SIZE, None).await.expect("begun");
    let other = open(&database).await;
    let found = other.interrupted().await.expect("read");
    assert!(found.iter().any(|operation| operation.id == kept.id), "what was acknowledged is not in the file");
}
