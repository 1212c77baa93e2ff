//! How much clients may ask for: `connection_throttle_*`, `request_throttle_*`, `largeRequest*`.

use base::Settings;
use tracing::warn;
use zk_core::config::RequestLimits;
use zk_core::throttle::{ConnectLimits, ConnectWeights};

/// Requests that are long, and how many bytes of them may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargeRequests {
    /// Bytes above which a request counts (`largeRequestThreshold`).
    pub above: usize,
    /// Bytes of all that count; what would exceed it ends its connection (`largeRequestMaxBytes`).
    pub bytes_max: usize,
}

pub(super) fn connects(settings: &Settings) -> ConnectLimits {
    let int = |key: &str| settings.int(&format!("connection_throttle_{key}"));
    let float = |key: &str| settings.float(&format!("connection_throttle_{key}"));
    ConnectLimits {
        tokens: int("tokens"),
        fill_ms: int("fill_time") as u64,
        fill: int("fill_count"),
        freeze_ms: u64::try_from(int("freeze_time")).ok(),
        drop_increase: float("drop_increase"),
        drop_decrease: float("drop_decrease"),
        decrease_ratio: float("decrease_ratio"),
        weights: settings.bool("connection_throttle_weight_enabled").then(|| weights(settings)),
    }
}

/// A weight that is not above 0 is the default; none is below the one of a local session.
fn weights(settings: &Settings) -> ConnectWeights {
    let given = |kind: &str| settings.int(&format!("connection_throttle_{kind}_session_weight"));
    let least = given("local");
    let weight = |kind: &str, default: i64| match given(kind) {
        ..=0 => default,
        weight if weight < least => {
            warn!(
                "The {kind} session weight {weight} is less than the local session weight {least}. Use the local session weight."
            );
            least
        }
        weight => weight,
    };
    ConnectWeights {
        global: weight("global", 3),
        local: if least <= 0 { 1 } else { least },
        renewed: weight("renew", 2),
    }
}

pub(super) fn requests(settings: &Settings) -> RequestLimits {
    let wait = settings.int("throttled_op_wait_time");
    RequestLimits {
        in_process_max: settings.int("request_throttle_max_requests").max(0) as u64,
        drop_late: settings.bool("request_throttle_drop_stale")
            && settings.bool("request_stale_latency_check"),
        wait_ms_max: (wait > 0).then_some(wait as u64),
    }
}

/// `None`: nothing is long.
pub(super) fn large_requests(settings: &Settings) -> Option<LargeRequests> {
    let (above, bytes_max) = (settings.int("largeRequestThreshold"), settings.int("largeRequestMaxBytes"));
    if above == 0 || above < -1 {
        warn!("Invalid largeRequestThreshold {above}: it is off");
    }
    (above > 0).then_some(LargeRequests { above: above as usize, bytes_max: bytes_max as usize })
}
