//! Section `world_services`.

use super::Check;

pub(super) fn check(check: &mut Check) {
    let spec = check.spec;
    let buckets = spec.world_services.storage.buckets.iter().enumerate();
    check.unique(
        "the bucket",
        buckets.map(|(index, bucket)| (format!("world_services.storage.buckets[{index}].name"), &bucket.name)),
    );
    let storage = &spec.world_services.storage;
    if !storage.enabled && !storage.buckets.is_empty() {
        let message = "buckets are declared but storage is off".to_owned();
        check.warn("world_services.storage.buckets", message, None);
    }
}
