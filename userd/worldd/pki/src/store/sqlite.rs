//! The world's own SQLite database.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{
    Connection, Row, Sqlite, SqliteConnection, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Store, StoreError};
use crate::{
    acme::{Change, Id, Own},
    ca::{Material, Secret, Serial, authority::KeyAndCertificate},
};

/// The version of the tables below.
const VERSION: i64 = 1;

const TABLES: [&str; 7] = [
    "CREATE TABLE IF NOT EXISTS pki_version (version INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS pki_account (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS pki_order (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS pki_authorization (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS pki_certificate (serial TEXT PRIMARY KEY, body TEXT NOT NULL, der BLOB NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS pki_own (names TEXT PRIMARY KEY, circumstances TEXT NOT NULL, serial TEXT NOT NULL, key BLOB NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS pki_material (level TEXT PRIMARY KEY, key BLOB NOT NULL, certificate BLOB NOT NULL) STRICT",
];

/// A database with the authority's tables, all of whose names begin with `pki_`.
pub struct SqliteStore {
    pool: SqlitePool,
}

fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { doing, source }
}

impl SqliteStore {
    /// How the database file is to be opened: a commit that was answered survives the end of process and power.
    pub fn options(file: &std::path::Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
    }

    /// Opens or makes a database of the authority's own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(file: &std::path::Path) -> Result<Self, StoreError> {
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(Self::options(file)).await;
        Self::new(pool.map_err(failed("open the database"))?).await
    }

    /// Uses a database that is open, making the tables that are absent.
    ///
    /// # Errors
    /// [`StoreError`]; a database of a later release is refused.
    pub async fn new(pool: SqlitePool) -> Result<Self, StoreError> {
        let make = failed("make the tables");
        let mut transaction = pool.begin().await.map_err(&make)?;
        for table in TABLES {
            sqlx::query(table).execute(&mut *transaction).await.map_err(&make)?;
        }
        let version: Option<i64> = sqlx::query_scalar("SELECT version FROM pki_version")
            .fetch_optional(&mut *transaction)
            .await
            .map_err(&make)?;
        match version {
            Some(VERSION) => {}
            Some(other) => return Err(StoreError::Content(format!("it is of version {other}, not {VERSION}"))),
            None => {
                let insert = sqlx::query("INSERT INTO pki_version (version) VALUES (?)").bind(VERSION);
                insert.execute(&mut *transaction).await.map_err(&make)?;
            }
        }
        transaction.commit().await.map_err(&make)?;
        Ok(Self { pool })
    }

    async fn bodies<T: DeserializeOwned>(&self, query: &'static str) -> Result<Vec<T>, StoreError> {
        let bodies: Vec<String> =
            sqlx::query_scalar(query).fetch_all(&self.pool).await.map_err(failed("read what is kept"))?;
        let parse = |body: String| serde_json::from_str(&body).map_err(|error| StoreError::Content(error.to_string()));
        bodies.into_iter().map(parse).collect()
    }
}

fn body(object: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(object).map_err(|error| StoreError::Content(error.to_string()))
}

type Open<'a> = Transaction<'a, Sqlite>;

async fn put(open: &mut Open<'_>, query: &'static str, id: &Id, object: &impl Serialize) -> Result<(), StoreError> {
    let query = sqlx::query(query).bind(id.as_str()).bind(body(object)?);
    query.execute(&mut **open).await.map(drop).map_err(failed("keep a change"))
}

async fn write(open: &mut Open<'_>, change: &Change) -> Result<(), StoreError> {
    let keep = failed("keep a change");
    match change {
        Change::Account(account) => {
            put(open, "INSERT OR REPLACE INTO pki_account (id, body) VALUES (?, ?)", &account.id, account).await
        }
        Change::Order(order) => {
            put(open, "INSERT OR REPLACE INTO pki_order (id, body) VALUES (?, ?)", &order.id, order).await
        }
        Change::Authorization(one) => {
            put(open, "INSERT OR REPLACE INTO pki_authorization (id, body) VALUES (?, ?)", &one.id, one).await
        }
        Change::Issued { certificate, der } => {
            let query = sqlx::query("INSERT OR REPLACE INTO pki_certificate (serial, body, der) VALUES (?, ?, ?)")
                .bind(certificate.serial.to_string())
                .bind(body(certificate)?)
                .bind(der.as_slice());
            query.execute(&mut **open).await.map(drop).map_err(keep)
        }
        Change::Own(own) => {
            let query = "INSERT OR REPLACE INTO pki_own (names, circumstances, serial, key) VALUES (?, ?, ?, ?)";
            let query = sqlx::query(query).bind(&own.names).bind(&own.circumstances).bind(own.serial.to_string());
            query.bind(own.key.expose()).execute(&mut **open).await.map(drop).map_err(keep)
        }
        Change::Revoked { serial, revocation } => {
            let query = "UPDATE pki_certificate SET body = json_set(body, '$.revoked', json(?)) WHERE serial = ?";
            let query = sqlx::query(query).bind(body(revocation)?).bind(serial.to_string());
            query.execute(&mut **open).await.map(drop).map_err(keep)
        }
        Change::Replaced { serial, by } => {
            let query = "UPDATE pki_certificate SET body = json_set(body, '$.replaced_by', ?) WHERE serial = ?";
            let query = sqlx::query(query).bind(by.to_string()).bind(serial.to_string());
            query.execute(&mut **open).await.map(drop).map_err(keep)
        }
        Change::Forgotten { orders, authorizations } => {
            for id in orders {
                let query = sqlx::query("DELETE FROM pki_order WHERE id = ?").bind(id.as_str());
                query.execute(&mut **open).await.map_err(&keep)?;
            }
            for id in authorizations {
                let query = sqlx::query("DELETE FROM pki_authorization WHERE id = ?").bind(id.as_str());
                query.execute(&mut **open).await.map_err(&keep)?;
            }
            Ok(())
        }
    }
}

