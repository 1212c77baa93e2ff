//! `kafka-consumer-groups --json`.

use super::consumer_groups::{Failure, MISSING, Row, named, rows};
use super::json;
use base::Given;
use client::Admin;
use client::group::read_assignment;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use wire::Str;
use wire::kafka::describe_groups::{DescribedGroup, DescribedGroupMember};
use wire::kafka::list_groups::ListedGroup;

pub fn list(groups: &BTreeMap<Str, ListedGroup>) {
    let all: Vec<Value> = (groups.values())
        .map(|group| json!({ "group": &*group.group_id, "state": &*group.group_state }))
        .collect();
    json::print(&json!({ "groups": all }));
}

/// A group that is not there has the state `Dead`.
pub async fn describe(admin: &Admin, given: &Given) -> Result<(), Failure> {
    let mut groups = Vec::new();
    for group in named(admin, given).await? {
        let described = admin.describe_group(&group).await?;
        let mut document = json!({ "group": &*group, "state": &*described.group_state });
        if given.has("members") {
            document["members"] = members(&described)?;
        } else if given.has("state") {
            let node = admin.group_coordinator(&group).await?;
            document["coordinator"] = json!({ "id": node.id, "host": &*node.host, "port": node.port });
            document["assignment_strategy"] = json!(&*described.protocol_data);
            document["member_count"] = json!(described.members.len());
        } else {
            let rows = rows(admin, &group, &described).await?;
            document["offsets"] = rows.iter().map(offset).collect();
        }
        groups.push(document);
    }
    json::print(&json!({ "groups": groups }));
    Ok(())
}

fn offset(row: &Row) -> Value {
    let [consumer, host, client] = &row.consumer;
    let known = |text: &String| (text != MISSING).then(|| text.clone());
    json!({
        "topic": &*row.partition.topic,
        "partition": row.partition.partition,
        "current_offset": row.offset,
        "log_end_offset": row.end,
        "lag": row.offset.map(|offset| row.end - offset),
        "consumer_id": known(consumer),
        "host": known(host),
        "client_id": known(client),
    })
}

fn members(described: &DescribedGroup) -> Result<Value, Failure> {
    let member = |member: &DescribedGroupMember| {
        let partitions: Vec<Value> = (read_assignment(&member.member_assignment)?.iter())
            .map(|one| json!({ "topic": &*one.topic, "partition": one.partition }))
            .collect();
        Ok(json!({
            "consumer_id": &*member.member_id,
            "group_instance_id": member.group_instance_id.as_deref(),
            "host": &*member.client_host,
            "client_id": &*member.client_id,
            "partitions": partitions,
        }))
    };
    described.members.iter().map(member).collect()
}
