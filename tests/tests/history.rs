//! Bugs that ZooKeeper once had, by their tickets: each played to the point where a wrong core would lose or double
//! something. Server 1 is real; servers 2 and 3 are played.

use tests::script::Server;
use wire::zk::quorum::packet;
use wire::zk::{Acl, CreateRequest, Id, op, perm, zxid};
use zk_core::ConnId;
use zk_core::peer::Mode;

/// ZOOKEEPER-1653: a server died between the first transaction of an epoch and the note of the epoch. It must start, and
/// its history must count as one of that epoch. A wrong core refuses to start for ever, or votes with the old epoch and
/// loses to servers that lack the transaction.
#[test]
fn zookeeper_1653_a_history_ahead_of_the_noted_epoch_counts_as_of_its_own_epoch() {
    let mut server = Server::new(&[zxid(1, 1), zxid(2, 1)], 1, 1);
    assert_eq!(server.voted(), [(zxid(2, 1), 2)]);
    assert_eq!((server.disk.accepted_epoch, server.disk.current_epoch), (2, 2));
}

/// ZOOKEEPER-2355: a leader announces a DIFF and dies before the transactions come. A wrong core takes the announced end
/// for its own, and the next leader has nothing to send: the transactions (there, the end of a session) are missing here
/// for good.
#[test]
fn zookeeper_2355_a_diff_that_was_announced_and_never_came_is_no_history() {
    for came in [&[][..], &[zxid(1, 2)]] {
        let mut server = Server::new(&[zxid(1, 1)], 1, 1);
        let link = server.follow(2);
        server.packet(link, packet::DIFF, zxid(1, 5), None);
        came.iter().for_each(|zxid| server.committed(link, *zxid));
        let end = came.last().copied().unwrap_or(zxid(1, 1));
        server.voted();
        server.close(link);
        assert_eq!(server.voted(), [(end, 1)]);
        let link = server.follow(3);
        assert!(server.packets(link).contains(&(packet::ACK_EPOCH, end)));
    }
}

/// ZOOKEEPER-2845: a leader logs a proposal that nobody acknowledges, and goes looking. A wrong core keeps a tree without
/// it over a log with it: what it says of its history is not what a restart makes of it, and a later leader sends a DIFF
/// where only a TRUNC would do.
#[test]
fn zookeeper_2845_a_deposed_leader_s_tree_is_what_its_log_says() {
    let mut server = Server::new(&[zxid(1, 1)], 1, 1);
    let link = server.lead();
    server.session(ConnId(1));
    server.sync();
    assert_eq!(server.status().last_zxid, zxid(2, 0), "the session is proposed, and not committed");
    server.close(link);
    server.voted();
    server.wait(3000);
    assert_eq!(server.status().mode, Mode::Looking);
    assert_eq!(server.voted().last(), Some(&(zxid(2, 1), 2)));
    let on_disk = server.on_disk();
    assert_eq!(server.peer().database().sessions(), on_disk.sessions());
    assert_eq!(on_disk.sessions().len(), 1);
    // The next leader has never heard of it.
    let link = server.follow(3);
    assert!(server.packets(link).contains(&(packet::ACK_EPOCH, zxid(2, 1))));
    server.packet(link, packet::TRUNC, zxid(1, 1), None);
    server.packet(link, packet::NEW_LEADER, zxid(3, 0), None);
    assert!(server.acknowledges(link, 3));
    server.crash();
    assert!(server.has(zxid(1, 1)) && server.peer().database().sessions().is_empty());
}

/// ZOOKEEPER-3023: what a difference brings is still on its way to the log and to the tree when NEWLEADER is acknowledged.
/// A wrong core is counted on for transactions that a crash takes from it, and begins to serve without them.
#[test]
fn zookeeper_3023_a_difference_is_in_the_log_and_in_the_tree_before_newleader_is_acknowledged() {
    let mut server = Server::new(&[zxid(1, 1)], 1, 1);
    let link = server.follow(2);
    server.packet(link, packet::DIFF, zxid(1, 3), None);
    [zxid(1, 2), zxid(1, 3)].iter().for_each(|zxid| server.committed(link, *zxid));
    server.packet(link, packet::NEW_LEADER, zxid(2, 0), None);
    assert!(!server.acknowledges(link, 2), "nothing of it is on stable storage");
    server.sync();
    assert!(server.acknowledges(link, 2));
    assert!(server.has(zxid(1, 2)) && server.has(zxid(1, 3)));
    assert_eq!((server.on_disk().last_zxid(), server.disk.current_epoch), (zxid(1, 3), 2));
    server.crash();
    assert!(server.has(zxid(1, 2)) && server.has(zxid(1, 3)));
    assert_eq!(server.voted(), [(zxid(1, 3), 2)]);
}

