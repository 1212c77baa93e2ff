//! Log segments that a Kafka 3.5.1 broker wrote for Java's console producer, in each codec: 400 records with a key and
//! two headers of the same name.

use bytes::Bytes;
use wire::batch::{Batch, BatchBuilder, Batches, Compression};

const SEGMENTS: [(Compression, &[u8]); 5] = [
    (Compression::None, include_bytes!("fixtures/segments/none.log")),
    (Compression::Gzip, include_bytes!("fixtures/segments/gzip.log")),
    (Compression::Snappy, include_bytes!("fixtures/segments/snappy.log")),
    (Compression::Lz4, include_bytes!("fixtures/segments/lz4.log")),
    (Compression::Zstd, include_bytes!("fixtures/segments/zstd.log")),
];

fn batches(segment: &'static [u8]) -> impl Iterator<Item = Batch> {
    Batches::new(Bytes::from_static(segment)).map(|batch| batch.unwrap())
}

#[test]
fn javas_records_are_read_from_every_codec() {
    for (codec, segment) in SEGMENTS {
        let mut next = 0;
        for batch in batches(segment) {
            batch.check_crc().unwrap();
            assert_eq!(batch.header().attributes.compression(), Ok(codec));
            assert_eq!(batch.header().base_offset, next);
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                assert_eq!(record.offset, next);
                assert_eq!(record.key.unwrap(), format!("key-{}", next % 17));
                assert_eq!(record.value.unwrap(), format!("value number {next} of a run that compresses"));
                let headers: Vec<_> =
                    record.headers.iter().map(|h| (h.key.to_string(), h.value.clone().unwrap())).collect();
                let name = format!("h{}", next % 3);
                assert_eq!(headers, [(name.clone(), format!("v{next}").into()), (name, "again".into())]);
                next += 1;
            }
            assert_eq!(batch.header().next_offset(), next);
        }
        assert_eq!(next, 400, "{codec:?}");
    }
}

/// The batch rebuilt from its own records.
fn rebuilt(batch: &Batch) -> Bytes {
    let header = *batch.header();
    let mut builder = BatchBuilder::like(&header);
    let mut records = batch.records().unwrap();
    while let Some(record) = records.next_raw() {
        let record = record.unwrap();
        builder.push_raw(record.offset_delta, header.base_timestamp + record.timestamp_delta, &record);
    }
    builder.finish().unwrap()
}

#[test]
fn a_batch_written_anew_has_javas_bytes() {
    for batch in batches(SEGMENTS[0].1) {
        assert_eq!(rebuilt(&batch), batch.bytes());
    }
    // Compressors differ in their output, not in the records or the header.
    for (codec, segment) in &SEGMENTS[1..] {
        for batch in batches(segment) {
            let again = Batch::split_from(&mut rebuilt(&batch)).unwrap().unwrap();
            again.check_crc().unwrap();
            assert_eq!(again.header().max_timestamp, batch.header().max_timestamp);
            let read = |batch: &Batch| batch.records().unwrap().collect::<Result<Vec<_>, _>>().unwrap();
            assert_eq!(read(&again), read(&batch), "{codec:?}");
        }
    }
}
