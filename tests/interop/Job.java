import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** One life of the job that copies `in` to `out`, as transactions.py's, with Kafka's own clients. An error that does not go
 * away ends it; so may a kill at any time. */
public class Job {
    public static void main(String[] args) {
        Map<String, Object> reads = new HashMap<>(Map.of(
            "bootstrap.servers", args[0], "group.id", "job", "enable.auto.commit", "false", "auto.offset.reset", "earliest",
            "isolation.level", "read_committed", "session.timeout.ms", "6000", "max.poll.interval.ms", "60000",
            "max.poll.records", "50"));
        Map<String, Object> writes = new HashMap<>(Map.of(
            "bootstrap.servers", args[0], "transactional.id", "job-id", "transaction.timeout.ms", "15000", "linger.ms", "1"));
        try (KafkaConsumer<String, String> consumer =
                 new KafkaConsumer<>(reads, new StringDeserializer(), new StringDeserializer());
             KafkaProducer<String, String> producer =
                 new KafkaProducer<>(writes, new StringSerializer(), new StringSerializer())) {
            work(consumer, producer);
        } catch (KafkaException why) {
            System.out.println("the job ends with " + why);
        }
    }

    private static void work(KafkaConsumer<String, String> consumer, KafkaProducer<String, String> producer) {
        producer.initTransactions();
        consumer.subscribe(List.of("in"));
        while (true) {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(300));
            if (records.isEmpty()) {
                System.out.println("done 0");
                continue;
            }
            producer.beginTransaction();
            try {
                Map<TopicPartition, OffsetAndMetadata> positions = new HashMap<>();
                for (ConsumerRecord<String, String> record : records) {
                    producer.send(new ProducerRecord<>("out", record.partition(), null, record.value()));
                    positions.put(new TopicPartition(record.topic(), record.partition()),
                                  new OffsetAndMetadata(record.offset() + 1));
                }
                producer.sendOffsetsToTransaction(positions, consumer.groupMetadata());
                producer.commitTransaction();
            } catch (KafkaException why) {
                // Where it cannot be aborted, as after a fencing, the next life's start sees to it.
                System.out.println("the job aborts: " + why);
                producer.abortTransaction();
                throw why;
            }
            System.out.println("done " + records.count());
        }
    }
}