/// ZOOKEEPER-3104: transactions that are proposed while a learner gets a snapshot. A wrong core sends NEWLEADER before
/// them: the learner vouches for a history without them, and is counted on.
#[test]
fn zookeeper_3104_what_is_pending_comes_to_a_learner_before_newleader() {
    let mut server = Server::new(&[zxid(1, 1)], 1, 1);
    let second = server.lead();
    server.session(ConnId(1));
    let third = server.learner(3, 0, 1);
    let kinds: Vec<i32> = server.packets(third).iter().map(|(kind, _)| *kind).collect();
    let at = |wanted: i32| kinds.iter().position(|kind| *kind == wanted).unwrap();
    assert!(at(packet::PROPOSAL) < at(packet::NEW_LEADER), "{kinds:?}");
    server.sync();
    server.packet(second, packet::ACK, zxid(2, 1), None);
    assert!(server.packets(third).contains(&(packet::COMMIT, zxid(2, 1))));
}

/// ZOOKEEPER-3642: a leader dies between its snapshot and NEWLEADER. A wrong core keeps the snapshot's state in memory
/// over a disk that has never seen it; the next leader's DIFF starts there, and a restart loses all before.
#[test]
fn zookeeper_3642_a_snapshot_without_its_newleader_is_forgotten() {
    let mut server = Server::new(&[zxid(1, 1)], 1, 1);
    let link = server.follow(2);
    server.snapshot(link, &[zxid(1, 1), zxid(1, 8), zxid(1, 9)]);
    server.voted();
    server.close(link);
    assert_eq!(server.voted(), [(zxid(1, 1), 1)]);
    let link = server.follow(3);
    server.packet(link, packet::DIFF, zxid(1, 9), None);
    server.committed(link, zxid(1, 8));
    server.committed(link, zxid(1, 9));
    server.packet(link, packet::NEW_LEADER, zxid(3, 0), None);
    server.sync();
    assert!(server.acknowledges(link, 3));
    server.crash();
    assert!([1, 8, 9].iter().all(|n| server.has(zxid(1, *n))));
}

/// ZOOKEEPER-3911: the acknowledgement of NEWLEADER makes the leader serve. A wrong core sends it while what it vouches
/// for is not on stable storage.
#[test]
fn zookeeper_3911_newleader_is_acknowledged_when_the_difference_is_on_stable_storage() {
    let mut server = Server::new(&[zxid(1, 1)], 1, 1);
    let link = server.follow(2);
    server.packet(link, packet::DIFF, zxid(1, 3), None);
    server.committed(link, zxid(1, 2));
    server.committed(link, zxid(1, 3));
    server.packet(link, packet::NEW_LEADER, zxid(2, 0), None);
    assert!(!server.acknowledges(link, 2));
    server.sync();
    assert!(server.acknowledges(link, 2));
}

/// ZOOKEEPER-4394: a COMMIT between NEWLEADER and UPTODATE, of a proposal from before NEWLEADER. A wrong core looks for it
/// among the proposals since then, and dies or passes it over.
#[test]
fn zookeeper_4394_a_commit_between_newleader_and_uptodate_finds_its_proposal() {
    let mut server = Server::new(&[zxid(1, 1)], 1, 1);
    let link = server.follow(2);
    server.packet(link, packet::DIFF, zxid(1, 1), None);
    server.proposal(link, zxid(2, 1));
    server.packet(link, packet::NEW_LEADER, zxid(2, 0), None);
    server.packet(link, packet::COMMIT, zxid(2, 1), None);
    server.proposal(link, zxid(2, 2));
    server.packet(link, packet::UP_TO_DATE, -1, None);
    assert!(server.has(zxid(2, 1)) && !server.has(zxid(2, 2)));
    server.packet(link, packet::COMMIT, zxid(2, 2), None);
    assert!(server.has(zxid(2, 2)) && server.exit.is_none());
    server.sync();
    let acks = server.packets(link);
    assert!(acks.ends_with(&[(packet::ACK, zxid(2, 1)), (packet::ACK, zxid(2, 2))]), "{acks:?}");
}

/// ZOOKEEPER-4643, 4646, 4785: a learner dies at any moment of the end of its synchronization. Whatever it has promised by
/// then, a restart must have: the epoch only with the whole history that goes with it (or it wins against those who have
/// it all), the acknowledgement only with both. A wrong core notes the epoch, or acknowledges, first.
#[test]
fn zookeeper_4643_4646_4785_a_learner_that_dies_while_it_settles_has_what_it_vouched_for() {
    let mut outcomes = vec![];
    for fuel in 0..12 {
        for synced in [false, true] {
            let mut server = Server::new(&[zxid(1, 1), zxid(1, 7)], 1, 1);
            let link = server.follow(2);
            server.packet(link, packet::TRUNC, zxid(1, 1), None);
            server.fuel = Some(fuel);
            server.committed(link, zxid(1, 2));
            server.committed(link, zxid(1, 3));
            server.packet(link, packet::NEW_LEADER, zxid(2, 0), None);
            if synced {
                server.sync();
            }
            let acknowledged = server.acknowledges(link, 2);
            server.crash();
            let whole = server.has(zxid(1, 2)) && server.has(zxid(1, 3));
            let noted = server.disk.current_epoch == 2;
            assert!(!server.has(zxid(1, 7)), "it was cut off");
            assert!(!noted || whole, "the epoch without its history: fuel {fuel}, synced {synced}");
            assert!(
                !acknowledged || noted,
                "an acknowledgement without the epoch: fuel {fuel}, synced {synced}"
            );
            outcomes.push((whole, noted, acknowledged));
        }
    }
    outcomes.sort_unstable();
    outcomes.dedup();
    let seen = [(false, false, false), (true, false, false), (true, true, false), (true, true, true)];
    assert_eq!(outcomes, seen, "every way to die is met");
}

