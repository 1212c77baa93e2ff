//! A change of the members, checked in the real server's order.

use super::Step;
use crate::config::Ensemble;
use crate::ensemble_text::{TextError, number};
use crate::member::Member;
use crate::membership::Membership;
use crate::quorums::Quorums;
use std::collections::BTreeSet;
use wire::Str;
use wire::zk::txn::{SetDataTxn, TxnRecord};
use wire::zk::{ReconfigRequest, Sid, err, perm};

/// What a leader knows of its ensemble when it prepares a change of it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub members: &'a Membership,
    /// Itself and the followers, with a vote or without, that are in sync.
    pub synced: &'a BTreeSet<Sid>,
}

impl Step<'_> {
    pub(super) fn reconfig(&mut self, request: ReconfigRequest) -> Result<TxnRecord, i32> {
        if !self.prepare.reconfig.enabled {
            return Err(err::RECONFIG_DISABLED);
        }
        self.check_session()?;
        let Some(View { members, synced }) = self.view else { return Err(err::UNIMPLEMENTED) };
        if members.proposed().is_some() {
            return Err(err::RECONFIG_IN_PROGRESS);
        }
        let now = members.committed();
        if request.config_id != -1 && request.config_id != now.version {
            return Err(err::BAD_VERSION);
        }
        let next = match &request.members {
            Some(text) => replaced(text, self.prepare.reconfig.standalone, self.zxid),
            None => changed(now, request.joining.as_deref(), request.leaving.as_deref(), self.zxid),
        };
        let next = next.map_err(|wrong| wrong.code)?;
        let single = next.members.values().all(|member| member.quorum.len() <= 1);
        if !single && !self.prepare.multi_address {
            return Err(err::BAD_ARGUMENTS);
        }
        let voters_min = if self.prepare.reconfig.standalone { 2 } else { 1 };
        if next.voters().count() < voters_min {
            return Err(err::BAD_ARGUMENTS);
        }
        if !next.is_quorum(synced.iter().copied()) {
            return Err(err::NEW_CONFIG_NO_QUORUM);
        }
        let path = Str::from_static("/zookeeper/config");
        let mut node = self.node(&path)?;
        self.check_acl(&node, perm::WRITE)?;
        let data = next.text.into_bytes();
        node.stat.version = -1;
        node.stat.mtime = self.now.wall;
        node.stat.mzxid = self.zxid;
        node.set_data(&path, Some(&data));
        self.put(&path, node);
        Ok(TxnRecord::Reconfig(SetDataTxn { path, data: Some(data), version: -1 }))
    }
}

/// All members given anew: lines, or with commas between them.
fn replaced(text: &str, standalone: bool, version: i64) -> Result<Ensemble, TextError> {
    let next = Ensemble::parse(&text.replace(',', "\n"))?;
    next.check(standalone)?;
    Ok(Ensemble::new(next.members, next.quorums, version))
}

/// Members that go, then members that come or come with another line.
fn changed(
    now: &Ensemble,
    joining: Option<&str>,
    leaving: Option<&str>,
    version: i64,
) -> Result<Ensemble, TextError> {
    if now.quorums != Quorums::Majority {
        let why = "Incremental reconfiguration requested but last configuration seen has a non-majority quorum \
                   system";
        return Err(TextError::senseless(why));
    }
    let mut members = now.members.clone();
    for sid in items(leaving) {
        members.remove(&number(sid)?);
    }
    for joiner in items(joining) {
        let parts: Vec<&str> = joiner.split('=').collect();
        let [key, spec] = parts[..] else {
            return Err(TextError::senseless("Wrong format of server string"));
        };
        let sid = number(key.rsplit('.').next().unwrap_or(key))?;
        let member = Member::parse(sid, spec).map_err(TextError::senseless)?;
        if member.client.is_none() {
            let why = "Wrong format of server string - each server should have 3 ports specified";
            return Err(TextError::senseless(why));
        }
        let others = members.iter().filter(|(other, _)| **other != sid);
        if let Some(why) = others.filter_map(|(_, other)| member.collides(other)).next() {
            return Err(TextError::senseless(why));
        }
        members.insert(sid, member);
    }
    Ok(Ensemble::new(members, Quorums::Majority, version))
}

/// What stands between commas, without blanks and empty items.
fn items(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Ensemble {
        Ensemble::parse("server.1=a:1:2;5\nserver.2=b:1:2;5\nserver.3=c:1:2:observer;5\nversion=7").unwrap()
    }

    fn text(joining: &str, leaving: &str) -> Result<String, i32> {
        let next = changed(&now(), Some(joining), Some(leaving), 9).map_err(|wrong| wrong.code)?;
        Ok(next.text.replace(":participant;0.0.0.0:5", "").replace('\n', " "))
    }

    #[test]
    fn members_go_come_and_change() {
        assert_eq!(
            text("server.4=d:1:2;5, server.3=c:1:2;5", "1").as_deref(),
            Ok("server.2=b:1:2 server.3=c:1:2 server.4=d:1:2 version=9")
        );
        assert_eq!(text("", "77").map(|text| text.len()), text("", "").map(|text| text.len()));
    }

    #[test]
    fn wrong_changes_are_refused() {
        let bad = Err(err::BAD_ARGUMENTS);
        assert_eq!(text("server.4=d:1:2", ""), bad, "no client port");
        assert_eq!(text("server.4", ""), bad);
        assert_eq!(text("server.4=d:1:1;5", ""), bad, "one port twice");
        assert_eq!(text("server.4=a:1:9;8", ""), bad, "server 1's quorum port");
        assert_eq!(
            text("server.4=a:8:9;5", "").map(|_| ()),
            Ok(()),
            "clients' wildcards are of other machines"
        );
        assert_eq!(text("", "x"), Err(err::MARSHALLING));
        assert_eq!(text("server.x=d:1:2;5", ""), Err(err::MARSHALLING));
    }

    #[test]
    fn groups_are_replaced_as_a_whole_only() {
        let groups = "server.1=a:1:2;5,server.2=b:1:2;5,group.1=1:2";
        let now = replaced(groups, true, 8).unwrap();
        assert!(now.text.ends_with("group.1=1:2\nweight.1=1\nweight.2=1\nversion=8"));
        assert_eq!(changed(&now, None, Some("1"), 9).map_err(|wrong| wrong.code), Err(err::BAD_ARGUMENTS));
        assert_eq!(replaced("server.1=a:1:2:observer", false, 8).map_err(|e| e.code), Err(err::MARSHALLING));
        let one = replaced("server.1=a:1:2", true, 8).unwrap();
        assert_eq!(one.voters().count(), 1);
    }
}
