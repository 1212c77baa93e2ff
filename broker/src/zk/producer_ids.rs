//! Blocks of producer ids, claimed one after another from `/latest_producer_id_block`.

use serde_json::json;

use super::{Zk, ZkError};

const PATH: &str = "/latest_producer_id_block";
/// Ids of one block.
pub const BLOCK: i64 = 1000;

impl Zk {
    /// Creates the node. Kafka leaves its data null at first, which this client cannot write, and Java's brokers cannot
    /// read empty data: so it starts with a block of no ids before the first.
    pub(super) async fn make_producer_id_node(&self) -> Result<(), ZkError> {
        match self.create(PATH, node(-1, 0, -1).as_bytes()).await {
            Err(error) if !error.node_exists() => Err(error),
            _ => Ok(()),
        }
    }

    /// The first id of a block that is this broker's from now on.
    pub async fn claim_producer_ids(&self, broker: i32) -> Result<i64, ZkError> {
        loop {
            let Some((data, stat)) = self.get(PATH).await? else {
                self.make_producer_id_node().await?;
                continue;
            };
            let start = next_start(&data)?;
            let end = start + BLOCK - 1;
            match self.set(PATH, node(broker, start, end).as_bytes(), Some(stat.version)).await {
                Ok(_) => return Ok(start),
                // Somebody else's, or our own write whose answer was lost: that block is skipped.
                Err(error) if error.bad_version() => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn node(broker: i32, start: i64, end: i64) -> String {
    let node = json!({
        "version": 1, "broker": broker, "block_start": start.to_string(), "block_end": end.to_string(),
    });
    node.to_string()
}

/// The first id behind the block that was given out last, whose whole successor must be there.
fn next_start(data: &[u8]) -> Result<i64, ZkError> {
    let start = last_id(data)? + 1;
    if start > i64::MAX - BLOCK {
        return Err(ZkError::ProducerIdsExhausted { start });
    }
    Ok(start)
}

/// The last id of the block that was given out last; -1 when none was.
fn last_id(data: &[u8]) -> Result<i64, ZkError> {
    if data.is_empty() {
        return Ok(-1);
    }
    let node = Zk::json(PATH, data)?;
    let end = node["block_end"].as_str().and_then(|text| text.parse().ok());
    end.ok_or_else(|| ZkError::BadData { path: PATH.into(), problem: "no block_end".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_strings() {
        let recorded = br#"{"version":1,"broker":3,"block_start":"2000","block_end":"2999"}"#;
        assert_eq!(last_id(recorded).unwrap(), 2999);
        assert_eq!(node(3, 2000, 2999).as_bytes(), recorded);
        assert!(last_id(br#"{"version":1}"#).unwrap_err().to_string().contains(PATH));
    }

    #[test]
    fn blocks_follow_one_another_until_no_whole_one_is_left() {
        assert_eq!(last_id(b"").unwrap(), -1);
        assert_eq!(next_start(b"").unwrap(), 0);
        assert_eq!(next_start(node(3, 2000, 2999).as_bytes()).unwrap(), 3000);
        let last = i64::MAX - BLOCK;
        assert_eq!(next_start(node(3, 0, last - 1).as_bytes()).unwrap(), last);
        let over = next_start(node(3, 0, last).as_bytes());
        assert!(matches!(over, Err(ZkError::ProducerIdsExhausted { start }) if start == last + 1));
    }
}
