//! DescribeAcls, CreateAcls, DeleteAcls.

use std::collections::BTreeMap;

use broker_core::MetadataVersion;
use broker_core::acl::{
    Binding, CLUSTER_NAME, Entry, EntryFilter, Filter, Operation, PatternType, Permission, Resource,
    ResourceFilter, ResourceType,
};
use wire::Str;
use wire::kafka::create_acls::{AclCreation, AclCreationResult, CreateAclsRequest, CreateAclsResponse};
use wire::kafka::delete_acls::{
    DeleteAclsFilterResult, DeleteAclsMatchingAcl, DeleteAclsRequest, DeleteAclsResponse,
};
use wire::kafka::describe_acls::{
    AclDescription, DescribeAclsRequest, DescribeAclsResource, DescribeAclsResponse,
};
use wire::kafka::{ErrorCode, Request};

use super::access::NO_CLUSTER;
use super::{Call, text};
use crate::authorizer::Deleted;

/// What a request for ACLs must not have: codes that mean "unknown", and in version 0 anything but literal patterns. It
/// is a malformed request then, and its connection is closed.
pub trait Checked: Request {
    /// What is wrong with it.
    fn check(&mut self, version: i16) -> Result<(), String>;
}

const UNKNOWN: i8 = 0;

/// Before there were patterns, "any" meant what is literal now.
fn check_pattern(version: i16, pattern: &mut i8) -> Result<(), String> {
    match PatternType::from_code(*pattern) {
        PatternType::Any if version == 0 => *pattern = PatternType::Literal.code(),
        PatternType::Literal => {}
        _ if version == 0 => return Err("Version 0 only supports literal resource pattern types".into()),
        _ => {}
    }
    Ok(())
}

fn check_codes(codes: [i8; 4]) -> Result<(), String> {
    if codes.contains(&UNKNOWN) { Err("it contains UNKNOWN elements".into()) } else { Ok(()) }
}

impl Checked for DescribeAclsRequest {
    fn check(&mut self, version: i16) -> Result<(), String> {
        check_pattern(version, &mut self.pattern_type_filter)?;
        check_codes([
            self.pattern_type_filter,
            self.resource_type_filter,
            self.permission_type,
            self.operation,
        ])
    }
}

impl Checked for CreateAclsRequest {
    fn check(&mut self, _: i16) -> Result<(), String> {
        self.creations.iter().try_for_each(|one| {
            check_codes([one.resource_pattern_type, one.resource_type, one.permission_type, one.operation])
        })
    }
}

impl Checked for DeleteAclsRequest {
    fn check(&mut self, version: i16) -> Result<(), String> {
        self.filters.iter_mut().try_for_each(|filter| {
            check_pattern(version, &mut filter.pattern_type_filter)?;
            check_codes([
                filter.pattern_type_filter,
                filter.resource_type_filter,
                filter.permission_type,
                filter.operation,
            ])
        })
    }
}

/// Whether any of these codes cannot be in a stored ACL though filters may have them: nobody at Java's side catches that.
fn is_filter(binding: &Binding) -> bool {
    let (resource, entry) = (&binding.resource, &binding.entry);
    resource.kind == ResourceType::Any
        || matches!(resource.pattern, PatternType::Any | PatternType::Match)
        || entry.operation == Operation::Any
        || entry.permission == Permission::Any
}

pub async fn describe(call: &Call<'_>, request: DescribeAclsRequest) -> DescribeAclsResponse {
    let refused = |error_code, message: Str| DescribeAclsResponse {
        error_code,
        error_message: Some(message),
        ..Default::default()
    };
    if !call.may_on_cluster(Operation::Describe) {
        return refused(NO_CLUSTER, call.refused_text());
    }
    let Some(authorizer) = call.authorizer() else {
        return refused(
            ErrorCode::SECURITY_DISABLED,
            Str::from_static("No Authorizer is configured on the broker"),
        );
    };
    let filter = Filter {
        resource: ResourceFilter {
            kind: ResourceType::from_code(request.resource_type_filter),
            pattern: PatternType::from_code(request.pattern_type_filter),
            name: request.resource_name_filter,
        },
        entry: EntryFilter {
            principal: request.principal_filter,
            host: request.host_filter,
            operation: Operation::from_code(request.operation),
            permission: Permission::from_code(request.permission_type),
        },
    };
    let mut resources: BTreeMap<Resource, Vec<AclDescription>> = BTreeMap::new();
    for Binding { resource, entry } in authorizer.matching(&filter) {
        resources.entry(resource).or_default().push(AclDescription {
            principal: entry.principal,
            host: entry.host,
            operation: entry.operation.code(),
            permission_type: entry.permission.code(),
        });
    }
    let resources = resources.into_iter().map(|(resource, acls)| DescribeAclsResource {
        resource_type: resource.kind.code(),
        resource_name: resource.name,
        pattern_type: resource.pattern.code(),
        acls,
    });
    // Java's text is empty here, not null.
    let error_message = Some(Str::default());
    DescribeAclsResponse { error_message, resources: resources.collect(), ..Default::default() }
}

