//! Two images -> what has to be done so that the second becomes the first.

use super::image::{self, Image, Kind, NodeImage};
use bytes::Bytes;
use std::collections::BTreeSet;
use wire::zk::Acl;

/// One change. Versions are those of the image of now: a server refuses the change where somebody was faster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Create { path: String, data: Option<Bytes>, acl: Vec<Acl>, kind: Kind },
    SetData { path: String, data: Option<Bytes>, version: i32 },
    Delete { path: String, version: i32 },
    SetAcl { path: String, acl: Vec<Acl>, aversion: i32 },
}

impl Step {
    pub fn path(&self) -> &str {
        match self {
            Step::Create { path, .. }
            | Step::SetData { path, .. }
            | Step::Delete { path, .. }
            | Step::SetAcl { path, .. } => path,
        }
    }

    /// About what it takes of a request.
    fn size(&self) -> usize {
        let data = match self {
            Step::Create { data, .. } | Step::SetData { data, .. } => data.as_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        self.path().len() + data + 128
    }
}

/// What stays as it is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub path: String,
    pub why: String,
}

/// In the order in which the steps have to be taken: creates from the top, data, deletes from the bottom, ACLs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub left: Vec<Left>,
}

/// What makes `now` as it was `then`. Both hold the same subtree.
pub fn plan(then: &Image, now: &Image) -> Plan {
    let mut plan = Plan::default();
    let mut acls = Vec::new();
    for (path, was) in then {
        plan.bring_back(path, was, now, &mut acls);
    }
    plan.delete_newer(then, now);
    plan.steps.extend(acls);
    plan
}

impl Plan {
    fn leave(&mut self, path: &str, why: impl Into<String>) {
        self.left.push(Left { path: path.into(), why: why.into() });
    }

    fn bring_back(&mut self, path: &str, was: &NodeImage, now: &Image, acls: &mut Vec<Step>) {
        if let Kind::Ephemeral(session) = was.kind {
            let there = matches!(now.get(path), Some(NodeImage { kind: Kind::Ephemeral(owner), .. }) if *owner == session);
            if !there {
                self.leave(path, format!("it was an ephemeral node of session 0x{session:x}"));
            }
            return;
        }
        let Some(is) = now.get(path) else {
            let above = std::iter::successors(image::parent(path), |path| image::parent(path));
            let above = above.filter_map(|path| Some((path, now.get(path)?))).next();
            match above {
                Some((above, NodeImage { kind: Kind::Ephemeral(_), .. })) => {
                    self.leave(path, format!("{above} is an ephemeral node now"));
                }
                _ => self.steps.push(Step::Create {
                    path: path.into(),
                    data: was.data.clone(),
                    acl: was.acl.clone(),
                    kind: was.kind,
                }),
            }
            return;
        };
        if let Kind::Ephemeral(session) = is.kind {
            return self.leave(path, format!("it is an ephemeral node of session 0x{session:x} now"));
        }
        if was.data != is.data {
            self.steps.push(Step::SetData { path: path.into(), data: was.data.clone(), version: is.version });
        }
        if was.acl != is.acl {
            match is.acl.iter().any(is_hidden) {
                true => self.leave(path, "its ACL's digests are hidden: --auth of one who may administer it"),
                false => {
                    acls.push(Step::SetAcl { path: path.into(), acl: was.acl.clone(), aversion: is.aversion })
                }
            }
        }
    }

    /// From the bottom; ephemeral nodes stay, and so does what is above them.
    fn delete_newer(&mut self, then: &Image, now: &Image) {
        let mut kept: BTreeSet<&str> = BTreeSet::new();
        for (path, is) in now.iter().rev() {
            let was = then.get(path);
            let stays = match (was, is.kind) {
                (Some(_), _) => true,
                (None, Kind::Ephemeral(session)) => {
                    self.leave(path, format!("it is an ephemeral node of session 0x{session:x}"));
                    true
                }
                (None, _) if kept.contains(path.as_str()) => {
                    self.leave(path, "there is an ephemeral node below it");
                    true
                }
                (None, _) if path == "/" => true,
                (None, _) => {
                    self.steps.push(Step::Delete { path: path.clone(), version: is.version });
                    false
                }
            };
            if stays && let Some(parent) = image::parent(path) {
                kept.insert(parent);
            }
        }
    }

    /// Creates, data, deletes, ACLs.
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for step in &self.steps {
            counts[match step {
                Step::Create { .. } => 0,
                Step::SetData { .. } => 1,
                Step::Delete { .. } => 2,
                Step::SetAcl { .. } => 3,
            }] += 1;
        }
        counts
    }

    /// Steps that go into one multi each; ACLs cannot be set in one.
    pub fn batches(&self, steps_max: usize, bytes_max: usize) -> Vec<&[Step]> {
        let mut batches = Vec::new();
        let (mut begin, mut bytes) = (0, 0);
        for (at, step) in self.steps.iter().enumerate() {
            let alone = matches!(step, Step::SetAcl { .. });
            if at > begin && (alone || at - begin == steps_max || bytes + step.size() > bytes_max) {
                batches.push(&self.steps[begin..at]);
                (begin, bytes) = (at, 0);
            }
            bytes += step.size();
        }
        if begin < self.steps.len() {
            batches.push(&self.steps[begin..]);
        }
        batches
    }
}

