// One of the Kafka Java clients that there ever were, from 0.10.2 on: only what all of them have is called by name.
//   java -cp JARS OldClient.java BOOTSTRAP TOPIC CODEC: produces, reads in a group, commits, reads on; prints what it saw.

import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;

public class OldClient {
    static final int RECORDS = 500;
    static final String STRINGS = "org.apache.kafka.common.serialization.String";

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0], topic = args[1], codec = args[2];
        admin(bootstrap, topic);
        produce(bootstrap, topic, codec);
        read(bootstrap, topic, topic + "-all", RECORDS);
        int committed = read(bootstrap, topic, topic + "-half", RECORDS / 2);
        // What is left is what was not committed.
        read(bootstrap, topic, topic + "-half", RECORDS - committed);
        System.out.println("went on");
        bounds(bootstrap, topic);
    }

    static Properties with(String bootstrap, String... pairs) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        for (int i = 0; i < pairs.length; i += 2) properties.put(pairs[i], pairs[i + 1]);
        return properties;
    }

    /** The admin client came with 0.11; who has none lets the broker create the topic. */
    static void admin(String bootstrap, String topic) throws Exception {
        Class<?> admins, topics;
        try {
            admins = Class.forName("org.apache.kafka.clients.admin.AdminClient");
            topics = Class.forName("org.apache.kafka.clients.admin.NewTopic");
        } catch (ClassNotFoundException tooOld) {
            System.out.println("admin none");
            return;
        }
        AutoCloseable admin = (AutoCloseable) admins.getMethod("create", Properties.class).invoke(null, with(bootstrap));
        Object wanted = topics.getConstructor(String.class, int.class, short.class).newInstance(topic, 3, Short.parseShort(System.getProperty("replicas", "3")));
        Object created = admins.getMethod("createTopics", Collection.class).invoke(admin, Collections.singleton(wanted));
        wait(created, "all");
        Object listed = admins.getMethod("listTopics").invoke(admin);
        if (!((Collection<?>) wait(listed, "names")).contains(topic)) throw new AssertionError("not listed: " + topic);
        Object cluster = admins.getMethod("describeCluster").invoke(admin);
        System.out.println("admin " + ((Collection<?>) wait(cluster, "nodes")).size() + " brokers");
        admin.close();
    }

    /** The future that a result of the admin client has by this name. */
    static Object wait(Object result, String name) throws Exception {
        Object future = result.getClass().getMethod(name).invoke(result);
        return Class.forName("java.util.concurrent.Future").getMethod("get").invoke(future);
    }

    static void produce(String bootstrap, String topic, String codec) throws Exception {
        KafkaProducer<String, String> producer = new KafkaProducer<>(with(bootstrap, "acks", "all", "retries", "20",
            "compression.type", codec, "linger.ms", "20", "max.in.flight.requests.per.connection", "1",
            "key.serializer", STRINGS + "Serializer", "value.serializer", STRINGS + "Serializer"));
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (int i = 0; i < RECORDS; i++) sent.add(producer.send(new ProducerRecord<>(topic, "k" + i % 7, "v" + i)));
        for (Future<RecordMetadata> one : sent)
            if (one.get().offset() < 0) throw new AssertionError("no offset");
        producer.close();
        System.out.println("produced " + sent.size());
    }

    /** So many records or what comes along with them, in the order of their keys, and a commit of just them. */
    static int read(String bootstrap, String topic, String group, int wanted) {
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(with(bootstrap, "group.id", group,
            "auto.offset.reset", "earliest", "enable.auto.commit", "false", "max.poll.records", "50",
            "key.deserializer", STRINGS + "Deserializer", "value.deserializer", STRINGS + "Deserializer"));
        consumer.subscribe(Collections.singletonList(topic));
        int got = 0;
        int[] last = new int[7];
        java.util.Arrays.fill(last, -1);
        long end = System.currentTimeMillis() + 240_000;
        while (got < wanted) {
            if (System.currentTimeMillis() > end) throw new AssertionError(group + " got " + got + " of " + wanted);
            @SuppressWarnings("deprecation")
            ConsumerRecords<String, String> records = consumer.poll(200);
            for (ConsumerRecord<String, String> record : records) {
                int key = Integer.parseInt(record.key().substring(1)), value = Integer.parseInt(record.value().substring(1));
                if (value % 7 != key || value <= last[key]) throw new AssertionError(record + " behind " + last[key]);
                last[key] = value;
            }
            got += records.count();
            if (records.count() > 0) consumer.commitSync();
        }
        consumer.close();
        System.out.println("read " + got);
        return got;
    }

    /** Ends by number and by time. */
    static void bounds(String bootstrap, String topic) {
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(with(bootstrap, "group.id", "bounds",
            "key.deserializer", STRINGS + "Deserializer", "value.deserializer", STRINGS + "Deserializer"));
        List<TopicPartition> parts = new ArrayList<>();
        consumer.partitionsFor(topic).forEach(part -> parts.add(new TopicPartition(topic, part.partition())));
        long first = consumer.beginningOffsets(parts).values().stream().mapToLong(Long::longValue).sum();
        long last = consumer.endOffsets(parts).values().stream().mapToLong(Long::longValue).sum();
        long timed = consumer.offsetsForTimes(Collections.singletonMap(parts.get(0), 0L)).size();
        consumer.close();
        if (first != 0 || last != RECORDS || timed != 1) throw new AssertionError(first + " " + last + " " + timed);
        System.out.println("ends " + last);
    }
}