/// ZOOKEEPER-4712 (and 4541, its consequence): a follower loses its leader while a proposal is on its way to the disk. A
/// wrong core lets the write of its former life finish behind what the new leader has cut, or takes its end for that of
/// something newer.
#[test]
fn zookeeper_4712_4541_a_write_of_a_former_role_is_over_before_the_next_one_vouches() {
    let late = || {
        let mut server = Server::new(&[zxid(1, 1)], 1, 1);
        let link = server.follow(2);
        server.packet(link, packet::DIFF, zxid(1, 1), None);
        server.packet(link, packet::NEW_LEADER, zxid(2, 0), None);
        server.packet(link, packet::UP_TO_DATE, -1, None);
        server.proposal(link, zxid(2, 1));
        server.voted();
        server.close(link);
        assert_eq!(server.voted(), [(zxid(2, 1), 2)]);
        server
    };
    // The next leader has it: to vouch for it is to have it on stable storage.
    let mut server = late();
    let link = server.follow(3);
    server.packet(link, packet::DIFF, zxid(2, 1), None);
    server.packet(link, packet::NEW_LEADER, zxid(3, 0), None);
    assert!(!server.acknowledges(link, 3), "0x200000001 may still be lost");
    server.sync();
    assert!(server.acknowledges(link, 3));
    // The next leader has never heard of it: no trace is left.
    let mut server = late();
    let link = server.follow(3);
    server.packet(link, packet::TRUNC, zxid(1, 1), None);
    server.packet(link, packet::NEW_LEADER, zxid(3, 0), None);
    server.packet(link, packet::UP_TO_DATE, -1, None);
    server.proposal(link, zxid(3, 1));
    let acks = server.packets(link);
    assert!(
        !acks.contains(&(packet::ACK, zxid(2, 1))) && !acks.contains(&(packet::ACK, zxid(3, 1))),
        "{acks:?}"
    );
    server.sync();
    assert_eq!(server.packets(link), [(packet::ACK, zxid(3, 1))]);
    server.crash();
    assert!(server.has(zxid(3, 1)) && !server.has(zxid(2, 1)));
}

/// ZOOKEEPER-4925: a follower that was brought up by a DIFF comes to lead. A wrong core does not remember what the DIFF
/// brought, and gives the next learner a difference with a hole.
#[test]
fn zookeeper_4925_what_a_diff_brought_is_passed_on_to_the_next_learner() {
    let mut server = Server::new(&[zxid(1, 1)], 1, 1);
    let link = server.follow(2);
    server.packet(link, packet::DIFF, zxid(1, 3), None);
    server.committed(link, zxid(1, 2));
    server.committed(link, zxid(1, 3));
    server.packet(link, packet::NEW_LEADER, zxid(2, 0), None);
    server.sync();
    server.proposal(link, zxid(2, 1));
    server.packet(link, packet::COMMIT, zxid(2, 1), None);
    server.packet(link, packet::UP_TO_DATE, -1, None);
    server.sync();
    server.close(link);
    server.lead();
    let third = server.learner(3, zxid(1, 1), 1);
    let proposed = server.packets(third).into_iter().filter(|(kind, _)| *kind == packet::PROPOSAL);
    assert!(proposed.map(|(_, zxid)| zxid).eq([zxid(1, 2), zxid(1, 3), zxid(2, 1)]));
}

/// ZOOKEEPER-1496: an ephemeral node is asked for while its session is being closed. A wrong core creates it behind the
/// close, and nobody ever removes it.
#[test]
fn zookeeper_1496_nothing_is_created_for_a_session_that_is_being_closed() {
    let mut server = Server::new(&[], 1, 1);
    let second = server.lead();
    // All of it comes through another server, the last two before the end is committed.
    let session = 0x2_0000_0000_0001;
    server.forwarded(second, session, op::CREATE_SESSION, &10_000);
    server.sync();
    server.packet(second, packet::ACK, zxid(2, 1), None);
    assert!(server.peer().database().sessions().contains_key(&session));
    server.forwarded(second, session, op::CLOSE_SESSION, &());
    let acl = vec![Acl { perms: perm::ALL, id: Id { scheme: "world".into(), id: "anyone".into() } }];
    let create = CreateRequest { path: "/ephemeral".into(), data: None, acl, flags: 1 };
    server.forwarded(second, session, op::CREATE, &create);
    server.sync();
    for n in 2..=3 {
        server.packet(second, packet::ACK, zxid(2, n), None);
    }
    let database = server.peer().database();
    assert!(database.node("/ephemeral").is_none() && database.sessions().is_empty());
    assert!(database.orphaned_sessions().is_empty());
}
