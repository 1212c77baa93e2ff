//! Settings: a topic's need a right on the topic, a broker's one on the cluster.

use broker_core::acl::{Operation, ResourceType};
use wire::Str;
use wire::kafka::alter_configs::AlterConfigsResourceResponse;
use wire::kafka::describe_configs::DescribeConfigsResult;
use wire::kafka::*;

use crate::api::access::{NO_CLUSTER, NO_TOPIC};
use crate::api::{Call, configs, describe_configs, text};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;

/// Why the sender may not do this to the settings of a resource; what is no such resource is the handler's to refuse.
fn refused(call: &Call<'_>, operation: Operation, kind: i8, name: &str) -> Option<ErrorCode> {
    match kind {
        TOPIC => (!call.may(operation, ResourceType::Topic, name)).then_some(NO_TOPIC),
        BROKER | BROKER_LOGGER => (!call.may_on_cluster(operation)).then_some(NO_CLUSTER),
        _ => None,
    }
}

/// Takes out what is refused, with the error.
fn split<T>(
    call: &Call<'_>,
    operation: Operation,
    all: &mut Vec<T>,
    of: impl Fn(&T) -> (i8, &Str),
) -> Vec<(T, ErrorCode)> {
    let mut denied = Vec::new();
    for one in std::mem::take(all) {
        let (kind, name) = of(&one);
        match refused(call, operation, kind, name) {
            Some(error) => denied.push((one, error)),
            None => all.push(one),
        }
    }
    denied
}

pub async fn describe_configs(
    call: &Call<'_>,
    mut request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let denied = split(call, Operation::DescribeConfigs, &mut request.resources, |resource| {
        (resource.resource_type, &resource.resource_name)
    });
    let mut response = describe_configs::describe(call, request).await;
    response.results.extend(denied.into_iter().map(|(resource, error_code)| DescribeConfigsResult {
        error_code,
        error_message: text(error_code.message()),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        ..Default::default()
    }));
    response
}

pub async fn alter_configs(call: &Call<'_>, mut request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut misshapen = configs::misshapen(call, &request).into_iter();
    let wrong: Vec<_> = request.resources.extract_if(.., |_| misshapen.next() == Some(true)).collect();
    let denied = split(call, Operation::AlterConfigs, &mut request.resources, |resource| {
        (resource.resource_type, &resource.resource_name)
    });
    request.resources.extend(wrong);
    let mut response = configs::alter(call, request).await;
    response.responses.extend(denied.into_iter().map(|(resource, error_code)| {
        AlterConfigsResourceResponse {
            error_code,
            error_message: None,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        }
    }));
    response
}

pub async fn alter_configs_incrementally(
    call: &Call<'_>,
    mut request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut misshapen = configs::misshapen_changes(call, &request).into_iter();
    let wrong: Vec<_> = request.resources.extract_if(.., |_| misshapen.next() == Some(true)).collect();
    let denied = split(call, Operation::AlterConfigs, &mut request.resources, |resource| {
        (resource.resource_type, &resource.resource_name)
    });
    request.resources.extend(wrong);
    let mut response = configs::alter_incrementally(call, request).await;
    response.responses.extend(denied.into_iter().map(|(resource, error_code)| {
        incremental_alter_configs::AlterConfigsResourceResponse {
            error_code,
            error_message: None,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        }
    }));
    response
}
