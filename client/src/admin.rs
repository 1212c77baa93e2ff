//! Administration: topics, configurations, groups, offsets. What has no method here is called through
//! [`Admin::call`], with any request of [`wire::kafka`].

use crate::TopicPartition;
use crate::cluster::{Cluster, Metadata, Target, renamed};
use crate::consumer::{Committed, ListedOffset, commit_offsets, commit_request, fetch_offsets, list_offsets};
use crate::error::ClientError;
use crate::options::ClientOptions;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wire::Str;
use wire::kafka::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use wire::kafka::create_partitions::CreatePartitionsTopic;
use wire::kafka::create_topics::{CreatableTopic, CreatableTopicResult};
use wire::kafka::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::kafka::delete_topics::DeleteTopicState;
use wire::kafka::describe_configs::{DescribeConfigsResource, DescribeConfigsResult};
use wire::kafka::describe_groups::DescribedGroup;
use wire::kafka::incremental_alter_configs::AlterConfigsResource;
use wire::kafka::list_groups::ListedGroup;
use wire::kafka::list_partition_reassignments::OngoingTopicReassignment;
use wire::kafka::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::kafka::{
    AlterPartitionReassignmentsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeClusterResponse,
    DescribeConfigsRequest, DescribeGroupsRequest, ErrorCode, IncrementalAlterConfigsRequest,
    ListGroupsRequest, ListPartitionReassignmentsRequest, OffsetDeleteRequest, Request, Uuid,
};

/// What each item of a request with many came to.
pub type Results<K, V> = BTreeMap<K, Result<V, ClientError>>;

/// `resource_type` of a topic in DescribeConfigs and AlterConfigs.
pub const TOPIC: i8 = 2;
/// `resource_type` of a broker.
pub const BROKER: i8 = 4;

/// A handle; clones share connections.
#[derive(Debug, Clone)]
pub struct Admin {
    cluster: Cluster,
}

