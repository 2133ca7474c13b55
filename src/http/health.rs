//! `/healthz` and `/readyz`: in full for authorized clients, and the status alone for orchestrators.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use kvs_config::without_address_secrets;

use super::endpoints::Endpoints;
use super::site::Site;
use crate::status::{HealthStatus, Readiness, ServiceHealth};

/// Maximum size of an answer of `/healthz`, bytes: clients read it as a whole.
const MAX_HEALTH_BYTES: usize = 64 * 1024;

/// Answers with the reasons, or with the number of each kind for other clients: reasons name cameras, buckets, hosts and roles.
pub(super) async fn healthz(
    State(site): State<Arc<Site>>,
    Extension(endpoints): Extension<Endpoints>,
    headers: HeaderMap,
) -> Response {
    let ServiceHealth { status, reasons } = site.board.health();
    // `degraded` is 200: an orchestrator that killed the task would not fix anything.
    let code = match status {
        HealthStatus::Ok | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::Failed => StatusCode::SERVICE_UNAVAILABLE,
    };
    let reasons = if reasons.is_empty() || site.guard.may_see_reasons(&headers, endpoints) {
        reasons.iter().map(|reason| without_address_secrets(reason).into_owned()).collect()
    } else {
        counted(&reasons)
    };
    (code, Json(ServiceHealth { status, reasons }.within(MAX_HEALTH_BYTES))).into_response()
}

/// Answers with the readiness, and names the models under load only to authorized clients.
pub(super) async fn readyz(
    State(site): State<Arc<Site>>,
    Extension(endpoints): Extension<Endpoints>,
    headers: HeaderMap,
) -> Response {
    let readiness = site.board.readiness();
    let code = match readiness {
        Readiness::Ready => StatusCode::OK,
        Readiness::Starting | Readiness::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    let loading: Vec<String> =
        site.board.loadings().iter().map(|line| without_address_secrets(line).into_owned()).collect();
    let answer = if !loading.is_empty() && site.guard.may_see_reasons(&headers, endpoints) {
        serde_json::json!({ "status": readiness, "loading": loading })
    } else {
        serde_json::json!({ "status": readiness })
    };
    (code, Json(answer)).into_response()
}

/// Returns the number of reasons of each kind: `camera: 2`.
fn counted(reasons: &[String]) -> Vec<String> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for reason in reasons {
        *counts.entry(kind_of(reason)).or_default() += 1;
    }
    counts.into_iter().map(|(kind, count)| format!("{kind}: {count}")).collect()
}

/// Returns the kind of a reason, by its first words.
fn kind_of(reason: &str) -> &'static str {
    let kinds = [
        ("camera ", "camera"),
        ("sink ", "sink"),
        ("thread ", "thread"),
        ("model ", "model"),
        ("loading model ", "model"),
        ("the outbox ", "outbox"),
        ("this host ", "host"),
        ("the configuration ", "configuration"),
        ("a newer configuration ", "configuration"),
    ];
    kinds.into_iter().find(|(words, _)| reason.starts_with(words)).map_or("other", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_by_kind() {
        let reasons = [
            "camera gate has been down for 4 s: not authorized as arn:aws:...",
            "sink kds/events has failed for 3 s: no",
            "camera yard has sent nothing for 65 s",
            "this host is too slow to decode 3 cameras: 1",
            "a newer configuration has not been applied for 61 s",
            "something new",
        ];
        let reasons = reasons.map(str::to_owned);
        assert_eq!(counted(&reasons), ["camera: 2", "configuration: 1", "host: 1", "other: 1", "sink: 1"]);
    }
}