fn binding(creation: AclCreation) -> Binding {
    Binding {
        resource: Resource {
            kind: ResourceType::from_code(creation.resource_type),
            pattern: PatternType::from_code(creation.resource_pattern_type),
            name: creation.resource_name,
        },
        entry: Entry {
            principal: creation.principal,
            host: creation.host,
            operation: Operation::from_code(creation.operation),
            permission: Permission::from_code(creation.permission_type),
        },
    }
}

/// What is refused before the authorizer is asked.
fn not_to_be_stored(resource: &Resource, protocol: MetadataVersion) -> Option<(ErrorCode, String)> {
    if resource.pattern == PatternType::Prefixed && !protocol.has_prefixed_acls() {
        let least = MetadataVersion::V2_0Iv1;
        let message = format!(
            "Adding ACLs on prefixed resource patterns requires inter.broker.protocol.version of {least} or greater"
        );
        return Some((ErrorCode::UNSUPPORTED_VERSION, message));
    }
    misnamed(resource).map(|message| (ErrorCode::INVALID_REQUEST, message))
}

fn misnamed(resource: &Resource) -> Option<String> {
    if resource.kind == ResourceType::Cluster && resource.name != CLUSTER_NAME {
        return Some(format!("The only valid name for the CLUSTER resource is {CLUSTER_NAME}"));
    }
    resource.name.is_empty().then(|| "Invalid empty resource name".to_owned())
}

pub async fn create(call: &Call<'_>, request: CreateAclsRequest) -> CreateAclsResponse {
    let failed = |error_code, error_message| CreateAclsResponse {
        results: vec![AclCreationResult { error_code, error_message }; request.creations.len()],
        ..Default::default()
    };
    if !call.may_on_cluster(Operation::Alter) {
        return failed(NO_CLUSTER, Some(call.refused_text()));
    }
    let Some(authorizer) = call.authorizer() else {
        return failed(ErrorCode::SECURITY_DISABLED, text("No Authorizer is configured."));
    };
    let bindings: Vec<Binding> = request.creations.iter().cloned().map(binding).collect();
    if bindings.iter().any(is_filter) {
        return failed(ErrorCode::UNKNOWN_SERVER_ERROR, None);
    }
    let protocol = call.broker.config.protocol;
    let problems: Vec<Option<(ErrorCode, String)>> =
        bindings.iter().map(|binding| not_to_be_stored(&binding.resource, protocol)).collect();
    let valid: Vec<Binding> = bindings
        .into_iter()
        .zip(&problems)
        .filter(|(_, problem)| problem.is_none())
        .map(|(binding, _)| binding)
        .collect();
    let mut stored = authorizer.create(&authorizer.session(call.broker.zk()), &valid).await.into_iter();
    let results = problems.into_iter().map(|problem| match problem {
        Some((error_code, problem)) => AclCreationResult { error_code, error_message: text(problem) },
        None => match stored.next() {
            Some(Err(error)) => {
                let (error_code, message) = error.answer();
                AclCreationResult { error_code, error_message: message.map(Str::from_static) }
            }
            // No error's message is not null, in Java's answers of this kind.
            _ => AclCreationResult { error_message: Some(Str::default()), ..Default::default() },
        },
    });
    CreateAclsResponse { results: results.collect(), ..Default::default() }
}

