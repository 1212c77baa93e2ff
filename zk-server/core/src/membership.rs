//! Which members count: those of the last committed configuration, and while another one is proposed, those too.
//!
//! A decision needs a quorum of both. A proposed configuration is on stable storage before anything that was decided
//! under it, so that no restart forgets whom to ask.

use crate::config::{CoreConfig, Ensemble, Role};
use crate::event::Effect;
use std::collections::BTreeSet;
use wire::zk::{Sid, Zxid};

#[derive(Debug, Clone)]
pub struct Membership {
    committed: Ensemble,
    /// The last one seen, where it is newer.
    proposed: Option<Ensemble>,
    /// Otherwise the members are those of the file for as long as the server runs (`reconfigEnabled`).
    enabled: bool,
}

impl Membership {
    /// `None` for a server of its own.
    pub fn new(config: &CoreConfig) -> Option<Membership> {
        let committed = config.ensemble.clone()?;
        let enabled = config.reconfig.enabled;
        let newer = |proposed: &Ensemble| enabled && proposed.version > committed.version;
        let proposed = config.reconfig.proposed.clone().filter(newer);
        Some(Membership { committed, proposed, enabled })
    }

    pub fn committed(&self) -> &Ensemble {
        &self.committed
    }

    pub fn proposed(&self) -> Option<&Ensemble> {
        self.proposed.as_ref()
    }

