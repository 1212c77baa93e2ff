//! Folders as wholes: started on, recovered, truncated; and those of a real Java server.

use super::*;
use crate::config::{DiskConfig, SnapshotCompression};
use bytes::Bytes;
use std::time::Duration;
use wire::zk::txn::{CreateTxn, SetDataTxn, Txn, TxnHeader, TxnRecord};

/// Small files, so that tests stay fast.
pub fn config() -> DiskConfig {
    DiskConfig {
        autocreate: true,
        trust_empty: true,
        trust_logs_alone: false,
        preallocate: 8192,
        reserve: 0,
        sync: true,
        sync_warning: Duration::from_secs(60),
        batch_max: 1000,
        snap_count: 100_000,
        snap_bytes: 0,
        log_bytes: None,
        digest: true,
        last_zxid_trailer: true,
        compression: SnapshotCompression::None,
        snapshots_kept: 3,
        purge_interval: None,
        size_max: None,
        entry_max: usize::MAX,
    }
}

/// Snapshots and logs in one folder.
pub fn disk_in(folder: &Path) -> Disk {
    Disk {
        snapshots: folder.into(),
        logs: folder.into(),
        config: config(),
        recent_max: 500,
        standalone: true,
        loads: Default::default(),
        space: space::Space::new(folder, folder, 0),
    }
}

/// A server's folders, without a server.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn disk(&self) -> Disk {
        disk_in(&self.0.path().join("version-2"))
    }

    pub fn open(&self) -> Result<(Disk, Recovered), String> {
        let disk = self.disk();
        let recovered = disk.check_folders().and_then(|()| disk.remove_temporaries());
        let recovered = recovered.and_then(|()| recovery::recover(&disk));
        recovered.map(|recovered| (disk, recovered)).map_err(|error| self.relative(&error.to_string()))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }

    pub fn files(&self) -> Vec<String> {
        let mut files = names(&self.0.path().join("version-2")).unwrap();
        files.sort();
        files
    }
}

pub fn txn(zxid: Zxid, record: TxnRecord) -> Txn {
    Txn::new(TxnHeader { session: 1, cxid: 0, zxid, time: 1000 + zxid, kind: record.kind() }, record, None)
}

pub fn create(zxid: Zxid) -> Txn {
    let path = format!("/n{zxid}").into();
    let record = CreateTxn { path, data: None, acl: vec![], ephemeral: false, parent_cversion: zxid as i32 };
    txn(zxid, TxnRecord::Create(record))
}

pub fn append(log: &mut Log, zxids: impl IntoIterator<Item = Zxid>) {
    for zxid in zxids {
        log.append(zxid, &create(zxid).bytes).unwrap();
    }
    log.sync().unwrap();
}

fn has(database: &Database, zxids: impl IntoIterator<Item = Zxid>) -> bool {
    zxids.into_iter().all(|zxid| database.node(&format!("/n{zxid}")).is_some())
}

#[test]
fn an_empty_folder_becomes_an_empty_database_with_a_snapshot() {
    let home = Home::new();
    let (_, recovered) = home.open().unwrap();
    assert_eq!((recovered.last_logged, recovered.current_epoch), (0, 0));
    assert_eq!(home.files(), ["snapshot.0"]);
    assert_eq!(recovered.database.digest().digest, 1371985504);
}

#[test]
fn what_was_synced_is_there_after_a_restart_and_goes_on_in_a_new_file() {
    let home = Home::new();
    let (disk, _) = home.open().unwrap();
    append(&mut disk.log(), 1..=3);
    let (disk, recovered) = home.open().unwrap();
    assert!(has(&recovered.database, 1..=3));
    assert_eq!(recovered.last_logged, 3);
    assert_eq!(recovered.recent.iter().map(Txn::zxid).collect::<Vec<_>>(), [1, 2, 3]);
    append(&mut disk.log(), 4..=5);
    assert_eq!(home.files(), ["log.1", "log.4", "snapshot.0"]);
    assert_eq!(home.open().unwrap().1.last_logged, 5);
}

#[test]
fn a_torn_tail_is_passed_over_and_the_next_file_continues() {
    let home = Home::new();
    let (disk, _) = home.open().unwrap();
    append(&mut disk.log(), 1..=3);
    let path = home.0.path().join("version-2/log.1");
    let whole = fs::read(&path).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    fs::write(&path, &whole[..used]).unwrap();
    let (disk, recovered) = home.open().unwrap();
    assert_eq!(recovered.last_logged, 2);
    append(&mut disk.log(), 3..=4);
    let (_, recovered) = home.open().unwrap();
    assert!(has(&recovered.database, 1..=4) && recovered.last_logged == 4);
}