pub async fn delete(call: &Call<'_>, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let failed = |error_code, error_message| DeleteAclsResponse {
        filter_results: vec![
            DeleteAclsFilterResult { error_code, error_message, ..Default::default() };
            request.filters.len()
        ],
        ..Default::default()
    };
    if !call.may_on_cluster(Operation::Alter) {
        return failed(NO_CLUSTER, Some(call.refused_text()));
    }
    let Some(authorizer) = call.authorizer() else {
        return failed(ErrorCode::SECURITY_DISABLED, text("No Authorizer is configured."));
    };
    let filters: Vec<Filter> = request
        .filters
        .iter()
        .cloned()
        .map(|filter| Filter {
            resource: ResourceFilter {
                kind: ResourceType::from_code(filter.resource_type_filter),
                pattern: PatternType::from_code(filter.pattern_type_filter),
                name: filter.resource_name_filter,
            },
            entry: EntryFilter {
                principal: filter.principal_filter,
                host: filter.host_filter,
                operation: Operation::from_code(filter.operation),
                permission: Permission::from_code(filter.permission_type),
            },
        })
        .collect();
    let deleted = authorizer.delete(&authorizer.session(call.broker.zk()), &filters).await;
    let filter_results = deleted.into_iter().map(|all| DeleteAclsFilterResult {
        matching_acls: all.into_iter().map(matching).collect(),
        ..Default::default()
    });
    DeleteAclsResponse { filter_results: filter_results.collect(), ..Default::default() }
}

fn matching((Binding { resource, entry }, error): Deleted) -> DeleteAclsMatchingAcl {
    let (error_code, message) = error.map_or((ErrorCode::NONE, None), |error| error.answer());
    DeleteAclsMatchingAcl {
        error_code,
        error_message: message.map(Str::from_static),
        resource_type: resource.kind.code(),
        resource_name: resource.name,
        pattern_type: resource.pattern.code(),
        principal: entry.principal,
        host: entry.host,
        operation: entry.operation.code(),
        permission_type: entry.permission.code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_version_0_any_means_literal_and_other_patterns_are_malformed() {
        let filter = |pattern: PatternType| DescribeAclsRequest {
            resource_type_filter: 1,
            pattern_type_filter: pattern.code(),
            operation: 1,
            permission_type: 1,
            ..Default::default()
        };
        let mut any = filter(PatternType::Any);
        any.check(0).unwrap();
        assert_eq!(any.pattern_type_filter, PatternType::Literal.code());
        let mut any = filter(PatternType::Any);
        any.check(1).unwrap();
        assert_eq!(any.pattern_type_filter, PatternType::Any.code());
        assert!(filter(PatternType::Match).check(0).is_err());
        assert!(filter(PatternType::Match).check(3).is_ok());
        assert!(filter(PatternType::Unknown).check(3).is_err());
    }

    #[test]
    fn the_cluster_has_one_name_and_nothing_has_none() {
        let named = |kind, name: &'static str| {
            let name = Str::from_static(name);
            misnamed(&Resource { kind, pattern: PatternType::Literal, name })
        };
        assert_eq!(named(ResourceType::Cluster, CLUSTER_NAME), None);
        assert_eq!(
            named(ResourceType::Cluster, "c").unwrap(),
            "The only valid name for the CLUSTER resource is kafka-cluster"
        );
        assert_eq!(named(ResourceType::Topic, "").unwrap(), "Invalid empty resource name");
    }

    #[test]
    fn prefixes_are_for_clusters_whose_brokers_all_know_them() {
        let (kind, name) = (ResourceType::Topic, "t".into());
        let prefixed = Resource { kind, pattern: PatternType::Prefixed, name };
        let refused = not_to_be_stored(&prefixed, MetadataVersion::V2_0Iv0).unwrap();
        let message = "Adding ACLs on prefixed resource patterns requires inter.broker.protocol.version of 2.0-IV1 or greater";
        assert_eq!(refused, (ErrorCode::UNSUPPORTED_VERSION, message.to_owned()));
        assert_eq!(not_to_be_stored(&prefixed, MetadataVersion::V2_0Iv1), None);
        let literal = Resource { pattern: PatternType::Literal, ..prefixed };
        assert_eq!(not_to_be_stored(&literal, MetadataVersion::V2_0Iv0), None);
    }
}
