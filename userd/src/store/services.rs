//! Services of worlds. A world of 500 ANDs has thousands: they are read only to be shown, and of those that are told again only what
//! differs is written.

use std::{collections::BTreeMap, fmt::Write};

use netengine_proto::{
    api::{ServiceState, ServiceStatus},
    ids::WorldId,
};
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::{Change, Store, StoreError};
use crate::decide::{Act, Verdict, WorldRef};

/// Rows of one statement. Each has five values of its own; PostgreSQL takes 65,535 of a statement, SQLite 32,766.
const ROWS: usize = 100;
/// Between the columns of a row: no text of ours or of a world's processes has control characters.
const COLUMN: char = '\u{1f}';
/// Between rows.
const ROW: char = '\u{1e}';

impl Store {
    /// A world's services, by name, address and port.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn services<A: Act>(&self, verdict: &Verdict<A, WorldRef>) -> Result<Vec<ServiceStatus>, StoreError> {
        let text = held(&mut *self.connection().await?, verdict.object().id).await?;
        rows(&text).map(|row| status_of(row?)).collect()
    }
}

/// All services of a world in one text, by name, address and port: a row of its own for each costs many times what is in it.
async fn held(connection: &mut AnyConnection, world: WorldId) -> Result<String, StoreError> {
    let row = sqlx::query(
        "SELECT string_agg(name || $2 || address || $2 || CAST(port AS TEXT) || $2 || state || $2 || detail, $3 \
         ORDER BY name, address, port) FROM services WHERE world = $1",
    )
    .bind(world.to_string())
    .bind(COLUMN.to_string())
    .bind(ROW.to_string())
    .fetch_one(connection)
    .await?;
    Ok(row.try_get::<Option<String>, _>(0)?.unwrap_or_default())
}

/// Name, address, port, state and detail of each service in such a text.
fn rows(text: &str) -> impl Iterator<Item = Result<Columns<'_>, StoreError>> {
    let rows = text.split(ROW).filter(|row| !row.is_empty());
    rows.map(|row| columns(row).ok_or_else(|| StoreError::Value("a service of a world".to_owned())))
}

type Columns<'t> = (&'t str, &'t str, u16, &'t str, &'t str);

fn columns(row: &str) -> Option<Columns<'_>> {
    let mut columns = row.splitn(5, COLUMN);
    let mut next = || columns.next();
    Some((next()?, next()?, next()?.parse().ok()?, next()?, next()?))
}

fn status_of((name, address, port, state, detail): Columns<'_>) -> Result<ServiceStatus, StoreError> {
    let state = ServiceState::parse(state).ok_or(StoreError::Value(format!("service state {state:?}")))?;
    Ok(ServiceStatus { name: name.to_owned(), address: address.to_owned(), port, state, detail: detail.to_owned() })
}

impl Change<'_> {
    /// Makes these the world's services. Of several with one name, address and port the first is kept.
    pub(super) async fn set_services(&mut self, world: WorldId, services: &[ServiceStatus]) -> Result<(), StoreError> {
        let id = world.to_string();
        let held = held(self.sql(), world).await?;
        let mut wanted: BTreeMap<(&str, &str, u16), &ServiceStatus> = BTreeMap::new();
        for service in services {
            wanted.entry((&service.name, &service.address, service.port)).or_insert(service);
        }
        for row in rows(&held) {
            let (name, address, port, state, detail) = row?;
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
