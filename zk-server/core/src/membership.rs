//! Which members count: those of the last committed configuration, and while another one is proposed, those too.
//!
//! A decision needs a quorum of both. A proposed configuration is on stable storage before anything that was decided
//! under it, so that no restart forgets whom to ask.

use crate::config::{CoreConfig, Ensemble, Role};
use crate::event::Effect;
use crate::quorums::Quorums;
use std::collections::BTreeSet;
use wire::zk::{Sid, Zxid};

#[derive(Debug, Clone)]
pub struct Membership {
    committed: Ensemble,
    /// The last one seen, where it is newer.
    proposed: Option<Ensemble>,
    /// Otherwise the members are those of the file for as long as the server runs (`reconfigEnabled`).
    enabled: bool,
    oracle: Option<Oracle>,
}

/// Of two voters, one may decide alone where the oracle lets it and the other does not follow it (`oraclePath`). It is
/// the oracle's part never to let both: what one has decided alone, the other has to learn before it may do the same.
#[derive(Debug, Clone, Copy)]
struct Oracle {
    me: Sid,
    grants: bool,
    /// Nobody follows this server: while somebody does, he is asked.
    alone: bool,
}

impl Membership {
    /// `None` for a server of its own.
    pub fn new(config: &CoreConfig) -> Option<Membership> {
        let committed = config.ensemble.clone()?;
        let enabled = config.reconfig.enabled;
        let newer = |proposed: &Ensemble| enabled && proposed.version > committed.version;
        let proposed = config.reconfig.proposed.clone().filter(newer);
        let oracle = config.oracle.then_some(Oracle { me: config.myid, grants: false, alone: true });
        Some(Membership { committed, proposed, enabled, oracle })
    }

    pub fn set_oracle(&mut self, grants: bool) {
        if let Some(oracle) = &mut self.oracle {
            oracle.grants = grants;
        }
    }

    pub fn set_alone(&mut self, alone: bool) {
        if let Some(oracle) = &mut self.oracle {
            oracle.alone = alone;
        }
    }

    /// This server decides by the oracle's word, and without it could not.
    pub fn decides_alone(&self) -> bool {
        self.lone_voter(&self.committed).is_some()
    }

    /// The oracle does not let this server lead alone, and so whoever says that he leads does: a quorum of two cannot be
    /// seen from here.
    pub fn follows_lone_leader(&self) -> bool {
        self.oracle.is_some_and(|oracle| !oracle.grants) && has_two_equals(&self.committed)
    }

    /// Who decides alone among these members: this server, if anybody.
    fn lone_voter(&self, ensemble: &Ensemble) -> Option<Sid> {
        let Oracle { me, grants, alone } = self.oracle?;
        (grants && alone && has_two_equals(ensemble) && ensemble.is_voter(me)).then_some(me)
    }

    fn decides(&self, ensemble: &Ensemble, sids: impl Iterator<Item = Sid> + Clone) -> bool {
        let alone = self.lone_voter(ensemble);
        ensemble.is_quorum(sids.clone()) || alone.is_some_and(|me| sids.clone().any(|sid| sid == me))
    }

    /// `sids`, each named once, are enough among the members that count already.
    pub fn is_committed_quorum(&self, sids: impl Iterator<Item = Sid> + Clone) -> bool {
        self.decides(&self.committed, sids)
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
        self.all().all(|ensemble| self.decides(ensemble, sids.clone()))
    }

    /// The largest zxid of which all up to it is decided, by what each server has. From the transaction on that
    /// proposes other members, they have to have it as well.
    pub fn reached(&self, of: impl Fn(Sid) -> Zxid) -> Zxid {
        let among = |ensemble: &Ensemble| match self.lone_voter(ensemble) {
            Some(me) => of(me),
            None => ensemble.reached(&of),
        };
        let reached = among(&self.committed);
        match &self.proposed {
            Some(proposed) if proposed.version <= reached => {
                among(proposed).clamp(proposed.version - 1, reached)
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

/// Two voters that count the same: neither decides without the other.
fn has_two_equals(ensemble: &Ensemble) -> bool {
    ensemble.quorums == Quorums::Majority && ensemble.voters().count() == 2
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

    /// Server 1 of these, with an oracle.
    fn with_oracle(voters: &[Sid]) -> Membership {
        let config = crate::zab::tests::config(1, Some(ensemble(voters, 0)));
        Membership::new(&CoreConfig { oracle: true, ..config }).unwrap()
    }

    #[test]
    fn one_of_two_decides_alone_while_the_oracle_lets_it_and_nobody_follows() {
        let mut members = with_oracle(&[1, 2]);
        let quorum = |members: &Membership, sids: &[Sid]| members.is_quorum(sids.iter().copied());
        let reached = |members: &Membership| members.reached(|sid| [0, 9, 4][sid as usize]);
        assert!(!quorum(&members, &[1]) && quorum(&members, &[1, 2]) && members.follows_lone_leader());
        assert_eq!(reached(&members), 4);
        members.set_oracle(true);
        assert!(quorum(&members, &[1]) && !quorum(&members, &[2]) && !members.follows_lone_leader());
        assert_eq!((reached(&members), members.decides_alone()), (9, true));
        members.set_alone(false);
        assert!(!quorum(&members, &[1]) && quorum(&members, &[1, 2]));
        assert_eq!((reached(&members), members.decides_alone()), (4, false));
    }

    #[test]
    fn of_three_or_of_groups_nobody_decides_alone_whatever_an_oracle_says() {
        let mut three = with_oracle(&[1, 2, 3]);
        three.set_oracle(true);
        assert!(!three.is_quorum([1].into_iter()) && !three.decides_alone());
        three.set_oracle(false);
        assert!(!three.follows_lone_leader());
        let mut without = membership(&[1, 2]);
        without.set_oracle(true);
        assert!(!without.is_quorum([1].into_iter()) && !without.follows_lone_leader());
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
