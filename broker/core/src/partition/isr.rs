//! The in-sync set of a leader: what is written in ZooKeeper, and what is asked for.

/// At most one change is under way. While it is an expansion, the replica to come already counts: records are only
/// committed when it has them too, whether or not the controller agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Isr {
    committed: Vec<i32>,
    pending: Option<Pending>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub request: u64,
    /// What was asked for.
    pub isr: Vec<i32>,
    /// The newcomer of an expansion.
    pub joining: Option<i32>,
}

impl Isr {
    pub fn new(committed: Vec<i32>) -> Isr {
        Isr { committed, pending: None }
    }

    pub fn committed(&self) -> &[i32] {
        &self.committed
    }

    pub fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// In the committed set, or about to join it.
    pub fn maximal_contains(&self, id: i32) -> bool {
        self.committed.contains(&id) || self.pending.as_ref().is_some_and(|p| p.joining == Some(id))
    }

    pub fn maximal_len(&self) -> usize {
        self.committed.len() + usize::from(self.pending.as_ref().is_some_and(|p| p.joining.is_some()))
    }

    /// Asks for one more member.
    pub fn expand(&mut self, request: u64, id: i32) -> &[i32] {
        let mut isr = self.committed.clone();
        isr.push(id);
        self.pending.insert(Pending { request, isr, joining: Some(id) }).isr.as_slice()
    }

    /// Asks for fewer members.
    pub fn shrink(&mut self, request: u64, out_of_sync: &[i32]) -> &[i32] {
        let isr = self.committed.iter().copied().filter(|id| !out_of_sync.contains(id)).collect();
        self.pending.insert(Pending { request, isr, joining: None }).isr.as_slice()
    }

    /// The controller wrote this.
    pub fn commit(&mut self, isr: Vec<i32>) {
        self.committed = isr;
        self.pending = None;
    }

    /// The controller refused, and nothing was written.
    pub fn reset(&mut self) {
        self.pending = None;
    }
}
