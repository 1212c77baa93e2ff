//! `zkTxnLogToolkit [-dhrvy] LOG`, `-c -z ZXID LOG`: shows a transaction log, repairs its checksums, or cuts it.

use super::commons_cli::{self, Flag, Given};
use super::{Thrown, entry_max, java, jvm_number, txn_text};
use crate::Call;
use bytes::BytesMut;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wire::zk::txn::Txn;
use wire::zk::{Zxid, counter_of, epoch_of};
use zk_server::disk::inspect::{InspectError, RawEntry, RawLog};
use zk_server::disk::txnlog;

static FLAGS: &[Flag] = &[
    Flag::new('h', "help"),
    Flag::new('r', "recover"),
    Flag::new('v', "verbose"),
    Flag::new('d', "dump"),
    Flag::new('y', "yes"),
    Flag::new('c', "chop"),
    Flag::new('z', "zxid").valued(),
];

const HELP: &str = "usage: TxnLogToolkit [-dhrvc] <txn_log_file_name> (-z <zxid>)
 -c,--chop         Chop mode. Chop txn file to a zxid.
 -d,--dump         Dump mode. Dump all entries of the log file with printing the content of a nodepath (default)
 -h,--help         Print help message
 -r,--recover      Recovery mode. Re-calculate CRC for broken entries.
 -v,--verbose      Be verbose in recovery mode: print all entries, not just fixed ones.
 -y,--yes          Non-interactive mode: repair all CRC errors without asking
 -z,--zxid <arg>   Used with chop. Zxid to which to chop.";

/// Why a run ends before its end.
enum Stop {
    /// A line on stderr, and the exit code.
    Told(u8, String),
    Thrown(Thrown),
}

impl From<Thrown> for Stop {
    fn from(thrown: Thrown) -> Stop {
        Stop::Thrown(thrown)
    }
}

pub fn main(call: &Call) -> ExitCode {
    let given = match commons_cli::parse(FLAGS, &call.args) {
        Ok(given) => given,
        Err(wrong) => {
            eprintln!("{wrong}\n");
            println!("{HELP}");
            return ExitCode::FAILURE;
        }
    };
    if given.has('h') || given.args.is_empty() {
        println!("{HELP}");
        return if given.has('h') { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let done = run(&given, &mut io::stdin().lock(), &mut io::stdout().lock());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Told(code, text)) => {
            eprintln!("{text}");
            ExitCode::from(code)
        }
        Err(Stop::Thrown(thrown)) => thrown.tell(),
    }
}

fn run(given: &Given, answers: &mut impl BufRead, out: &mut impl Write) -> Result<(), Stop> {
    let name = &given.args[0];
    if File::open(name).is_err() {
        return Err(Stop::Told(1, format!("File doesn't exist or not readable: {name}")));
    }
    if let Some(zxid) = given.value('z').filter(|_| given.has('c')) {
        let zxid = java::decode_long(zxid).ok_or_else(|| Thrown::number(zxid))?;
        if zxid < 0 {
            return Err(Stop::Told(1, format!("a zxid to chop at is not negative: {zxid}")));
        }
        if let Err(thrown) = chop(name, zxid, out) {
            say(out, &format!("Got exception: {}", thrown.message()));
        }
        return Ok(());
    }
    let mut repair = match given.has('r') {
        true => Some(Repair::begin(name, given)?),
        false => None,
    };
    let done = dump(name, repair.as_mut(), answers, out);
    let written = repair.as_mut().map_or(Ok(()), Repair::flush);
    done?;
    written?;
    if let Some(Repair { path, fixed, .. }) = repair {
        let path = path.display();
        say(out, &format!("Recovery file {path} has been written with {fixed} fixed CRC error(s)"));
    }
    Ok(())
}

/// Nobody reads any more when this fails.
fn say(out: &mut impl Write, line: &str) {
    let _ = writeln!(out, "{line}");
}

fn headline(log: &RawLog) -> String {
    let version = i32::from_be_bytes(log.header[4..8].try_into().expect("4 bytes"));
    let database = i64::from_be_bytes(log.header[8..].try_into().expect("8 bytes"));
    format!("ZooKeeper Transactional Log File with dbid {database} txnlog format version {version}")
}

