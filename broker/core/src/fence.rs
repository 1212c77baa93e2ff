//! What keeps a broker from obeying who may no longer order it about.

use crate::error::ErrorCode;

/// Whether a controller's request is to be obeyed, given the newest controller epoch that was (`seen`, of any kind of
/// request) and this broker's own epoch; gives the epoch to be remembered. `broker_epoch` is -1 in requests that do not
/// carry one. Errors: STALE_BROKER_EPOCH for an earlier life's request, which tells nothing of its sender;
/// STALE_CONTROLLER_EPOCH.
pub fn check(seen: i32, controller_epoch: i32, broker_epoch: i64, own_epoch: i64) -> Result<i32, ErrorCode> {
    if broker_epoch >= 0 && broker_epoch < own_epoch {
        return Err(ErrorCode::STALE_BROKER_EPOCH);
    }
    if controller_epoch < seen {
        return Err(ErrorCode::STALE_CONTROLLER_EPOCH);
    }
    Ok(controller_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_controller_and_an_earlier_life_are_refused() {
        assert_eq!(check(4, 5, 7, 7), Ok(5));
        assert_eq!(check(5, 5, 8, 7), Ok(5), "a registration that this broker has not heard of yet");
        assert_eq!(check(5, 5, -1, 7), Ok(5));
        assert_eq!(check(5, 4, 7, 7), Err(ErrorCode::STALE_CONTROLLER_EPOCH));
        assert_eq!(check(5, 4, 6, 7), Err(ErrorCode::STALE_BROKER_EPOCH));
        assert_eq!(check(5, 6, 6, 7), Err(ErrorCode::STALE_BROKER_EPOCH));
    }
}