#[test]
fn a_damaged_entry_stops_the_start_with_file_and_offset() {
    let home = Home::new();
    let (disk, _) = home.open().unwrap();
    append(&mut disk.log(), 1..=2);
    let path = home.0.path().join("version-2/log.1");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(home.open().unwrap_err(), "version-2/log.1 at byte 16: CRC check failed");
}

#[test]
fn a_damaged_snapshot_is_passed_over_for_an_older_one() {
    let home = Home::new();
    let (disk, _) = home.open().unwrap();
    append(&mut disk.log(), 1..=2);
    let (disk, recovered) = home.open().unwrap();
    let path = disk.save(&recovered.database, true).unwrap();
    append(&mut disk.log(), 3..=3);
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(home.open().unwrap().1.last_logged, 3);
    fs::remove_file(home.0.path().join("version-2/snapshot.0")).unwrap();
    let message = home.open().unwrap_err();
    assert!(message.starts_with("Not able to find valid snapshots in "), "{message}");
}

#[test]
fn a_damaged_snapshot_of_a_leader_is_not_passed_over_where_the_log_has_a_gap() {
    let home = Home::new();
    let (disk, _) = home.open().unwrap();
    append(&mut disk.log(), 1..=2);
    let mut database = home.open().unwrap().1.database;
    (3..=9).for_each(|zxid| database.replay(&create(zxid)));
    database.set_last_zxid(9);
    let path = disk.save(&database, true).unwrap();
    append(&mut disk.log(), 10..=10);
    assert!(has(&home.open().unwrap().1.database, 1..=10));
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, bytes).unwrap();
    let message = home.open().unwrap_err();
    assert!(
        message.starts_with("version-2/snapshot.9 cannot be read, and the log does not lead to it"),
        "{message}"
    );
}

#[test]
fn replay_behind_a_fuzzy_snapshot_makes_it_whole() {
    let home = Home::new();
    let (disk, recovered) = home.open().unwrap();
    let mut database = recovered.database;
    let mut writer = disk.snapshot(0, false).unwrap();
    let set = txn(
        2,
        TxnRecord::SetData(SetDataTxn { path: "/n1".into(), data: Some(Bytes::from("x")), version: 1 }),
    );
    let mut log = disk.log();
    append(&mut log, [1]);
    log.append(2, &set.bytes).unwrap();
    log.sync().unwrap();
    database.replay(&create(1));
    database.replay(&set);
    let mut body = bytes::BytesMut::new();
    database.encode_stream(&mut body);
    writer.write(&body).unwrap();
    writer.finish(Some((2, database.digest().digest)), 2).unwrap();
    let (_, recovered) = home.open().unwrap();
    assert_eq!(recovered.database.digest(), database.digest());
    assert_eq!(recovered.last_logged, 2);
}

#[test]
fn logs_without_a_snapshot_stop_the_start() {
    let home = Home::new();
    let (disk, _) = home.open().unwrap();
    append(&mut disk.log(), 1..=1);
    fs::remove_file(home.0.path().join("version-2/snapshot.0")).unwrap();
    assert_eq!(
        home.open().unwrap_err(),
        "No snapshot found, but there are log entries. Something is broken!"
    );
    let trusting = Disk { config: DiskConfig { trust_logs_alone: true, ..config() }, ..home.disk() };
    assert_eq!(recovery::recover(&trusting).unwrap().last_logged, 1);
    assert_eq!(home.open().unwrap().1.last_logged, 1, "a trusted start leaves a snapshot");
}

#[test]
fn what_exceeds_jute_maxbuffer_stops_the_start_in_the_log_and_in_a_snapshot() {
    let home = Home::new();
    let (disk, _) = home.open().unwrap();
    append(&mut disk.log(), 1..=1);
    let narrow = Disk { config: DiskConfig { entry_max: 20, ..config() }, ..home.disk() };
    let message = recovery::recover(&narrow).unwrap_err().to_string();
    assert!(message.contains("version-2/log.1 at byte 16: Unreasonable length = "), "{message}");
    let narrower = Disk { config: DiskConfig { entry_max: 5, ..config() }, ..home.disk() };
    let message = recovery::recover(&narrower).unwrap_err().to_string();
    assert!(message.starts_with("Not able to find valid snapshots in "), "{message}");
}