async fn write_all(connection: &mut SqliteConnection, changes: &[Change]) -> Result<(), StoreError> {
    let mut open = connection.begin().await.map_err(failed("begin to keep changes"))?;
    for change in changes {
        write(&mut open, change).await?;
    }
    open.commit().await.map_err(failed("keep changes"))
}

impl Store for SqliteStore {
    async fn load(&self) -> Result<Vec<Change>, StoreError> {
        let mut changes: Vec<Change> = Vec::new();
        changes.extend(self.bodies("SELECT body FROM pki_account").await?.into_iter().map(Change::Account));
        changes.extend(self.bodies("SELECT body FROM pki_order").await?.into_iter().map(Change::Order));
        let authorizations = self.bodies("SELECT body FROM pki_authorization").await?;
        changes.extend(authorizations.into_iter().map(Change::Authorization));
        let certificates = self.bodies("SELECT body FROM pki_certificate").await?;
        let issued = |certificate| Change::Issued { certificate, der: Vec::new() };
        changes.extend(certificates.into_iter().map(issued));
        Ok(changes)
    }

    // A connection on which something failed is not used again: SQLite has ended a transaction that met a full disk by itself,
    // of which the pool's count of open transactions knows nothing, and a later commit would only end a savepoint.
    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.map_err(failed("begin to keep changes"))?;
        let kept = write_all(&mut connection, changes).await;
        if kept.is_err() {
            connection.close_on_drop();
        }
        kept
    }

    async fn certificate(&self, serial: Serial) -> Result<Option<Vec<u8>>, StoreError> {
        let query = sqlx::query_scalar("SELECT der FROM pki_certificate WHERE serial = ?").bind(serial.to_string());
        query.fetch_optional(&self.pool).await.map_err(failed("read a certificate"))
    }

    async fn own(&self, names: &str) -> Result<Option<Own>, StoreError> {
        let read = failed("read a service's key");
        let query = sqlx::query("SELECT circumstances, serial, key FROM pki_own WHERE names = ?").bind(names);
        let Some(row) = query.fetch_optional(&self.pool).await.map_err(&read)? else { return Ok(None) };
        let serial: String = row.try_get(1).map_err(&read)?;
        let serial = Serial::from_hex(&serial);
        Ok(Some(Own {
            names: names.to_owned(),
            circumstances: row.try_get(0).map_err(&read)?,
            serial: serial.ok_or_else(|| StoreError::Content("a service's certificate has no number".to_owned()))?,
            key: Secret::from_pkcs8(row.try_get(2).map_err(&read)?),
        }))
    }

    async fn material(&self) -> Result<Option<Material>, StoreError> {
        let read = failed("read the authority's keys");
        let rows = sqlx::query("SELECT level, key, certificate FROM pki_material").fetch_all(&self.pool).await;
        let (mut root, mut intermediate) = (None, None);
        for row in rows.map_err(&read)? {
            let level: String = row.try_get(0).map_err(&read)?;
            let kept = KeyAndCertificate {
                key: Secret::from_pkcs8(row.try_get(1).map_err(&read)?),
                certificate: row.try_get(2).map_err(&read)?,
            };
            match level.as_str() {
                "root" => root = Some(kept),
                "intermediate" => intermediate = Some(kept),
                _ => return Err(StoreError::Content(format!("there is no issuer {level:?}"))),
            }
        }
        Ok(root.map(|root| Material { root, intermediate }))
    }

    async fn keep_material(&self, material: &Material) -> Result<(), StoreError> {
        let keep = failed("keep the authority's keys");
        let mut open = self.pool.begin().await.map_err(&keep)?;
        sqlx::query("DELETE FROM pki_material").execute(&mut *open).await.map_err(&keep)?;
        let levels =
            [Some(("root", &material.root)), material.intermediate.as_ref().map(|kept| ("intermediate", kept))];
        for (level, kept) in levels.into_iter().flatten() {
            let query = sqlx::query("INSERT INTO pki_material (level, key, certificate) VALUES (?, ?, ?)")
                .bind(level)
                .bind(kept.key.expose())
                .bind(kept.certificate.as_slice());
            query.execute(&mut *open).await.map_err(&keep)?;
        }
        open.commit().await.map_err(&keep)
    }
}