/// Shows every entry, or repairs the wrong ones into another file.
fn dump(
    name: &str,
    mut repair: Option<&mut Repair>,
    answers: &mut impl BufRead,
    out: &mut impl Write,
) -> Result<(), Stop> {
    let mut log = RawLog::open(Path::new(name), entry_max()).map_err(|error| match error {
        InspectError::Magic { .. } => {
            let name = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
            Stop::Told(2, format!("Invalid magic number for {name}"))
        }
        other => Stop::Thrown(Thrown::of_file(name, other)),
    })?;
    say(out, &headline(&log));
    if let Some(repair) = &mut repair {
        repair.put(&log.header)?;
    }
    let mut count = 0;
    while let Some(entry) = log.read_entry().map_err(|error| Thrown::of_file(name, error))? {
        let mut checksum = entry.checksum;
        if checksum != entry.right_checksum() {
            let fixed = match &mut repair {
                None => {
                    show(&entry, "CRC ERROR - ", out)?;
                    false
                }
                Some(repair) if repair.yes => {
                    show(&entry, "CRC FIXED - ", out)?;
                    repair.fixed += 1;
                    true
                }
                Some(repair) => {
                    show(&entry, "CRC ERROR - ", out)?;
                    let fix = ask(answers, out)?;
                    repair.fixed += u64::from(fix);
                    fix
                }
            };
            if fixed {
                checksum = entry.right_checksum();
            }
        }
        if repair.as_ref().is_none_or(|repair| repair.verbose) {
            show(&entry, "", out)?;
        }
        match entry.end {
            Some(b'B') => {}
            Some(_) => return Err(Stop::Told(1, "Last transaction was partial.".into())),
            None => return Err(Thrown::end_of_file().into()),
        }
        if let Some(repair) = &mut repair {
            repair.append(&entry, checksum)?;
        }
        count += 1;
    }
    say(out, &format!("EOF reached after {count} txns."));
    Ok(())
}

fn show(entry: &RawEntry, prefix: &str, out: &mut impl Write) -> Result<(), Thrown> {
    let line = txn_text::line(&entry.payload)?;
    say(out, &format!("{prefix}{}", line.strip_suffix('\n').unwrap_or(&line)));
    Ok(())
}

/// The first letter of the next word: yes, no, or the end.
fn ask(answers: &mut impl BufRead, out: &mut impl Write) -> Result<bool, Stop> {
    loop {
        let _ = write!(out, "Would you like to fix it (Yes/No/Abort) ? ");
        let _ = out.flush();
        let Some(word) = next_word(answers) else {
            return Err(Stop::Thrown(Thrown { class: "java.util.NoSuchElementException", message: None }));
        };
        match word.chars().next().map(|letter| letter.to_ascii_uppercase()) {
            Some('Y') => return Ok(true),
            Some('N') => return Ok(false),
            Some('A') => return Err(Stop::Told(0, "Recovery aborted.".into())),
            _ => {}
        }
    }
}

fn next_word(from: &mut impl BufRead) -> Option<String> {
    let mut word = Vec::new();
    while let Ok([first, ..]) = from.fill_buf() {
        let byte = *first;
        if byte.is_ascii_whitespace() && !word.is_empty() {
            break;
        }
        from.consume(1);
        if !byte.is_ascii_whitespace() {
            word.push(byte);
        }
    }
    (!word.is_empty()).then(|| String::from_utf8_lossy(&word).into_owned())
}

/// `LOG.fixed`, padded as a server's log is.
struct Repair {
    path: PathBuf,
    file: File,
    at: u64,
    size: u64,
    preallocate: u64,
    yes: bool,
    verbose: bool,
    fixed: u64,
    buffer: BytesMut,
}