/// A server shows `user:x` to those who may not administer a node.
fn is_hidden(acl: &Acl) -> bool {
    acl.id.scheme == "digest" && acl.id.id.ends_with(":x")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::zk::Id;

    fn node(data: &str) -> NodeImage {
        let acl = vec![Acl { perms: 31, id: Id { scheme: "world".into(), id: "anyone".into() } }];
        NodeImage {
            data: Some(Bytes::copy_from_slice(data.as_bytes())),
            acl,
            version: 3,
            aversion: 1,
            kind: Kind::Persistent,
        }
    }

    fn of(nodes: &[(&str, NodeImage)]) -> Image {
        nodes.iter().map(|(path, node)| ((*path).to_owned(), node.clone())).collect()
    }

    fn shown(plan: &Plan) -> Vec<String> {
        let step = |step: &Step| match step {
            Step::Create { path, .. } => format!("create {path}"),
            Step::SetData { path, version, .. } => format!("set {path} v{version}"),
            Step::Delete { path, version } => format!("delete {path} v{version}"),
            Step::SetAcl { path, aversion, .. } => format!("setAcl {path} v{aversion}"),
        };
        plan.steps
            .iter()
            .map(step)
            .chain(plan.left.iter().map(|left| format!("leave {}", left.path)))
            .collect()
    }

    #[test]
    fn the_same_trees_need_nothing() {
        let image = of(&[("/x", node("1")), ("/x/a", node("2"))]);
        assert_eq!(plan(&image, &image), Plan::default());
        assert_eq!(plan(&Image::new(), &Image::new()), Plan::default());
    }

    #[test]
    fn creates_come_from_the_top_and_deletes_from_the_bottom_each_with_the_version_of_now() {
        let then = of(&[("/x", node("1")), ("/x/a", node("2")), ("/x/a/b", node("3")), ("/x-1", node(""))]);
        let other_acl = NodeImage { acl: vec![], ..node("new") };
        let now = of(&[("/x", other_acl), ("/x/n", node("4")), ("/x/n/m", node("5")), ("/x-1", node(""))]);
        assert_eq!(
            shown(&plan(&then, &now)),
            [
                "set /x v3",
                "create /x/a",
                "create /x/a/b",
                "delete /x/n/m v3",
                "delete /x/n v3",
                "setAcl /x v1"
            ]
        );
        assert_eq!(plan(&then, &now).counts(), [2, 1, 2, 1]);
    }

    #[test]
    fn a_subtree_that_was_not_there_goes_but_the_root_never_does() {
        let now = of(&[("/x", node("1")), ("/x/a", node("2"))]);
        assert_eq!(shown(&plan(&Image::new(), &now)), ["delete /x/a v3", "delete /x v3"]);
        let root = of(&[("/", node("1")), ("/a", node("2"))]);
        assert_eq!(shown(&plan(&Image::new(), &root)), ["delete /a v3"]);
    }

    #[test]
    fn ephemeral_nodes_are_left_alone_and_so_is_what_is_above_them() {
        let ephemeral = |session| NodeImage { kind: Kind::Ephemeral(session), ..node("e") };
        let then =
            of(&[("/x", node("1")), ("/x/e", ephemeral(7)), ("/x/f", ephemeral(8)), ("/x/p", node("p"))]);
        let now = of(&[
            ("/x", node("1")),
            ("/x/f", ephemeral(8)),
            ("/x/n", node("n")),
            ("/x/n/e", ephemeral(9)),
            ("/x/n/p", node("n")),
            ("/x/p", ephemeral(9)),
        ]);
        assert_eq!(
            shown(&plan(&then, &now)),
            ["delete /x/n/p v3", "leave /x/e", "leave /x/p", "leave /x/n/e", "leave /x/n"]
        );
    }

    #[test]
    fn an_acl_whose_digests_are_hidden_cannot_be_compared() {
        let digest = |id: &str| vec![Acl { perms: 31, id: Id { scheme: "digest".into(), id: id.into() } }];
        let then = of(&[("/x", NodeImage { acl: digest("u:hash"), ..node("1") })]);
        let now = of(&[("/x", NodeImage { acl: digest("u:x"), ..node("1") })]);
        assert_eq!(shown(&plan(&then, &now)), ["leave /x"]);
    }

    #[test]
    fn batches_end_at_a_number_of_steps_or_bytes_and_acls_go_alone() {
        let step =
            |bytes: usize| Step::SetData { path: "/".into(), data: Some(vec![0; bytes].into()), version: 0 };
        let acl = Step::SetAcl { path: "/".into(), acl: vec![], aversion: 0 };
        let steps = vec![step(1), step(1), step(1), step(900), step(900), acl.clone(), acl];
        let plan = Plan { steps, left: vec![] };
        let sizes: Vec<usize> = plan.batches(2, 1500).iter().map(|batch| batch.len()).collect();
        assert_eq!(sizes, [2, 2, 1, 1, 1]);
        assert!(Plan::default().batches(2, 1500).is_empty());
    }
}