impl Admin {
    /// Connects to nobody yet.
    pub fn new(options: ClientOptions) -> Admin {
        Admin { cluster: Cluster::new(options) }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Any request; `error` finds the error in the response that asks for another try, such as NOT_CONTROLLER.
    pub async fn call<R: Request>(
        &self,
        target: &Target,
        request: &R,
        error: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<R::Response, ClientError> {
        self.cluster.call(target, request, error).await
    }

    fn timeout_ms(&self) -> i32 {
        self.cluster.options().request_timeout.as_millis() as i32
    }

    /// Metadata of all topics (`None`) or of these; a topic that is not there has its error in it.
    pub async fn metadata(&self, topics: Option<&[Str]>) -> Result<Arc<Metadata>, ClientError> {
        let call = if topics.is_some() { "describeTopics" } else { "listTopics" };
        let fetched = self.cluster.fetch_metadata(topics, false, self.cluster.deadline()).await;
        fetched.map_err(|error| renamed(error, call))
    }

    pub async fn describe_cluster(&self) -> Result<DescribeClusterResponse, ClientError> {
        let request = DescribeClusterRequest::default();
        let response = self.call(&Target::Any, &request, |response| response.error_code).await?;
        ClientError::check(response.error_code, &response.error_message)?;
        Ok(response)
    }

    pub async fn create_topics(
        &self,
        topics: Vec<CreatableTopic>,
        validate_only: bool,
    ) -> Result<Results<Str, CreatableTopicResult>, ClientError> {
        let request = CreateTopicsRequest { topics, timeout_ms: self.timeout_ms(), validate_only };
        let response = self
            .call(&Target::Controller, &request, |response| {
                not_controller(response.topics.iter().map(|topic| topic.error_code))
            })
            .await?;
        Ok(response
            .topics
            .into_iter()
            .map(|topic| {
                let checked = ClientError::check(topic.error_code, &topic.error_message);
                (topic.name.clone(), checked.map(|()| topic))
            })
            .collect())
    }

    pub async fn delete_topics(&self, names: &[Str]) -> Result<Results<Str, ()>, ClientError> {
        let request = DeleteTopicsRequest {
            // Up to version 5 there are names only.
            topics: names
                .iter()
                .map(|name| DeleteTopicState { name: Some(name.clone()), topic_id: Uuid::ZERO })
                .collect(),
            topic_names: names.to_vec(),
            timeout_ms: self.timeout_ms(),
        };
        let response = self
            .call(&Target::Controller, &request, |response| {
                not_controller(response.responses.iter().map(|topic| topic.error_code))
            })
            .await?;
        Ok(response
            .responses
            .into_iter()
            .map(|topic| {
                (topic.name.unwrap_or_default(), ClientError::check(topic.error_code, &topic.error_message))
            })
            .collect())
    }

    /// Raises topics to so many partitions.
    pub async fn create_partitions(
        &self,
        topics: Vec<CreatePartitionsTopic>,
    ) -> Result<Results<Str, ()>, ClientError> {
        let request = CreatePartitionsRequest { topics, timeout_ms: self.timeout_ms(), validate_only: false };
        let response = self
            .call(&Target::Controller, &request, |response| {
                not_controller(response.results.iter().map(|topic| topic.error_code))
            })
            .await?;
        Ok(response
            .results
            .into_iter()
            .map(|topic| (topic.name, ClientError::check(topic.error_code, &topic.error_message)))
            .collect())
    }

    /// Resources of type [`BROKER`] are asked of their broker (a name is its id), others of any.
    pub async fn describe_configs(
        &self,
        resources: Vec<DescribeConfigsResource>,
        include_synonyms: bool,
        include_documentation: bool,
    ) -> Result<Vec<DescribeConfigsResult>, ClientError> {
        let mut by_target: BTreeMap<Option<i32>, Vec<DescribeConfigsResource>> = BTreeMap::new();
        for resource in resources {
            let broker =
                (resource.resource_type == BROKER).then(|| resource.resource_name.parse().ok()).flatten();
            by_target.entry(broker).or_default().push(resource);
        }
        let mut results = Vec::new();
        for (broker, resources) in by_target {
            let target = broker.map_or(Target::Any, Target::Broker);
            let request = DescribeConfigsRequest { resources, include_synonyms, include_documentation };
            results.extend(self.call(&target, &request, |_| ErrorCode::NONE).await?.results);
        }
        Ok(results)
    }

    /// Changes single entries; by (type, name) of the resource.
    pub async fn incremental_alter_configs(
        &self,
        resources: Vec<AlterConfigsResource>,
    ) -> Result<Results<(i8, Str), ()>, ClientError> {
        let mut by_target: BTreeMap<Option<i32>, Vec<AlterConfigsResource>> = BTreeMap::new();
        for resource in resources {
            let broker =
                (resource.resource_type == BROKER).then(|| resource.resource_name.parse().ok()).flatten();
            by_target.entry(broker).or_default().push(resource);
        }
        let mut results = BTreeMap::new();
        for (broker, resources) in by_target {
            let target = broker.map_or(Target::Any, Target::Broker);
            let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
            let response = self
                .call(&target, &request, |response| {
                    not_controller(response.responses.iter().map(|resource| resource.error_code))
                })
                .await?;
            results.extend(response.responses.into_iter().map(|resource| {
                let checked = ClientError::check(resource.error_code, &resource.error_message);
                ((resource.resource_type, resource.resource_name), checked)
            }));
        }
        Ok(results)
    }

    /// Moves partitions to other replicas; `None` cancels. The request's error is the result's, each partition's its own.
    pub async fn alter_reassignments(
        &self,
        partitions: BTreeMap<TopicPartition, Option<Vec<i32>>>,
    ) -> Result<Results<TopicPartition, ()>, ClientError> {
        let mut topics: BTreeMap<Str, Vec<ReassignablePartition>> = BTreeMap::new();
        for (partition, replicas) in partitions {
            let reassignable = ReassignablePartition { partition_index: partition.partition, replicas };
            topics.entry(partition.topic).or_default().push(reassignable);
        }
        let topics =
            topics.into_iter().map(|(name, partitions)| ReassignableTopic { name, partitions }).collect();
        let request = AlterPartitionReassignmentsRequest { timeout_ms: self.timeout_ms(), topics };
        let response = self.call(&Target::Controller, &request, |response| response.error_code).await?;
        ClientError::check(response.error_code, &response.error_message)?;
        let mut results = BTreeMap::new();
        for topic in response.responses {
            for partition in topic.partitions {
                let checked = ClientError::check(partition.error_code, &partition.error_message);
                results.insert(TopicPartition::new(topic.name.clone(), partition.partition_index), checked);
            }
        }
        Ok(results)
    }

    /// All reassignments that are under way.
    pub async fn reassignments(&self) -> Result<Vec<OngoingTopicReassignment>, ClientError> {
        let request = ListPartitionReassignmentsRequest { timeout_ms: self.timeout_ms(), topics: None };
        let response = self.call(&Target::Controller, &request, |response| response.error_code).await?;
        ClientError::check(response.error_code, &response.error_message)?;
        Ok(response.topics)
    }

    /// The groups of all brokers, by name; only those in one of `states`, if there are any.
    pub async fn list_groups(&self, states: &[Str]) -> Result<BTreeMap<Str, ListedGroup>, ClientError> {
        let metadata = self.cluster.fetch_metadata(Some(&[]), false, self.cluster.deadline()).await.map_err(
            |error| ClientError::NoBrokers {
                call: "ListGroups",
                cause: Box::new(renamed(error, "findAllBrokers")),
            },
        )?;
        let request = ListGroupsRequest { states_filter: states.to_vec() };
        let mut groups = BTreeMap::new();
        for broker in metadata.brokers.keys() {
            let response =
                self.call(&Target::Broker(*broker), &request, |response| response.error_code).await?;
            ClientError::check(response.error_code, &None)?;
            groups.extend(response.groups.into_iter().map(|group| (group.group_id.clone(), group)));
        }
        Ok(groups)
    }

    /// A group that is not there is described as `Dead`.
    pub async fn describe_group(&self, group: &Str) -> Result<DescribedGroup, ClientError> {
        let request =
            DescribeGroupsRequest { groups: vec![group.clone()], include_authorized_operations: false };
        let first = |response: &wire::kafka::DescribeGroupsResponse| {
            response.groups.first().map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |group| group.error_code)
        };
        let mut response = self.call(&Target::Group(group.clone()), &request, first).await?;
        first(&response).ok()?;
        response.groups.pop().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR.into())
    }

