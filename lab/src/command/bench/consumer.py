"""A plain consumer: Kafka to PostgreSQL, as one writes it with confluent-kafka and psycopg.

Records are taken in batches; a batch is copied into a temporary table and upserted from there, and the
offsets are stored in the same transaction. It ends once every partition has reached the end seen at start,
or runs on when it is told to.
"""

import json
import sys
from datetime import datetime, timezone
from decimal import Decimal

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition


def statements(table, columns):
    names = ", ".join(columns)
    updates = ", ".join(f"{name} = EXCLUDED.{name}" for name in columns[1:])
    return {
        "stage": f"CREATE TEMPORARY TABLE stage ON COMMIT DELETE ROWS AS "
        f"SELECT {names}, 0::bigint AS arrival FROM {table} LIMIT 0",
        "copy": f"COPY stage ({names}, arrival) FROM STDIN",
        "upsert": f"INSERT INTO {table} ({names}) SELECT DISTINCT ON (event_id) {names} FROM stage "
        f"ORDER BY event_id, arrival DESC ON CONFLICT (event_id) DO UPDATE SET {updates}",
        "offsets": "INSERT INTO consumer_offsets (grp, partition, next_offset) VALUES (%s, %s, %s) "
        "ON CONFLICT (grp, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset",
        "stored": "SELECT partition, next_offset FROM consumer_offsets WHERE grp = %s",
    }


def write(connection, sql, columns, group, messages):
    offsets = {}
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy(sql["copy"]) as copy:
            for arrival, message in enumerate(messages):
                if message.error():
                    raise KafkaException(message.error())
                event = json.loads(message.value(), parse_float=Decimal)
                event["payload"] = json.dumps(event["payload"])
                if "record_at" in columns:
                    event["record_at"] = datetime.fromtimestamp(message.timestamp()[1] / 1000, timezone.utc)
                copy.write_row([event[name] for name in columns] + [arrival])
                offsets[message.partition()] = message.offset() + 1
        cursor.execute(sql["upsert"])
        cursor.executemany(sql["offsets"], [(group, *pair) for pair in sorted(offsets.items())])


def main():
    settings = json.loads(sys.argv[1])
    group, topic, table = settings["group"], settings["topic"], settings["table"]
    connection = psycopg.connect(settings["postgres"], autocommit=True)
    found = connection.execute(f"SELECT * FROM {table} LIMIT 0").description
    columns = [column.name for column in found]
    sql = statements(table, columns)
    connection.execute(sql["stage"])
    consumer = Consumer(
        {
            "bootstrap.servers": settings["bootstrap"],
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            # Its default of a second lets the queue run empty.
            "fetch.queue.backoff.ms": 10,
        }
    )

    def stored():
        return dict(connection.execute(sql["stored"], [group]).fetchall())

    def assigned(_, partitions):
        known = stored()
        for partition in partitions:
            partition.offset = known.get(partition.partition, 0)
        consumer.assign(partitions)
        print("assigned", flush=True)

    consumer.subscribe([topic], on_assign=assigned)
    partitions = consumer.list_topics(topic).topics[topic].partitions
    ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number))[1] for number in partitions}
    while True:
        messages = consumer.consume(num_messages=settings["batch"], timeout=0.1)
        if messages:
            write(connection, sql, columns, group, messages)
        elif not settings["forever"]:
            known = stored()
            if all(known.get(number, 0) >= end for number, end in ends.items()):
                break
    consumer.close()


main()
