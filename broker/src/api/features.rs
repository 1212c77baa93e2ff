//! UpdateFeatures. A broker of 3.5.1 with ZooKeeper supports no feature whose version a cluster could agree on, and does not
//! start where one was agreed on: `/feature` stays empty, and every update is refused by what is wrong with it.

use std::collections::BTreeMap;

use broker_core::acl::Operation;
use wire::Str;
use wire::kafka::update_features::{FeatureUpdateKey, UpdatableFeatureResult};
use wire::kafka::{ErrorCode, UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::Call;
use super::access::NO_CLUSTER;

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

pub async fn update(call: &Call<'_>, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    if !call.may_on_cluster(Operation::Alter) {
        let error_message = Some(NO_CLUSTER.message().into());
        return UpdateFeaturesResponse { error_code: NO_CLUSTER, error_message, ..Default::default() };
    }
    if !call.broker.is_controller() {
        let error_code = ErrorCode::NOT_CONTROLLER;
        let error_message = Some(error_code.message().into());
        return UpdateFeaturesResponse { error_code, error_message, ..Default::default() };
    }
    if !call.broker.config.protocol.has_features() {
        let error_message = Some(Str::from_static("Feature versioning system is disabled."));
        return UpdateFeaturesResponse {
            error_code: ErrorCode::INVALID_REQUEST,
            error_message,
            ..Default::default()
        };
    }
    // A feature that is named twice is answered once.
    let refused: BTreeMap<&Str, String> = request
        .feature_updates
        .iter()
        .rev()
        .map(|update| (&update.feature, refusal(update, call.version())))
        .collect();
    let result = |(feature, message): (&Str, String)| UpdatableFeatureResult {
        feature: feature.clone(),
        error_code: ErrorCode::INVALID_REQUEST,
        error_message: Some(message.into()),
    };
    let results = refused.into_iter().map(result).collect();
    // Kafka gives the code's own text here, which is null for none.
    UpdateFeaturesResponse { results, ..Default::default() }
}

/// What is wrong with it, in Kafka's words and order.
fn refusal(update: &FeatureUpdateKey, version: i16) -> String {
    let kind = match version {
        0 if update.allow_downgrade => SAFE_DOWNGRADE,
        0 => UPGRADE,
        _ => update.upgrade_type,
    };
    let level = update.max_version_level;
    if update.feature.is_empty() {
        "Feature name can not be empty.".into()
    } else if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&kind) {
        "Received unknown upgrade type.".into()
    } else if level < 1 && kind != UPGRADE {
        "Can not delete non-existing finalized feature.".into()
    } else if level < 1 {
        format!(
            "Can not provide versionLevel: {level} less than 1 without setting the SAFE downgradeType in the request."
        )
    } else {
        "Could not apply finalized feature update because the provided feature is not supported.".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_of_features_are_refused_in_kafkas_words() {
        let update = |feature: &str, max_version_level, upgrade_type, allow_downgrade| FeatureUpdateKey {
            feature: feature.into(),
            max_version_level,
            allow_downgrade,
            upgrade_type,
        };
        assert_eq!(refusal(&update("", 1, 1, false), 1), "Feature name can not be empty.");
        assert_eq!(refusal(&update("f", 1, 9, false), 1), "Received unknown upgrade type.");
        assert_eq!(refusal(&update("f", 0, 2, false), 1), "Can not delete non-existing finalized feature.");
        assert_eq!(refusal(&update("f", 0, 1, true), 0), "Can not delete non-existing finalized feature.");
        assert!(
            refusal(&update("f", 0, 1, false), 0).starts_with("Can not provide versionLevel: 0 less than 1")
        );
        assert!(refusal(&update("f", 3, 1, false), 1).ends_with("the provided feature is not supported."));
    }
}
