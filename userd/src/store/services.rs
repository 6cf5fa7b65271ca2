//! Services of worlds. A world of 500 ANDs has thousands: they are read only to be shown, and of those that are told again only what
//! differs is written.

use std::{collections::BTreeMap, fmt::Write};

use netengine_proto::{
    api::{ServiceState, ServiceStatus},
    ids::WorldId,
};
use sqlx::{AssertSqlSafe, Row, any::AnyRow};

use super::{Change, Store, StoreError, worlds::small};
use crate::decide::{Act, Verdict, WorldRef};

/// Rows of one statement. Each has five values of its own; PostgreSQL takes 65,535 of a statement, SQLite 32,766.
const ROWS: usize = 100;
/// Between the columns of a row that is compared: no text of ours or of a world's processes has control characters.
const BETWEEN: char = '\u{1f}';

impl Store {
    /// A world's services, by name, address and port.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn services<A: Act>(&self, verdict: &Verdict<A, WorldRef>) -> Result<Vec<ServiceStatus>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, address, port, state, detail FROM services WHERE world = $1 ORDER BY name, address, port",
        )
        .bind(verdict.object().id.to_string())
        .fetch_all(&mut *self.connection().await?)
        .await?;
        let service = |row: &AnyRow| {
            let state: String = row.try_get("state")?;
            Ok(ServiceStatus {
                name: row.try_get("name")?,
                address: row.try_get("address")?,
                port: small(row.try_get("port")?, "port")?,
                state: ServiceState::parse(&state).ok_or(StoreError::Value(format!("service state {state:?}")))?,
                detail: row.try_get("detail")?,
            })
        };
        rows.iter().map(service).collect()
    }
}

impl Change<'_> {
    /// Makes these the world's services. Of several with one name, address and port the first is kept.
    pub(super) async fn set_services(&mut self, world: WorldId, services: &[ServiceStatus]) -> Result<(), StoreError> {
        let id = world.to_string();
        let rows = sqlx::query(
            "SELECT name || $2 || address || $2 || CAST(port AS TEXT) || $2 || state || $2 || detail \
             FROM services WHERE world = $1",
        )
        .bind(id.clone())
        .bind(BETWEEN.to_string())
        .fetch_all(self.sql())
        .await?;
        let held = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        let mut wanted: BTreeMap<(&str, &str, u16), &ServiceStatus> = BTreeMap::new();
        for service in services {
            wanted.entry((&service.name, &service.address, service.port)).or_insert(service);
        }
        for text in &held {
            let broken = || StoreError::Value("a service of a world".to_owned());
            let columns: Vec<&str> = text.splitn(5, BETWEEN).collect();
            let &[name, address, port, state, detail] = columns.as_slice() else { return Err(broken()) };
            let port = port.parse::<u16>().map_err(|_| broken())?;
            let known = wanted.get(&(name, address, port));
            if known.is_some_and(|known| known.state.as_str() == state && known.detail == detail) {
                wanted.remove(&(name, address, port));
                continue;
            }
            sqlx::query("DELETE FROM services WHERE world = $1 AND name = $2 AND address = $3 AND port = $4")
                .bind(id.clone())
                .bind(name.to_owned())
                .bind(address.to_owned())
                .bind(i64::from(port))
                .execute(self.sql())
                .await?;
        }
        let new: Vec<&ServiceStatus> = wanted.into_values().collect();
        for rows in new.chunks(ROWS) {
            // Numbers of values, nothing else: the values are bound.
            let mut text = "INSERT INTO services (world, name, address, port, state, detail) VALUES ".to_owned();
            for row in 0..rows.len() {
                let first = 2 + 5 * row;
                let comma = if row == 0 { "" } else { ", " };
                // Writing to a string cannot fail.
                let _ = write!(
                    text,
                    "{comma}($1, ${first}, ${}, ${}, ${}, ${})",
                    first + 1,
                    first + 2,
                    first + 3,
                    first + 4
                );
            }
            let mut insert = sqlx::query(AssertSqlSafe(text)).bind(id.clone());
            for service in rows {
                insert = insert
                    .bind(service.name.clone())
                    .bind(service.address.clone())
                    .bind(i64::from(service.port))
                    .bind(service.state.as_str())
                    .bind(service.detail.clone());
            }
            insert.execute(self.sql()).await?;
        }
        Ok(())
    }
}
