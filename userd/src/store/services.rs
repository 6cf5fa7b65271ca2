//! Services of worlds, as the last `up` that was done saw them: told, shown and replaced as a whole.

use netengine_proto::api::ServiceStatus;
use sqlx::Row;

use super::{Store, StoreError};
use crate::decide::{Act, Verdict, WorldRef};

impl Store {
    /// A world's services, by name, address and port.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn services<A: Act>(&self, verdict: &Verdict<A, WorldRef>) -> Result<Vec<ServiceStatus>, StoreError> {
        let row = sqlx::query("SELECT services FROM in_force WHERE world = $1")
            .bind(verdict.object().id.to_string())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        let text: Option<String> = row.map(|row| row.try_get("services")).transpose()?.flatten();
        let services = text.map(|text| serde_json::from_str(&text)).transpose();
        Ok(services.map_err(|error| StoreError::Value(format!("services of a world: {error}")))?.unwrap_or_default())
    }
}

/// Services as they are stored: by name, address and port. Of several with one name, address and port the first is kept.
pub(super) fn stored(services: &[ServiceStatus]) -> Result<String, StoreError> {
    fn place(service: &ServiceStatus) -> (&str, &str, u16) {
        (&service.name, &service.address, service.port)
    }
    let mut ordered: Vec<&ServiceStatus> = services.iter().collect();
    ordered.sort_by(|a, b| place(a).cmp(&place(b)));
    ordered.dedup_by(|later, first| place(later) == place(first));
    serde_json::to_string(&ordered).map_err(|error| StoreError::Value(error.to_string()))
}