    /// The broker that coordinates a group.
    pub async fn group_coordinator(&self, group: &Str) -> Result<crate::Node, ClientError> {
        let deadline = self.cluster.deadline();
        let connection =
            self.cluster.find(&Target::Group(group.clone()), deadline, "findCoordinator").await?;
        let metadata = self.cluster.metadata();
        let node = metadata.brokers.values().find(|node| node.address() == connection.peer());
        node.cloned().ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE.into())
    }

    pub async fn delete_group(&self, group: &Str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest { groups_names: vec![group.clone()] };
        let first = |response: &wire::kafka::DeleteGroupsResponse| {
            response.results.first().map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |result| result.error_code)
        };
        let response = self.call(&Target::Group(group.clone()), &request, first).await?;
        Ok(first(&response).ok()?)
    }

    /// All that a group has committed.
    pub async fn group_offsets(
        &self,
        group: &Str,
    ) -> Result<BTreeMap<TopicPartition, Committed>, ClientError> {
        fetch_offsets(&self.cluster, group, None).await
    }

    /// Commits for a group that has no members.
    pub async fn alter_group_offsets(
        &self,
        group: &Str,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), ClientError> {
        commit_offsets(&self.cluster, commit_request(group, -1, Str::new(), None, offsets)).await
    }

    pub async fn delete_group_offsets(
        &self,
        group: &Str,
        partitions: &[TopicPartition],
    ) -> Result<Results<TopicPartition, ()>, ClientError> {
        let mut topics: BTreeMap<Str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for partition in partitions {
            let one = OffsetDeleteRequestPartition { partition_index: partition.partition };
            topics.entry(partition.topic.clone()).or_default().push(one);
        }
        let topics =
            topics.into_iter().map(|(name, partitions)| OffsetDeleteRequestTopic { name, partitions });
        let request = OffsetDeleteRequest { group_id: group.clone(), topics: topics.collect() };
        let response =
            self.call(&Target::Group(group.clone()), &request, |response| response.error_code).await?;
        response.error_code.ok()?;
        let mut results = BTreeMap::new();
        for topic in response.topics {
            for partition in topic.partitions {
                let checked = ClientError::check(partition.error_code, &None);
                results.insert(TopicPartition::new(topic.name.clone(), partition.partition_index), checked);
            }
        }
        Ok(results)
    }

    /// Looks offsets up by timestamp (ms, or -1 latest, -2 earliest, -3 largest timestamp); errors that may pass are
    /// retried for as long as one operation may take.
    pub async fn list_offsets(
        &self,
        partitions: &BTreeMap<TopicPartition, i64>,
    ) -> Result<Results<TopicPartition, ListedOffset>, ClientError> {
        let deadline = self.cluster.deadline();
        let mut topics: Vec<Str> = partitions.keys().map(|partition| partition.topic.clone()).collect();
        topics.dedup();
        let (mut results, mut left) = (BTreeMap::new(), partitions.clone());
        while !left.is_empty() {
            self.cluster.fetch_metadata(Some(&topics), false, deadline).await?;
            for (partition, found) in list_offsets(&self.cluster, &left, false).await? {
                let again = found.is_err_and(|code| code.is_retriable());
                if !again || tokio::time::Instant::now() + Duration::from_millis(200) >= deadline {
                    left.remove(&partition);
                    // Of a topic that is there, a partition that is not has no leader, to Java.
                    let there =
                        self.cluster.metadata().topics.get(&partition.topic).is_some_and(|t| t.error.is_ok());
                    let found = found.map_err(|code| match code {
                        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION if there => ErrorCode::LEADER_NOT_AVAILABLE,
                        code => code,
                    });
                    results.insert(partition, found.map_err(ClientError::from));
                }
            }
            if !left.is_empty() {
                self.cluster.back_off().await;
            }
        }
        Ok(results)
    }

    /// Deletes the records before these offsets (-1: all); returns where the partitions start now.
    pub async fn delete_records(
        &self,
        before: &BTreeMap<TopicPartition, i64>,
    ) -> Result<Results<TopicPartition, i64>, ClientError> {
        let mut topics: Vec<Str> = before.keys().map(|partition| partition.topic.clone()).collect();
        topics.dedup();
        let metadata = self.metadata(Some(&topics)).await?;
        let (mut results, mut by_leader) = (BTreeMap::new(), BTreeMap::new());
        for (partition, offset) in before {
            match metadata.leader(&partition.topic, partition.partition) {
                Some(leader) => by_leader
                    .entry(leader)
                    .or_insert_with(BTreeMap::<Str, Vec<DeleteRecordsPartition>>::new)
                    .entry(partition.topic.clone())
                    .or_default()
                    .push(DeleteRecordsPartition { partition_index: partition.partition, offset: *offset }),
                None => {
                    let topic = metadata.topics.get(&partition.topic).map(|topic| topic.error);
                    let code =
                        topic.filter(|code| !code.is_ok()).unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                    results.insert(partition.clone(), Err(code.into()));
                }
            }
        }
        for (leader, topics) in by_leader {
            let topics = topics.into_iter().map(|(name, partitions)| DeleteRecordsTopic { name, partitions });
            let request = DeleteRecordsRequest { topics: topics.collect(), timeout_ms: self.timeout_ms() };
            let response = self.call(&Target::Broker(leader), &request, |_| ErrorCode::NONE).await?;
            for topic in response.topics {
                for partition in topic.partitions {
                    let low =
                        ClientError::check(partition.error_code, &None).map(|()| partition.low_watermark);
                    results.insert(TopicPartition::new(topic.name.clone(), partition.partition_index), low);
                }
            }
        }
        Ok(results)
    }
}

/// The controller has moved if any item says so; other errors are the items' own.
fn not_controller(mut codes: impl Iterator<Item = ErrorCode>) -> ErrorCode {
    codes.find(|code| *code == ErrorCode::NOT_CONTROLLER).unwrap_or_default()
}
