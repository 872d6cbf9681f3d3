#!/bin/bash
# A search on hosts that are simply there, reached by ssh: starts Ray on all of them, runs the search on the first, stops Ray.
#
#   HOSTS="gpu1 gpu2 gpu3" SHARED=/shared/nas bash experiments/clusters/hosts.sh
#
# COMMAND, in $SHARED/metaformer-nas, takes the place of the search, such as a full training on all hosts:
#   COMMAND="-m nas retrain $SHARED/runs/imagenet:17 --recipe caformer_300 --out $SHARED/17 --workers 3 --min-workers 2" ...
#
# Needs: the same virtual environment in $SHARED/venv with this package in it, the same paths on all hosts, ssh without a
# password, ports 6379 to 6381 and 20000 to 29999 open between the hosts and closed to everyone else.
# Whoever has Ray's token can run code as you: it lies in $SHARED/.ray_token, which only you can read.
# Run on: three hosts that are network namespaces of one machine, each with processes, home and cache of its own (several_hosts.py).
set -euo pipefail
: "${HOSTS:?names of the hosts, the first one drives}" "${SHARED:?a folder that all hosts see}"
SPACE=${SPACE:-search_spaces/imagenet.yaml} DATA=${DATA:-/data/imagenet} PORT=6379

read -ra hosts <<<"$HOSTS"
head=${hosts[0]}
token="$SHARED/.ray_token"
[ -s "$token" ] || (umask 077 && "$SHARED/venv/bin/python" -c "import secrets; print(secrets.token_hex(32))" >"$token")
own="RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token RAY_USAGE_STATS_ENABLED=0"
ray="$own $SHARED/venv/bin/ray"

stop() { for host in "${hosts[@]}"; do ssh "$host" "$ray stop" >/dev/null 2>&1 || true; done; }
trap stop EXIT

address=$(ssh "$head" "hostname -i" | awk '{print $1}'):$PORT
# none of these is a port that Ray takes by itself, such as its client server's 10001
ports="--node-manager-port=6380 --object-manager-port=6381 --min-worker-port=20000 --max-worker-port=29999 --disable-usage-stats"
ssh "$head" "$ray start --head --port=$PORT --include-dashboard=false $ports"
for host in "${hosts[@]:1}"; do
    ssh "$host" "$ray start --address=$address $ports"
done

# the record is a journal file, made for shared file systems, unless STORAGE says otherwise; NAS_CACHE is local to each host
name=$(basename "$SPACE" .yaml)
mkdir -p "$SHARED/runs"
search="run_search.py $SPACE --data $DATA --out $SHARED/runs/$name --storage ${STORAGE:-journal://$SHARED/runs/$name.journal}"
ssh "$head" "cd $SHARED/metaformer-nas && $own NAS_CACHE=${NAS_CACHE:-/tmp/nas-cache} $SHARED/venv/bin/python ${COMMAND:-$search} \
    --address $address $*"
