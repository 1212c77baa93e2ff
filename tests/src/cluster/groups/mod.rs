//! Groups in a simulated cluster (`simulate --groups`): the coordinator's core on every broker, its log replicated as any
//! other and read late and in parts by whoever comes to lead it; members that come, go, fall asleep and die.
//!
//! What must hold ([`checks`]):
//!
//! * an offset that was acknowledged is what later owners find, or a later one: nothing is lost, and nothing goes back;
//! * a partition has one owner in a generation;
//! * who has been replaced, by the next generation or by whoever came back under its instance id, commits no more;
//! * a group does not prepare its rebalance for longer than its members may take;
//! * offsets of a transaction count when it is committed, and not before; a job that reads, works and writes has in its output
//!   all of its input once and in order;
//! * offsets with a time of their own are there until it is over;
//! * whoever reads the coordinator's log anew knows what the coordinator knows, at any time;
//! * after a while of calm every group is stable, and has whoever is there for members.

pub mod checks;
pub mod committer;
pub mod founding;
pub mod inspect;
pub mod job;
pub mod membership;
pub mod requests;
pub mod simple;

use super::clients::Client;
use super::world::World;
use super::{GROUP_TOPIC, Variety, world};
use broker_core::controller::TopicPartition;
use broker_core::group::{Config, Coordinator};
use broker_core::partition::Isolation;
use job::{Job, Plan};
use membership::Manner;

/// The partitions that members share; nobody writes to them.
pub const WORK: &str = "work";
pub const WORK_PARTITIONS: i32 = 4;
/// The longest that members of any group may ask for, ms.
pub const SESSION_MS_MAX: u64 = 1_200;
pub const REBALANCE_MS_MAX: u64 = 800;
/// Groups of members, and simple ones.
pub const GROUPS: [&str; 3] = ["g0", "g1", JOB];
/// Reads, works and writes.
pub const JOB: &str = "job";
/// What the job writes.
pub const OUTPUT: &str = "text";
const SIMPLE: [&str; 2] = ["s0", "s1"];

/// What the job reads: partitions of [`WORK`] stand for these, and those behind them for nothing.
pub fn job_inputs() -> Vec<TopicPartition> {
    ["t0", "t1"].map(|topic| world::tp(topic, 0)).into()
}

impl World {
    /// Coordinators' settings and log, and whoever is in a group.
    pub(super) fn add_groups(&mut self) {
        let delay = [0, 30, 150][self.net.chance(50) as usize + self.net.chance(50) as usize];
        self.net.groups = Config {
            partitions: 2,
            session_ms_min: 100,
            initial_rebalance_delay_ms: delay,
            offsets_retention_ms: 604_800_000,
            ..Config::default()
        };
        self.new_topic_of(GROUP_TOPIC.into(), 2);
        for (group, instances) in [("g0", [None; 4]), ("g1", [None, Some("i0"), Some("i0"), Some("i1")])] {
            for instance in instances {
                let manner = Manner::new(&mut self.net, instance);
                let home = self.home_of(group);
                self.add_client(Client::Committer(committer::Committer::new(group, home, manner)));
            }
        }
        self.add_job();
        for group in SIMPLE {
            let home = self.home_of(group);
            self.add_client(Client::Simple(simple::Simple::new(group, home)));
        }
    }

    /// Members of a job, one of them with an instance id, and whoever reads what they have committed.
    fn add_job(&mut self) {
        self.set_up_transactions();
        self.new_topic_of(OUTPUT.into(), 1);
        let output = world::tp(OUTPUT, 0);
        for (id, instance) in [("a", Some("j0")), ("b", None), ("c", None)] {
            let manner = Manner::new(&mut self.net, instance);
            let homes = [Job::home_of(&self.net.transactions, id), self.home_of(JOB)];
            let plan = Plan { inputs: job_inputs(), output: output.clone(), homes };
            let timeout_ms = [600, 3_000][usize::from(self.net.chance(50))];
            self.add_client(Client::Job(Job::new(JOB, id, plan, manner, timeout_ms)));
        }
        self.add_client(Client::consumer(output, Isolation::ReadCommitted));
    }

    /// Where a group's log is.
    pub(super) fn home_of(&self, group: &str) -> TopicPartition {
        world::tp(GROUP_TOPIC, Coordinator::new(self.net.groups.clone()).partition_for(group))
    }

    pub fn has_groups(&self) -> bool {
        self.variety() == Variety::Groups
    }
}