impl Repair {
    fn begin(name: &str, given: &Given) -> Result<Repair, Stop> {
        let path = PathBuf::from(format!("{name}.fixed"));
        let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let shown = path.display();
                return Err(Stop::Told(1, format!("Recovery file {shown} already exists or not writable")));
            }
            Err(error) => {
                return Err(Thrown::of_file(&path.display().to_string(), error.into()).into());
            }
        };
        Ok(Repair {
            path,
            file,
            at: 0,
            size: 16,
            preallocate: jvm_number("zookeeper.preAllocSize").unwrap_or(65536) * 1024,
            yes: given.has('y'),
            verbose: given.has('v'),
            fixed: 0,
            buffer: BytesMut::new(),
        })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Thrown> {
        self.file.write_all_at(bytes, self.at).map_err(|error| Thrown::io(&error))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn append(&mut self, entry: &RawEntry, checksum: i64) -> Result<(), Thrown> {
        let size = txnlog::padded(self.at, self.size, self.preallocate);
        if size != self.size {
            self.file.write_all_at(&[0], size - 1).map_err(|error| Thrown::io(&error))?;
            self.size = size;
        }
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        entry.write(checksum, &mut bytes);
        let done = self.put(&bytes);
        self.buffer = bytes;
        done
    }

    fn flush(&mut self) -> Result<(), Thrown> {
        self.file.sync_all().map_err(|error| Thrown::io(&error))
    }
}

/// Copies what is up to `zxid` into `LOG.chopped<zxid>`. What goes wrong is told on stdout, and the exit code is 0
/// all the same, as in Java.
fn chop(name: &str, zxid: Zxid, out: &mut impl Write) -> Result<(), Thrown> {
    let target = format!("{name}.chopped{zxid}");
    let to = File::create(&target).map_err(|error| Thrown::of_file(&target, error.into()))?;
    let mut to = BufWriter::new(to);
    let whole = chop_into(name, zxid, &mut to, out);
    to.flush().map_err(|error| Thrown::io(&error))?;
    drop(to);
    match whole {
        Ok(true) => Ok(()),
        Ok(false) => {
            let name = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
            Err(Thrown::new("", format!("Failed to chop {name}")))
        }
        Err(thrown) => Err(thrown),
    }
}

/// True: there was something behind `zxid`, and it is left out.
fn chop_into(name: &str, zxid: Zxid, to: &mut impl Write, out: &mut impl Write) -> Result<bool, Thrown> {
    let mut log = match RawLog::open(Path::new(name), entry_max()) {
        Ok(log) => log,
        Err(InspectError::Magic { .. }) => {
            eprintln!("Invalid magic number in txn log file");
            return Ok(false);
        }
        Err(other) => return Err(Thrown::of_file(name, other)),
    };
    say(out, &headline(&log));
    let put = |to: &mut dyn Write, bytes: &[u8]| to.write_all(bytes).map_err(|error| Thrown::io(&error));
    put(to, &log.header)?;
    let (mut count, mut seen, mut previous) = (0, false, None);
    let mut bytes = BytesMut::new();
    while let Some(entry) = log.read_entry().map_err(|error| Thrown::of_file(name, error))? {
        let right = entry.right_checksum();
        if entry.checksum != right {
            let text = format!("CRC doesn't match {} vs {right}", entry.checksum);
            return Err(Thrown::new("java.io.IOException", text));
        }
        let at = Txn::decode(entry.payload.clone())?.zxid();
        match entry.end {
            Some(b'B') => {}
            Some(_) => {
                say(out, "Last transaction was partial.");
                return Err(Thrown::new("java.io.EOFException", "Last transaction was partial."));
            }
            None => return Err(Thrown::end_of_file()),
        }
        seen |= at == zxid;
        if let Some(gap) = previous.and_then(|previous| gap(previous, at)) {
            say(out, &gap);
        }
        previous = Some(at);
        if at > zxid {
            if count == 0 || !seen {
                say(out, &format!("This log does not contain zxid {zxid:x}"));
                return Ok(false);
            }
            say(out, &format!("Chopping at {zxid:x} new log has {count} records"));
            return Ok(true);
        }
        bytes.clear();
        entry.write(entry.checksum, &mut bytes);
        put(to, &bytes)?;
        count += 1;
    }
    say(out, &format!("EOF reached after {count} txns."));
    Ok(false)
}

