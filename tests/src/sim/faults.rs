//! What goes wrong, and when.

use super::Variety;
use super::profile::Fault;
use super::world::{Happening, World};
use rand::RngExt;
use zk_core::Event;
use zk_core::peer::Mode;

impl World {
    /// One fault, chosen by the seed; the next one is scheduled.
    pub fn fault(&mut self) {
        let pause = self.rng.random_range(self.profile.pause_ms.clone());
        self.schedule(pause, Happening::Fault);
        let node = self.rng.random_range(0..self.nodes.len());
        let other = self.rng.random_range(0..self.nodes.len());
        match self.profile.draw(&mut self.rng) {
            Fault::Crash => self.crash_and_return(node),
            Fault::CrashAll => (0..self.nodes.len()).for_each(|node| self.crash_and_return(node)),
            Fault::CrashLeader => self.crash_one(|mode, _| mode == Mode::Leading),
            Fault::CrashNewLeader => self.crash_one(|mode, serving| mode == Mode::Leading && !serving),
            Fault::CrashNewLearner => {
                self.crash_one(|mode, serving| matches!(mode, Mode::Following { .. }) && !serving);
            }
            Fault::Isolate => self.isolate(node),
            Fault::Split => self.split(),
            Fault::CutPair => self.cut(vec![(node, other), (other, node)]),
            Fault::CutOneWay => self.cut(vec![(node, other)]),
            Fault::ResetConnection => self.reset_a_connection(),
            Fault::ResetVotes => self.reset_votes(node, other),
            Fault::Stall => {
                let ms = self.rng.random_range(50..2500);
                self.nodes[node].stalled_until = self.now + ms;
                self.note(|| format!("server {} stalls for {ms} ms", node + 1));
            }
            Fault::SlowDisk => {
                let ms = self.rng.random_range(200..3000);
                self.nodes[node].slow_disk_until = self.now + ms;
                self.note(|| format!("server {}'s disk is slow for {ms} ms", node + 1));
            }
            Fault::SlowNetwork => {
                self.slow_network_until = self.now + self.rng.random_range(200..2000);
                self.note(|| "the network is slow".into());
            }
            Fault::ClockJump => {
                let ms = self.rng.random_range(-3_600_000..3_600_000);
                self.nodes[node].clock.wall_offset += ms;
                self.note(|| format!("server {}'s wall clock jumps by {ms} ms", node + 1));
            }
            Fault::Snapshot => self.begin_snapshot(node),
            Fault::Purge => {
                let count = self.nodes[node].disk.purge();
                self.note(|| format!("server {}'s log loses {count} old transactions", node + 1));
            }
            Fault::DamageLog => self.damage_log(node),
            Fault::DamageSnapshot => self.damage_snapshot(node),
            Fault::FullDisk => {
                let ms = self.rng.random_range(200..3000);
                self.nodes[node].full_disk_until = self.now + ms;
                self.note(|| format!("server {}'s disk is full for {ms} ms", node + 1));
                if self.setup.variety == Variety::FullDisks {
                    self.no_room(node, ms);
                }
            }
            Fault::NoRoom => {
                let ms = self.rng.random_range(300..6000);
                self.no_room(node, ms);
            }
        }
    }

    /// The server is told of its disk as its shell would, which looks now and then.
    fn no_room(&mut self, node: usize, ms: u64) {
        let server = &mut self.nodes[node];
        server.no_room_until = server.no_room_until.max(self.now + ms);
        let until = server.no_room_until;
        self.note(|| format!("server {}'s disk is down to its reserve until {until}", node + 1));
        self.look_at_disk(node);
        self.schedule_at(until, Happening::Room { node });
    }

    pub fn look_at_disk(&mut self, node: usize) {
        let enough = self.nodes[node].no_room_until <= self.now;
        let life = self.nodes[node].life;
        self.deliver(node, life, Event::DiskSpace { enough });
    }

    /// A quorum without this server keeps what it has: nothing survives the loss of more.
    fn is_spare(&self, node: usize) -> bool {
        if self.setup.variety == Variety::Changing {
            return false;
        }
        let Some(ensemble) = &self.nodes[node].config.ensemble else { return false };
        let others = (0..self.nodes.len()).filter(|at| *at != node);
        ensemble.is_quorum(others.filter(|at| self.nodes[*at].disk.is_whole()).map(|at| at as i64 + 1))
    }

    fn damage_snapshot(&mut self, node: usize) {
        if !self.is_spare(node) {
            return;
        }
        if let Some(zxid) = self.nodes[node].disk.damage_snapshot() {
            self.note(|| format!("server {}'s snapshot 0x{zxid:x} goes bad", node + 1));
            self.crash_and_return(node);
        }
    }

    fn damage_log(&mut self, node: usize) {
        let len = self.nodes[node].disk.log_len();
        if len == 0 || !self.is_spare(node) {
            return;
        }
        let at = if self.rng.random_bool(0.5) { len - 1 } else { self.rng.random_range(0..len) };
        self.nodes[node].disk.damage_log(at);
        self.note(|| format!("entry {at} of {len} of server {}'s log goes bad", node + 1));
        self.crash_and_return(node);
    }

    fn crash_and_return(&mut self, node: usize) {
        let down = self.rng.random_range(50..3000);
        self.crash(node);
        self.schedule(down, Happening::Boot { node });
    }

    /// The first server of this mode that serves, or does not.
    fn crash_one(&mut self, meant: fn(Mode, bool) -> bool) {
        let found = self.nodes.iter().position(|node| {
            node.peer.as_ref().is_some_and(|peer| meant(peer.status().mode, peer.status().serving))
        });
        if let Some(node) = found {
            self.crash_and_return(node);
        }
    }

    fn isolate(&mut self, node: usize) {
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        self.cut(others.flat_map(|other| [(node, other), (other, node)]).collect());
    }

    fn split(&mut self) {
        let side: Vec<bool> = (0..self.nodes.len()).map(|_| self.rng.random_bool(0.5)).collect();
        let ways = (0..side.len()).flat_map(|a| (0..side.len()).map(move |b| (a, b)));
        self.cut(ways.filter(|(a, b)| side[*a] != side[*b]).collect());
    }

    fn cut(&mut self, ways: Vec<(usize, usize)>) {
        let ms = self.rng.random_range(100..4000);
        for way in ways.into_iter().filter(|(from, to)| from != to) {
            self.note(|| format!("no way from {} to {} for {ms} ms", way.0 + 1, way.1 + 1));
            *self.cuts.entry(way).or_default() += 1;
            self.schedule(ms, Happening::Heal { way });
        }
    }

    fn reset_a_connection(&mut self) {
        let open: Vec<usize> = (0..self.conns.len()).filter(|conn| self.conns[*conn].open).collect();
        if !open.is_empty() {
            let conn = open[self.rng.random_range(0..open.len())];
            self.note(|| format!("connection {conn} is reset"));
            self.reset(conn);
        }
    }
}