    pub fn last_seen(&self) -> &Ensemble {
        self.proposed.as_ref().unwrap_or(&self.committed)
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    fn all(&self) -> impl Iterator<Item = &Ensemble> {
        std::iter::once(&self.committed).chain(&self.proposed)
    }

    /// Votes in one of them, at least.
    pub fn is_voter(&self, sid: Sid) -> bool {
        self.all().any(|ensemble| ensemble.is_voter(sid))
    }

    /// Whether a server of this id may be elected.
    pub fn may_lead(&self, sid: Sid) -> bool {
        self.all().any(|ensemble| ensemble.may_lead(sid))
    }

    pub fn voters(&self) -> BTreeSet<Sid> {
        self.all().flat_map(Ensemble::voters).collect()
    }

    pub fn is_member(&self, sid: Sid) -> bool {
        self.all().any(|ensemble| ensemble.members.contains_key(&sid))
    }

    /// `sids`, each named once, are enough to decide.
    pub fn is_quorum(&self, sids: impl Iterator<Item = Sid> + Clone) -> bool {
        self.all().all(|ensemble| ensemble.is_quorum(sids.clone()))
    }

    /// The largest zxid of which all up to it is decided, by what each server has. From the transaction on that
    /// proposes other members, they have to have it as well.
    pub fn reached(&self, of: impl Fn(Sid) -> Zxid) -> Zxid {
        let reached = self.committed.reached(&of);
        match &self.proposed {
            Some(proposed) if proposed.version <= reached => {
                proposed.reached(of).clamp(proposed.version - 1, reached)
            }
            _ => reached,
        }
    }

    /// Another configuration is on its way. One that is not newer than what counts takes back what was on its way.
    pub fn propose(&mut self, ensemble: Ensemble, out: &mut Vec<Effect>) {
        if !self.enabled || ensemble.version == self.last_seen().version {
            return;
        }
        self.proposed = (ensemble.version > self.committed.version).then_some(ensemble);
        out.push(Effect::StoreProposedMembers { members: self.proposed.clone().map(Box::new) });
    }

    /// A configuration counts from here on. Returns the one before, `None` where this one is no news.
    pub fn commit(&mut self, ensemble: Ensemble, out: &mut Vec<Effect>) -> Option<Ensemble> {
        if !self.enabled || ensemble.version <= self.committed.version {
            return None;
        }
        if self.proposed.as_ref().is_some_and(|proposed| proposed.version <= ensemble.version) {
            self.proposed = None;
        }
        out.push(Effect::ActivateMembers { members: Box::new(ensemble.clone()) });
        Some(std::mem::replace(&mut self.committed, ensemble))
    }
}

/// Whether a server of this id looks on; whoever is no member follows, and has no vote.
pub fn observes(ensemble: &Ensemble, sid: Sid) -> bool {
    ensemble.role(sid) == Some(Role::Observer)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::Reconfig;

    /// Numbered members, of this version.
    pub(crate) fn ensemble(voters: &[Sid], version: i64) -> Ensemble {
        let ensemble = crate::config::tests::ensemble(voters, &[]);
        Ensemble::new(ensemble.members, ensemble.quorums, version)
    }

    fn membership(committed: &[Sid]) -> Membership {
        let reconfig = Reconfig { enabled: true, ..Reconfig::default() };
        let config = crate::zab::tests::config(1, Some(ensemble(committed, 10)));
        Membership::new(&CoreConfig { reconfig, ..config }).unwrap()
    }

    /// Between `from` and `to`.
    pub(crate) fn changing(from: &[Sid], to: &[Sid]) -> Membership {
        let mut members = membership(from);
        members.propose(ensemble(to, 20), &mut vec![]);
        members
    }

    #[test]
    fn while_others_are_proposed_both_decide() {
        let mut members = membership(&[1, 2, 3]);
        let mut out = vec![];
        members.propose(ensemble(&[3, 4, 5], 20), &mut out);
        assert!(matches!(&out[..], [Effect::StoreProposedMembers { members: Some(_) }]));
        let quorum = |members: &Membership, sids: &[Sid]| members.is_quorum(sids.iter().copied());
        assert!(!quorum(&members, &[1, 2, 3]) && !quorum(&members, &[3, 4, 5]));
        assert!(quorum(&members, &[2, 3, 4]));
        assert_eq!(members.voters().into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        out.clear();
        let before = members.commit(ensemble(&[3, 4, 5], 20), &mut out).unwrap();
        assert_eq!(before.version, 10);
        assert!(matches!(&out[..], [Effect::ActivateMembers { .. }]));
        assert!(quorum(&members, &[4, 5]) && !members.is_voter(2));
        assert_eq!(members.commit(ensemble(&[1], 20), &mut out), None, "no news");
    }

    #[test]
    fn what_came_before_the_proposal_needs_the_old_members_only() {
        let mut members = membership(&[1, 2, 3]);
        members.propose(ensemble(&[3, 4, 5], 20), &mut vec![]);
        let reached = |has: [Zxid; 6]| members.reached(|sid| has[sid as usize]);
        assert_eq!(reached([0, 25, 25, 25, 0, 0]), 19);
        assert_eq!(reached([0, 15, 15, 0, 0, 0]), 15);
        assert_eq!(reached([0, 25, 24, 23, 21, 0]), 21);
        assert_eq!(reached([0, 25, 24, 23, 30, 30]), 24);
    }

    #[test]
    fn a_leader_s_word_takes_a_proposal_back() {
        let mut members = membership(&[1, 2, 3]);
        let mut out = vec![];
        members.propose(ensemble(&[4], 20), &mut out);
        members.propose(ensemble(&[5], 15), &mut out);
        assert_eq!(members.last_seen().version, 15);
        members.propose(ensemble(&[1, 2, 3], 10), &mut out);
        assert_eq!((members.last_seen().version, members.proposed()), (10, None));
        assert!(matches!(out.last(), Some(Effect::StoreProposedMembers { members: None })));
    }

    #[test]
    fn without_the_switch_the_members_stay() {
        let config = crate::zab::tests::config(1, Some(ensemble(&[1, 2, 3], 0)));
        let mut members = Membership::new(&config).unwrap();
        let mut out = vec![];
        members.propose(ensemble(&[1], 20), &mut out);
        assert_eq!(members.commit(ensemble(&[1], 20), &mut out), None);
        assert!(out.is_empty() && members.last_seen().version == 0);
    }
}