/// What is missing between two neighbours.
fn gap(previous: Zxid, next: Zxid) -> Option<String> {
    let kind = match epoch_of(next) == epoch_of(previous) {
        _ if next == previous + 1 => return None,
        true => "intra-epoch",
        false if counter_of(next) != 1 => "inter-epoch",
        false => return None,
    };
    Some(format!("There is {kind} gap between {previous:x} and {next:x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use wire::zk::txn::{TxnHeader, TxnRecord};

    /// A log of three sessions; `damage` changes its bytes.
    fn log(damage: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = BytesMut::from(&b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0"[..]);
        for zxid in [1, 2, 4] {
            let record = TxnRecord::CreateSession { timeout: 30_000 };
            let header = TxnHeader { session: 7, cxid: 0, zxid, time: 0, kind: record.kind() };
            let payload = Txn::new(header, record, None).bytes;
            let entry = RawEntry { checksum: 0, payload, end: None };
            entry.write(entry.right_checksum(), &mut bytes);
        }
        let mut bytes = bytes.to_vec();
        bytes.extend_from_slice(&[0; 100]);
        damage(&mut bytes);
        let path = folder.path().join("log.1");
        fs::write(&path, bytes).unwrap();
        (folder, path.display().to_string())
    }

    fn played(words: &[&str], name: &str, answers: &str) -> (Result<(), u8>, String) {
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        words.push(name.into());
        let given = commons_cli::parse(FLAGS, &words).unwrap();
        let mut out = vec![];
        let done = run(&given, &mut answers.as_bytes(), &mut out);
        let done = done.map_err(|stop| match stop {
            Stop::Told(code, _) => code,
            Stop::Thrown(_) => 1,
        });
        (done, String::from_utf8(out).unwrap())
    }

    const ENTRY: usize = 8 + 4 + 36 + 1;

    #[test]
    fn a_wrong_checksum_is_shown_and_repaired_where_asked_for() {
        let (_folder, name) = log(|bytes| bytes[16 + ENTRY + 7] ^= 1);
        let (done, out) = played(&[], &name, "");
        assert!(
            done.is_ok() && out.contains("\nCRC ERROR - ") && out.ends_with("EOF reached after 3 txns.\n")
        );
        let (done, out) = played(&["-r"], &name, "what Yes");
        assert!(done.is_ok() && out.ends_with("has been written with 1 fixed CRC error(s)\n"), "{out}");
        assert_eq!(out.matches("Would you like to fix it").count(), 2);
        let fixed = format!("{name}.fixed");
        assert!(!played(&[], &fixed, "").1.contains("CRC ERROR"));
        assert_eq!(fs::metadata(&fixed).unwrap().len(), 16 + (64 << 20));
        assert_eq!(played(&["-r"], &name, "Y").0, Err(1), "the fixed file is there already");
        fs::remove_file(&fixed).unwrap();
        assert_eq!(played(&["-r"], &name, "abort").0, Err(0));
        fs::remove_file(&fixed).unwrap();
        assert!(played(&["-r", "-y"], &name, "").1.contains("CRC FIXED - "));
    }

    #[test]
    fn a_torn_entry_ends_the_log() {
        let (_folder, name) = log(|bytes| bytes[16 + 2 * ENTRY - 1] = 0);
        let (done, out) = played(&[], &name, "");
        assert_eq!(done, Err(1));
        assert_eq!(out.lines().count(), 3, "the headline, one whole entry and the torn one: {out}");
        let (_folder, name) = log(|bytes| bytes.truncate(16 + ENTRY + 30));
        assert!(played(&[], &name, "").1.ends_with("EOF reached after 1 txns.\n"));
        let (_folder, name) = log(|bytes| bytes.truncate(16 + 2 * ENTRY - 1));
        assert_eq!(played(&[], &name, "").0, Err(1));
    }

    #[test]
    fn a_log_is_cut_behind_a_zxid_that_it_has() {
        let (_folder, name) = log(|_| {});
        let (_, out) = played(&["-c", "-z", "2"], &name, "");
        assert!(
            out.contains("intra-epoch gap between 2 and 4\nChopping at 2 new log has 2 records\n"),
            "{out}"
        );
        assert_eq!(fs::read(format!("{name}.chopped2")).unwrap().len(), 16 + 2 * ENTRY);
        let (done, out) = played(&["-c", "-z", "0x3"], &name, "");
        assert!(done.is_ok() && out.ends_with("zxid 3\nGot exception: Failed to chop log.1\n"), "{out}");
        let (_, out) = played(&["-c", "-z", "4"], &name, "");
        assert!(out.ends_with("EOF reached after 3 txns.\nGot exception: Failed to chop log.1\n"), "{out}");
    }
}
