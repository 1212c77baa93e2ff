//! ApiVersions: what can be asked of this broker.

use bytes::{BufMut, Bytes, BytesMut};
use wire::kafka::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use wire::kafka::{ApiKey, ErrorCode, Message, RequestHeader};

use super::{Call, IMPLEMENTED};

/// Answers with the implemented APIs at the versions of 3.5.1.
pub async fn answer(call: &Call<'_>, request: ApiVersionsRequest) -> ApiVersionsResponse {
    respond(call.version(), &request, call.broker.features_epoch())
}

/// Likewise, to whoever has not logged in yet.
pub fn respond(version: i16, request: &ApiVersionsRequest, features_epoch: i64) -> ApiVersionsResponse {
    let named = is_name(&request.client_software_name) && is_name(&request.client_software_version);
    if version >= 3 && !named {
        return ApiVersionsResponse { error_code: ErrorCode::INVALID_REQUEST, ..Default::default() };
    }
    let api_keys = IMPLEMENTED
        .iter()
        .filter_map(|key| {
            let (min_version, max_version) = key.api().broker_versions?;
            Some(ApiVersion { api_key: *key as i16, min_version, max_version })
        })
        .collect();
    ApiVersionsResponse { api_keys, finalized_features_epoch: features_epoch, ..Default::default() }
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
