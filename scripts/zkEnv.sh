#!/usr/bin/env bash
# To be sourced by an operator's own scripts: where the configuration and the logs of this installation are.
#
#   ZOOBINDIR=/opt/menagerie/bin . /opt/menagerie/bin/zkEnv.sh [--config DIR]
#
# Sets ZOOBINDIR, ZOOKEEPER_PREFIX, ZOOCFGDIR, ZOOCFG, ZOO_LOG_DIR, ZK_SERVER_HEAP and ZK_CLIENT_HEAP where they are
# not set, after zookeeper-env.sh and java.env of the configuration's folder, and exports SERVER_JVMFLAGS and
# CLIENT_JVMFLAGS, from which the tools read -D properties. There is no JAVA and no CLASSPATH: there is no JVM.
ZOOBINDIR=${ZOOBINDIR:-$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)}
ZOOKEEPER_PREFIX=$ZOOBINDIR/..

if [[ $# -gt 1 && $1 = --config ]]; then
  ZOOCFGDIR=$2
  shift 2
fi
if [[ -z ${ZOOCFGDIR:-} ]]; then
  ZOOCFGDIR=$ZOOBINDIR/../conf
  [[ -e $ZOOCFGDIR ]] || ZOOCFGDIR=$ZOOBINDIR/../etc/zookeeper
fi
if [[ -f $ZOOCFGDIR/zookeeper-env.sh ]]; then
  . "$ZOOCFGDIR/zookeeper-env.sh"
fi
ZOOCFG=$ZOOCFGDIR/${ZOOCFG:-zoo.cfg}
if [[ -f $ZOOCFGDIR/java.env ]]; then
  . "$ZOOCFGDIR/java.env"
fi
ZOO_LOG_DIR=${ZOO_LOG_DIR:-$ZOOKEEPER_PREFIX/logs}
ZK_SERVER_HEAP=${ZK_SERVER_HEAP:-1000}
ZK_CLIENT_HEAP=${ZK_CLIENT_HEAP:-256}
export SERVER_JVMFLAGS="-Xmx${ZK_SERVER_HEAP}m ${SERVER_JVMFLAGS:-}"
export CLIENT_JVMFLAGS="-Xmx${ZK_CLIENT_HEAP}m ${CLIENT_JVMFLAGS:-}"
