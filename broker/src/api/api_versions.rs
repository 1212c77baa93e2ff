//! ApiVersions: what can be asked of this broker.

use bytes::{BufMut, Bytes, BytesMut};
use wire::kafka::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use wire::kafka::{Api, ApiKey, ErrorCode, Message, RequestHeader};

use super::{Call, IMPLEMENTED};

/// Answers with the implemented APIs at the versions of 3.5.1.
pub async fn answer(call: &Call<'_>, request: ApiVersionsRequest) -> ApiVersionsResponse {
    respond(call.version(), &request, call.broker.features_epoch(), call.broker.serves_unstable())
}

/// Likewise, to whoever has not logged in yet.
pub fn respond(
    version: i16,
    request: &ApiVersionsRequest,
    features_epoch: i64,
    unstable: bool,
) -> ApiVersionsResponse {
    let named = is_name(&request.client_software_name) && is_name(&request.client_software_version);
    if version >= 3 && !named {
        return ApiVersionsResponse { error_code: ErrorCode::INVALID_REQUEST, ..Default::default() };
    }
    let api_keys = IMPLEMENTED
        .iter()
        .filter_map(|key| {
            let (min_version, max_version) = served(key.api(), unstable)?;
            Some(ApiVersion { api_key: *key as i16, min_version, max_version })
        })
        .collect();
    ApiVersionsResponse { api_keys, finalized_features_epoch: features_epoch, ..Default::default() }
}

/// The versions that this broker answers.
pub fn served(api: &Api, unstable: bool) -> Option<(i16, i16)> {
    if unstable { api.broker_versions_with_unstable() } else { api.broker_versions }
}

/// The answer to an ApiVersions of a version that is not known: version 0's form, and what is known of ApiVersions.
pub fn downgrade(header: &RequestHeader) -> Bytes {
    let (min_version, max_version) = ApiKey::ApiVersions.api().broker_versions.unwrap_or_default();
    let known = ApiVersion { api_key: ApiKey::ApiVersions as i16, min_version, max_version };
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: vec![known],
        ..Default::default()
    };
    let mut bytes = BytesMut::new();
    bytes.put_i32(header.correlation_id);
    response.write(&mut bytes, 0);
    bytes.freeze()
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`
fn is_name(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_plain_words() {
        for good in ["a", "apache-kafka-java", "3.5.1"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "é"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn versions_that_may_still_change_are_told_of_where_that_is_asked_for() {
        let request =
            ApiVersionsRequest { client_software_name: "a".into(), client_software_version: "1".into() };
        let versions = |key: ApiKey, unstable| {
            let told = respond(3, &request, 0, unstable).api_keys;
            told.iter().find(|api| api.api_key == key as i16).map(|api| (api.min_version, api.max_version))
        };
        assert_eq!(versions(ApiKey::AddPartitionsToTxn, false), Some((0, 3)));
        assert_eq!(versions(ApiKey::AddPartitionsToTxn, true), Some((0, 4)));
        assert_eq!(versions(ApiKey::ConsumerGroupHeartbeat, false), None);
        assert_eq!(versions(ApiKey::ConsumerGroupHeartbeat, true), Some((0, 0)));
    }

    #[test]
    fn an_unknown_version_is_answered_in_the_form_of_version_0() {
        let header = RequestHeader {
            request_api_key: 18,
            request_api_version: 99,
            correlation_id: 7,
            client_id: None,
        };
        assert_eq!(downgrade(&header)[..], [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 3]);
    }
}
