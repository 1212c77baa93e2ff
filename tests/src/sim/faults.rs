//! What goes wrong, and when.

use super::world::{Happening, World};
use rand::RngExt;

/// The time between two faults, ms.
const PAUSE_MS: std::ops::Range<u64> = 100..1200;

impl World {
    /// One fault, chosen by the seed; the next one is scheduled.
    pub fn fault(&mut self) {
        let pause = self.rng.random_range(PAUSE_MS);
        self.schedule(pause, Happening::Fault);
        let node = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..100) {
            0..22 => self.crash_and_return(node),
            22..25 => (0..self.nodes.len()).for_each(|node| self.crash_and_return(node)),
            25..32 => self.crash_leader(),
            32..44 => self.isolate(node),
            44..52 => self.split(),
            52..60 => self.cut_pair(),
            60..72 => self.reset_a_connection(),
            72..80 => {
                let ms = self.rng.random_range(50..2500);
                self.nodes[node].stalled_until = self.now + ms;
                self.note(|| format!("server {} stalls for {ms} ms", node + 1));
            }
            80..88 => {
                let ms = self.rng.random_range(200..3000);
                self.nodes[node].slow_disk_until = self.now + ms;
                self.note(|| format!("server {}'s disk is slow for {ms} ms", node + 1));
            }
            88..93 => {
                self.slow_network_until = self.now + self.rng.random_range(200..2000);
                self.note(|| "the network is slow".into());
            }
            _ => self.snapshot(node),
        }
    }

    fn crash_and_return(&mut self, node: usize) {
        let down = self.rng.random_range(50..3000);
        self.crash(node);
        self.schedule(down, Happening::Boot { node });
    }

    fn crash_leader(&mut self) {
        if let Some(node) = (0..self.nodes.len()).find(|node| self.leads(*node)) {
            self.crash_and_return(node);
        }
    }

    fn isolate(&mut self, node: usize) {
        let others: Vec<usize> = (0..self.nodes.len()).filter(|other| *other != node).collect();
        self.cut(others.into_iter().map(|other| (node, other)).collect());
    }

    fn split(&mut self) {
        let side: Vec<bool> = (0..self.nodes.len()).map(|_| self.rng.random_bool(0.5)).collect();
        let pairs = (0..side.len()).flat_map(|a| (a + 1..side.len()).map(move |b| (a, b)));
        self.cut(pairs.filter(|(a, b)| side[*a] != side[*b]).collect());
    }

    fn cut_pair(&mut self) {
        let a = self.rng.random_range(0..self.nodes.len());
        let b = self.rng.random_range(0..self.nodes.len());
        if a != b {
            self.cut(vec![(a, b)]);
        }
    }

    fn cut(&mut self, pairs: Vec<(usize, usize)>) {
        let ms = self.rng.random_range(100..4000);
        for (a, b) in pairs {
            let pair = (a.min(b), a.max(b));
            self.note(|| format!("no way between {} and {} for {ms} ms", pair.0 + 1, pair.1 + 1));
            *self.cuts.entry(pair).or_default() += 1;
            self.schedule(ms, Happening::Heal { pair });
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
