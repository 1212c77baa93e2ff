//! Which sets of servers decide: more than half of the voters, or more than half of the groups by the weight of their
//! members (`group.N`, `weight.N`).

use crate::config::Role;
use crate::member::Member;
use std::collections::BTreeMap;
use std::fmt;
use wire::zk::Sid;

/// How votes and acknowledgements are counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Quorums {
    /// Every voter counts the same.
    #[default]
    Majority,
    Hierarchical(Groups),
}

impl Quorums {
    /// What the vote of a member weighs; nobody votes for one that weighs nothing.
    pub fn weight(&self, sid: Sid) -> u64 {
        match self {
            Quorums::Majority => 1,
            Quorums::Hierarchical(groups) => groups.weights.get(&sid).copied().unwrap_or(0),
        }
    }
}

/// Every participant's group and weight. A group stands behind a decision when more than half of its weight does; the
/// decision is made when more than half of the groups that weigh something stand behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    group_of: BTreeMap<Sid, i64>,
    /// Of everybody who stands in a group, and of whomever a `weight.N` line names.
    weights: BTreeMap<Sid, u64>,
    /// Of each group that weighs something, the weight of its members together, observers among them.
    totals: BTreeMap<i64, u64>,
}

impl Groups {
    /// `sids` are voters, each named once.
    pub fn is_quorum(&self, sids: impl Iterator<Item = Sid>) -> bool {
        let mut sums: BTreeMap<i64, u64> = BTreeMap::new();
        for sid in sids {
            if let Some(group) = self.group_of.get(&sid) {
                *sums.entry(*group).or_default() += self.weights[&sid];
            }
        }
        let won = |(group, sum): (&i64, &u64)| self.totals.get(group).is_some_and(|total| *sum > total / 2);
        sums.iter().filter(|sum| won(*sum)).count() > self.totals.len() / 2
    }
}

/// The canonical lines, each with its newline, as they stand between the `server.N` lines and `version=`.
impl fmt::Display for Quorums {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Quorums::Hierarchical(Groups { group_of, weights, .. }) = self else { return Ok(()) };
        let mut members: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for sid in hash_order(group_of.keys().copied()) {
            members.entry(group_of[&sid]).or_default().push(sid.to_string());
        }
        for group in hash_order(members.keys().copied()) {
            writeln!(f, "group.{group}={}", members[&group].join(":"))?;
        }
        for sid in hash_order(weights.keys().copied()) {
            writeln!(f, "weight.{sid}={}", weights[&sid])?;
        }
        Ok(())
    }
}

/// Java's servers write lines in the order of a `HashMap<Long, _>`: ascending until a number outgrows the table.
pub fn hash_order(keys: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut keys: Vec<i64> = keys.collect();
    let mut slots = 16;
    while keys.len() * 4 > slots * 3 {
        slots *= 2;
    }
    keys.sort_by_key(|key| {
        let hash = (*key ^ (*key as u64 >> 32) as i64) as u32;
        (hash ^ hash >> 16) as usize & (slots - 1)
    });
    keys
}

/// The `group.N=sid:sid:...` and `weight.N=n` lines of a configuration while they are read. Without any, quorums are
/// majorities.
#[derive(Debug, Clone, Default)]
pub struct QuorumLines {
    group_of: BTreeMap<Sid, i64>,
    weights: BTreeMap<Sid, u64>,
    hierarchical: bool,
}

impl QuorumLines {
    /// Whether [`QuorumLines::read`] takes lines with this key.
    pub fn is_one(key: &str) -> bool {
        key.starts_with("group.") || key.starts_with("weight.")
    }

    /// Takes one line, whose key [`QuorumLines::is_one`] knows. The error says what is wrong with it.
    pub fn read(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = |text: &str| -> Result<i64, String> {
            text.trim().parse().map_err(|_| format!("`{text}` is not a number"))
        };
        self.hierarchical = true;
        if let Some(sid) = key.strip_prefix("weight.") {
            let weight = value.trim().parse::<u32>().map_err(|_| {
                format!("`{value}` is not a weight: write a whole number from 0 to {}", u32::MAX)
            })?;
            self.weights.insert(number(sid)?, weight.into());
            return Ok(());
        }
        let group = number(key.strip_prefix("group.").unwrap_or(key))?;
        for sid in value.split(':') {
            let sid = number(sid)?;
            if self.group_of.insert(sid, group).is_some() {
                return Err(format!("Server {sid} is in multiple groups"));
            }
        }
        Ok(())
    }

