//! Where the first batch of a Produce request's records begins and ends, as 3.5.1 finds out before it looks at anything else.

use wire::batch::produce::Refused;
use wire::kafka::ErrorCode;

/// Offset and length.
const OVERHEAD: usize = 12;
/// The smallest message of format v0, without them.
const MESSAGE_MIN: i32 = 14;
const MAGIC_AT: usize = 16;
/// The lower byte of the attributes, and the bit there that says that a batch is part of a transaction.
const ATTRIBUTES_AT: usize = 22;
const TRANSACTIONAL: u8 = 0x10;

/// Whether the first batch is part of a transaction; `false` where there is no whole one. The error is of bytes that cannot be
/// a batch or message.
pub fn begins_in_transaction(records: &[u8]) -> Result<bool, Refused> {
    let corrupt =
        |message: String| Refused { message: Some(message), ..Refused::from(ErrorCode::CORRUPT_MESSAGE) };
    let Some(len) = records.get(8..OVERHEAD) else { return Ok(false) };
    let len = i32::from_be_bytes(len.try_into().expect("4 bytes"));
    if len < MESSAGE_MIN {
        return Err(corrupt(format!(
            "Record size {len} is less than the minimum record overhead ({MESSAGE_MIN})"
        )));
    }
    let Some(&magic) = records.get(MAGIC_AT) else { return Ok(false) };
    match magic as i8 {
        0 | 1 => Ok(false),
        2 if records.len() < OVERHEAD + len as usize => Ok(false),
        2 => Ok(records[ATTRIBUTES_AT] & TRANSACTIONAL != 0),
        magic => Err(corrupt(format!("Invalid magic found in record: {magic}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::batch::BatchBuilder;

    #[test]
    fn the_first_batch_tells_of_its_transaction_unless_it_cannot_be_one() {
        let begins =
            |records: &[u8]| begins_in_transaction(records).map_err(|refused| refused.message.unwrap());
        let batch = |on: bool| {
            let mut batch = BatchBuilder::new().producer(7, 0, 0).transactional(on);
            batch.push(1, Some(b"key"), Some(b"value"), &[]);
            batch.finish().unwrap()
        };
        assert_eq!(begins(&batch(true)), Ok(true));
        assert_eq!(begins(&batch(false)), Ok(false));
        assert_eq!(begins(&batch(true)[..70]), Ok(false), "a part of one");
        assert_eq!(begins(&batch(true)[..16]), Ok(false));
        assert_eq!(begins(b""), Ok(false));
        let mut odd = batch(true).to_vec();
        odd[MAGIC_AT] = 0xff;
        assert_eq!(begins(&odd).unwrap_err(), "Invalid magic found in record: -1");
        odd[8..OVERHEAD].copy_from_slice(&[0xff; 4]);
        assert_eq!(begins(&odd).unwrap_err(), "Record size -1 is less than the minimum record overhead (14)");
    }

    #[test]
    fn a_batch_that_says_it_has_as_few_bytes_as_a_message_is_looked_at_no_further_than_they_go() {
        let mut short = vec![0; 26];
        short[11] = 14;
        short[MAGIC_AT] = 2;
        assert!(!begins_in_transaction(&short).unwrap());
        short[ATTRIBUTES_AT] = TRANSACTIONAL;
        assert!(begins_in_transaction(&short).unwrap());
    }
}