#[test]
fn an_untrusted_empty_database_has_zxid_minus_one_until_initialize_is_there() {
    let home = Home::new();
    let disk = Disk { config: DiskConfig { trust_empty: false, ..config() }, ..home.disk() };
    disk.check_folders().unwrap();
    assert_eq!(recovery::recover(&disk).unwrap().last_logged, -1);
    assert!(home.files().is_empty());
    fs::write(home.0.path().join("initialize"), "").unwrap();
    assert_eq!(recovery::recover(&disk).unwrap().last_logged, 0);
    assert!(!home.0.path().join("initialize").exists());
}

/// Transactions 1 to 3 and 4 to 5 in a log each, and a snapshot behind them.
fn two_logs_and_a_snapshot() -> (Home, Disk) {
    let home = Home::new();
    let (disk, _) = home.open().unwrap();
    let mut log = disk.log();
    append(&mut log, 1..=3);
    log.roll().unwrap();
    append(&mut log, 4..=5);
    let (disk, recovered) = home.open().unwrap();
    disk.save(&recovered.database, true).unwrap();
    (home, disk)
}

#[test]
fn truncating_removes_later_entries_logs_and_snapshots() {
    let (home, disk) = two_logs_and_a_snapshot();
    let left = disk.truncate(2).unwrap();
    assert!(left.last_zxid() == 2 && has(&left, 1..=2) && !has(&left, [3]));
    assert_eq!(home.files(), ["log.1", "snapshot.0"]);
    let (disk, recovered) = home.open().unwrap();
    assert_eq!(recovered.last_logged, 2);
    append(&mut disk.log(), 3..=3);
    assert_eq!(home.open().unwrap().1.last_logged, 3);
}

/// Of a snapshot that was under way while a leader that came to nothing had its history applied here.
#[test]
fn truncating_removes_a_snapshot_that_was_begun_before_and_ended_behind_the_cut() {
    let home = Home::new();
    let (disk, _) = home.open().unwrap();
    append(&mut disk.log(), 1..=5);
    let (disk, recovered) = home.open().unwrap();
    let mut body = bytes::BytesMut::new();
    recovered.database.encode_stream(&mut body);
    let mut writer = disk.snapshot(2, true).unwrap();
    writer.write(&body).unwrap();
    writer.finish(None, 5).unwrap();
    let left = disk.truncate(3).unwrap();
    assert!(left.last_zxid() == 3 && has(&left, 1..=3) && !has(&left, [4]) && !has(&left, [5]));
    assert_eq!(home.files(), ["log.1", "snapshot.0"]);
    assert!(!has(&home.open().unwrap().1.database, [4]));
}

#[test]
fn truncating_before_the_oldest_snapshot_deletes_nothing() {
    let home = Home::new();
    let (disk, _) = home.open().unwrap();
    append(&mut disk.log(), 1..=3);
    let (disk, recovered) = home.open().unwrap();
    disk.save(&recovered.database, true).unwrap();
    fs::remove_file(home.0.path().join("version-2/snapshot.0")).unwrap();
    assert!(
        disk.truncate(1).unwrap_err().to_string().starts_with("cannot truncate to 0x1: no snapshot up to it")
    );
    assert_eq!(home.files(), ["log.1", "snapshot.3"]);
}

#[test]
fn truncating_into_damage_that_a_snapshot_had_hidden_deletes_nothing() {
    let (home, disk) = two_logs_and_a_snapshot();
    let first = home.0.path().join("version-2/log.1");
    let mut bytes = fs::read(&first).unwrap();
    bytes[40] ^= 1;
    fs::write(&first, bytes).unwrap();
    assert_eq!(home.open().unwrap().1.last_logged, 5);
    let message = home.relative(&disk.truncate(2).unwrap_err().to_string());
    assert!(message.starts_with("version-2/log.1 at byte 16: "), "{message}");
    assert_eq!(home.files(), ["log.1", "log.4", "snapshot.0", "snapshot.5"]);
    assert_eq!(home.open().unwrap().1.last_logged, 5);
}