    /// Checks the lines against each other and the members. A participant without a weight weighs 1.
    pub fn finish(mut self, members: &BTreeMap<Sid, Member>) -> Result<Quorums, String> {
        if !self.hierarchical {
            return Ok(Quorums::Majority);
        }
        for (sid, _) in members.iter().filter(|(_, member)| member.role == Role::Participant) {
            if !self.group_of.contains_key(sid) {
                return Err(format!("Server {sid} is not in a group"));
            }
            self.weights.entry(*sid).or_insert(1);
        }
        let mut totals: BTreeMap<i64, u64> = BTreeMap::new();
        for (sid, group) in &self.group_of {
            let Some(weight) = self.weights.get(sid) else {
                return Err(format!(
                    "group.{group} names {sid}, which is no participant: remove it there, or write weight.{sid}"
                ));
            };
            *totals.entry(*group).or_default() += weight;
        }
        totals.retain(|_, total| *total > 0);
        Ok(Quorums::Hierarchical(Groups { group_of: self.group_of, weights: self.weights, totals }))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Lines such as `group.1=1:2`.
    pub(crate) fn read(lines: &[&str], members: &BTreeMap<Sid, Member>) -> Result<Quorums, String> {
        let mut all = QuorumLines::default();
        for line in lines {
            let (key, value) = line.split_once('=').unwrap();
            assert!(QuorumLines::is_one(key));
            all.read(key, value)?;
        }
        all.finish(members)
    }

    fn quorums(lines: &[&str], voters: &[Sid], observers: &[Sid]) -> Result<Quorums, String> {
        read(lines, &crate::config::tests::members(voters, observers))
    }

    fn check(lines: &[&str], voters: &[Sid], sids: &[Sid], expect: bool) {
        let Ok(Quorums::Hierarchical(groups)) = quorums(lines, voters, &[]) else { panic!("{lines:?}") };
        assert_eq!(groups.is_quorum(sids.iter().copied()), expect, "{lines:?} {sids:?}");
    }

    #[test]
    fn most_of_the_groups_decide_each_by_most_of_its_weight() {
        let nine = ["group.1=1:2:3", "group.2=4:5:6", "group.3=7:8:9"];
        let all = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        check(&nine, &all, &[1, 2, 4, 5], true);
        check(&nine, &all, &[1, 2, 3, 4, 7], false);
        check(&nine, &all, &[1, 2, 3], false);
        check(&nine, &all, &[], false);
    }

    #[test]
    fn a_heavy_member_outweighs_its_group() {
        let lines = ["group.1=1:2:3", "weight.1=3"];
        check(&lines, &[1, 2, 3], &[1], true);
        check(&lines, &[1, 2, 3], &[2, 3], false);
        let even = ["group.1=1:2", "weight.1=2", "weight.2=2"];
        check(&even, &[1, 2], &[1], false);
    }

    #[test]
    fn groups_that_weigh_nothing_are_not_asked() {
        let lines = ["group.1=1:2:3", "group.2=4:5", "weight.4=0", "weight.5=0"];
        check(&lines, &[1, 2, 3, 4, 5], &[1, 2], true);
        check(&lines, &[1, 2, 3, 4, 5], &[1, 4, 5], false);
        let two = ["group.1=1", "group.2=2"];
        check(&two, &[1, 2], &[1], false);
        let nobody = ["group.1=1:2", "weight.1=0", "weight.2=0"];
        check(&nobody, &[1, 2], &[1, 2], false);
    }

    #[test]
    fn the_lines_come_back_in_java_s_order_with_every_weight() {
        let lines = ["weight.33=2", "group.2=16:33", "group.1=2:1"];
        let quorums = quorums(&lines, &[1, 2, 16, 33], &[]).unwrap();
        assert_eq!(
            quorums.to_string(),
            "group.1=1:2\ngroup.2=16:33\nweight.16=1\nweight.1=1\nweight.33=2\nweight.2=1\n"
        );
        assert_eq!(Quorums::Majority.to_string(), "");
    }

    #[test]
    fn numbers_beyond_the_table_come_in_java_s_order() {
        assert_eq!(hash_order([1, 2, 16, 33].into_iter()), [16, 1, 33, 2]);
    }

    #[test]
    fn an_observer_in_a_group_needs_a_weight_and_then_adds_to_the_total() {
        let lines = ["group.1=1:2:3"];
        assert!(quorums(&lines, &[1, 2], &[3]).unwrap_err().contains("no participant"));
        let lines = ["group.1=1:2:3", "weight.3=2"];
        let Ok(Quorums::Hierarchical(groups)) = quorums(&lines, &[1, 2], &[3]) else { panic!() };
        assert!(!groups.is_quorum([1, 2].into_iter()));
    }

    #[test]
    fn lines_that_contradict_each_other_are_told() {
        let check = |lines: &[&str], part: &str| {
            let why = quorums(lines, &[1, 2], &[]).unwrap_err();
            assert!(why.contains(part), "{why}");
        };
        check(&["group.1=1:2", "group.2=2"], "Server 2 is in multiple groups");
        check(&["group.1=1"], "Server 2 is not in a group");
        check(&["weight.1=1"], "Server 1 is not in a group");
        check(&["group.1=1:x"], "`x` is not a number");
        check(&["group.x=1:2"], "`x` is not a number");
        check(&["group.1=1:2", "weight.1=-1"], "`-1` is not a weight");
        check(&["group.1=1:2:7"], "group.1 names 7, which is no participant");
    }
}
