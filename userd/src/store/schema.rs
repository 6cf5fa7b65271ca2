//! The schema's versions. Each migration is one transaction; a SQLite file is copied beside itself before the first.

use std::path::Path;

use sqlx::{AnyPool, Row};

use super::StoreError;

/// All migrations, in order; the version of a schema is how many were applied.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/0001_core.sql"),
    include_str!("../../../migrations/0002_services.sql"),
    include_str!("../../../migrations/0003_and_leases.sql"),
    include_str!("../../../migrations/0004_drift.sql"),
    include_str!("../../../migrations/0005_peers.sql"),
    include_str!("../../../migrations/0006_issuers.sql"),
    include_str!("../../../migrations/0007_long_texts.sql"),
];

/// Brings the schema up to date.
///
/// # Errors
/// [`StoreError::Newer`] for a schema this release does not know; nothing is changed then.
pub(super) async fn migrate(pool: &AnyPool, file: Option<&Path>) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)").execute(pool).await?;
    let found = version(pool).await?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    if found > 0 && found < known {
        back_up(pool, file, found).await?;
    }
    for (migration, number) in MIGRATIONS.iter().zip(1i64..).filter(|(_, number)| *number > found) {
        let mut transaction = pool.begin().await?;
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
        sqlx::query("DELETE FROM schema_version").execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)").bind(number).execute(&mut *transaction).await?;
        transaction.commit().await?;
        tracing::info!(version = number, "schema migrated");
    }
    Ok(())
}

async fn version(pool: &AnyPool) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT version FROM schema_version").fetch_optional(pool).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
}

/// Copies a SQLite file, log included, to `FILE.before-N` (VACUUM INTO gives a consistent copy; sqlite.org/lang_vacuum.html).
async fn back_up(pool: &AnyPool, file: Option<&Path>, version: i64) -> Result<(), StoreError> {
    let Some(file) = file else { return Ok(()) };
    let copy = format!("{}.before-{}", file.display(), version + 1);
    // A copy from an attempt that did not finish is of the same state.
    let _ = std::fs::remove_file(&copy);
    sqlx::query("VACUUM INTO $1").bind(copy).execute(pool).await?;
    Ok(())
}