#[test]
fn an_unusable_folder_is_named_in_zookeeper_s_words() {
    let home = Home::new();
    fs::write(home.0.path().join("version-2"), "a file").unwrap();
    let inside = Disk { snapshots: home.0.path().join("version-2/deeper"), ..home.disk() };
    let inside = Disk { logs: inside.snapshots.clone(), ..inside };
    let message = home.relative(&inside.check_folders().unwrap_err().to_string());
    assert!(message.starts_with("Unable to create data directory version-2/deeper"), "{message}");
    let read_only = Disk { logs: "/proc/self".into(), ..home.disk() };
    let message = read_only.check_folders().unwrap_err().to_string();
    assert_eq!(message, "Cannot write to data directory /proc/self");
    let missing =
        Disk { config: DiskConfig { autocreate: false, ..config() }, logs: "/no/v".into(), ..home.disk() };
    assert_eq!(
        missing.check_folders().unwrap_err().to_string(),
        "Missing data directory /no/v, automatic data directory creation is disabled (zookeeper.datadir.autocreate \
         is false). Please create this directory manually."
    );
}

#[test]
fn swapped_folders_are_noticed() {
    let home = Home::new();
    let other = Home::new();
    home.open().unwrap();
    fs::create_dir(other.0.path().join("version-2")).unwrap();
    let swapped = Disk { snapshots: other.0.path().join("version-2"), ..home.disk() };
    let message = swapped.check_folders().unwrap_err().to_string();
    assert!(message.starts_with("Log directory has snapshot files."), "{message}");
}

/// Written by a Java 3.9.3 standalone server: two runs of its client's commands with a restart between them, an
/// ephemeral node of each run's session among them. The logs' padding is cut off.
fn java_home() -> Home {
    let home = Home::new();
    let folder = home.0.path().join("version-2");
    fs::create_dir(&folder).unwrap();
    for (name, bytes) in [
        ("log.1", &include_bytes!("fixtures/log.1")[..]),
        ("log.12", include_bytes!("fixtures/log.12")),
        ("snapshot.0", include_bytes!("fixtures/snapshot.0")),
        ("snapshot.11", include_bytes!("fixtures/snapshot.11")),
    ] {
        fs::write(folder.join(name), bytes).unwrap();
    }
    home
}

#[test]
fn a_java_server_s_folder_is_recovered_with_java_s_own_digests() {
    let home = java_home();
    let (_, recovered) = home.open().unwrap();
    let database = &recovered.database;
    let data = |path: &str| database.node(path).map(|node| node.data().unwrap_or_default().to_vec());
    assert_eq!(data("/a"), Some(b"third".to_vec()));
    assert_eq!(data("/after-restart"), Some(b"yes".to_vec()));
    assert_eq!(data("/a/seq-0000000001"), Some(b"x".to_vec()));
    for gone in ["/a/b", "/eph", "/eph2", "/tree", "/tree/one", "/missing"] {
        assert_eq!(data(gone), None, "{gone}");
    }
    assert_eq!(recovered.last_logged, 0x16);
    // Every transaction carries the digest that Java's tree had after it.
    let last = recovered.recent.last().unwrap();
    assert_eq!(last.digest.unwrap().digest, database.digest().digest);
    assert_eq!(database.digest_mismatches(), 0);
}

#[test]
fn both_snapshots_of_a_java_server_lead_to_the_same_tree() {
    let newer = java_home().open().unwrap().1;
    let home = java_home();
    fs::remove_file(home.0.path().join("version-2/snapshot.11")).unwrap();
    let older = home.open().unwrap().1;
    assert_eq!(older.recent.len(), 0x16);
    assert_eq!(older.database.digest(), newer.database.digest());
    let folder = java_home();
    let read = loading::read(&folder.0.path().join("version-2/snapshot.11"), usize::MAX).unwrap();
    assert_eq!(read.digest, Some((0x11, read.database.digest().digest)));
}

#[test]
fn a_java_log_is_written_again_byte_for_byte() {
    let home = java_home();
    let path = home.0.path().join("version-2/log.1");
    let java = fs::read(&path).unwrap();
    let mut file = txnlog::LogFile::open(&path).unwrap().unwrap();
    let copy = Home::new();
    let (disk, _) = copy.open().unwrap();
    let mut log = disk.log();
    while let Some(entry) = file.next().unwrap() {
        log.append(Txn::decode(entry.payload.clone()).unwrap().zxid(), &entry.payload).unwrap();
    }
    log.sync().unwrap();
    let ours = fs::read(copy.0.path().join("version-2/log.1")).unwrap();
    assert_eq!(ours[..java.len()], java);
    assert!(ours[java.len()..].iter().all(|byte| *byte == 0));
}
