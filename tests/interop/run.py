"""The interop layers: programs that nobody here wrote, against ours.

    scripts/interop [LAYER...]
"""

import harness
from assignors import assignors
from authorizer import authorizer
from differ import differ, differ_brief
from bad_handshakes import bad_handshakes
from balance import balanced_plan
from both_ways import kafka_tools_brief, kafka_tools_whole
from bad_input import bad_frames, wrong_configurations
from broker_disk import compacted, disk_upkeep, java_takes_over, killed_broker, transactions_compacted
from broker_faults import broker_faults, broker_kills, broker_kills_mixed, lost_machine
from broker_metrics import broker_metrics
from broker_security import secure_brokers
from broker_swap import broker_swap, broker_swap_brief
from dir_failures import dir_failures, dir_full, failed_coordinators
from dir_moves import dir_moves, dir_moves_mixed
from ensemble_shapes import hierarchical, observer_masters, several_addresses
from faults import faults
from kafka_on_ours import kafka_on_ours
from client_fixtures import client_fixtures
from kafka_clients import java_tools, kafka_python, killed_leader, librdkafka
from client_quotas import client_quotas
from old_clients import old_clients
from listeners import listeners
from mixed_brokers import mixed_brokers
from mixed_ensemble import one_of_ours, two_of_ours
from moves import moves
from old_formats import old_formats
from oauth_and_tokens import oauth_and_tokens
from old_protocol import old_protocol, old_protocol_of_one_one, old_protocol_of_two_eight
from operators import operators
from record import record
from reconfig import reconfig_brief, reconfig_mixed
from replication import nearest_replica, throttled_replicas
from secure_tutorial import secure_tutorial
from transactions import exactly_once_brief, exactly_once_java, exactly_once_mixed, transactions, transactions_mixed
from transaction_ends import transaction_ends
from streams import streams
from transactions import exactly_once_brief_java_client, exactly_once_java_client, exactly_once_ours
from swap import swap, swap_brief, swap_kafka
from zookeeper_auth import zookeeper_auth
from zookeeper_cli import zookeeper_cli
from zookeeper_clients import kazoo_recipes, real_zkcli
from zookeeper_old import old_zookeepers, old_zookeepers_brief
from zookeeper_past import zookeeper_past
from zookeeper_security import sasl_clients, secure_ensemble, tls_clients
from zookeeper_tools import zookeeper_tools, zookeeper_tools_brief
from zookeeper_torn import torn_logs, torn_logs_brief

# These run by name only: minutes each.
BY_NAME = (zookeeper_cli, zookeeper_tools, old_zookeepers, torn_logs, broker_kills, broker_kills_mixed, faults, reconfig_mixed, kafka_on_ours, kafka_tools_whole, swap, swap_kafka, broker_swap,
           moves, dir_moves_mixed, dir_failures, exactly_once_mixed, exactly_once_java, streams, differ, record)
LAYERS = (wrong_configurations, bad_frames, real_zkcli, kazoo_recipes, operators, zookeeper_tools_brief,
          old_zookeepers_brief, zookeeper_past, torn_logs_brief, two_of_ours, one_of_ours, reconfig_brief,
          tls_clients, sasl_clients, secure_ensemble, secure_brokers, listeners, broker_metrics, oauth_and_tokens, zookeeper_auth, secure_tutorial, bad_handshakes,
          hierarchical, observer_masters, several_addresses, swap_brief, java_tools,
          librdkafka, kafka_python, client_fixtures, killed_leader, assignors, old_clients, old_formats, nearest_replica, throttled_replicas, balanced_plan, client_quotas, authorizer, mixed_brokers, broker_swap_brief, kafka_tools_brief, killed_broker, broker_faults, lost_machine, compacted, java_takes_over,
          disk_upkeep, dir_moves, dir_full, failed_coordinators,
          transactions, transactions_mixed, transactions_compacted, exactly_once_brief, differ_brief)

BY_NAME += (old_protocol, old_protocol_of_one_one, old_protocol_of_two_eight)

# Transactions that are killed at random, of librdkafka's and of Kafka's own clients.
BY_NAME += (exactly_once_ours, exactly_once_java_client, transaction_ends)
LAYERS += (exactly_once_brief_java_client,)

harness.main({layer.__name__: layer for layer in LAYERS}, {layer.__name__: layer for layer in BY_NAME})
