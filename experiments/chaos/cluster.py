"""A Ray cluster on this machine, `cluster.py NODES CORES`; a line "shoot" kills a node and adds one."""

import os
import random
import sys

os.environ.update(
    RAY_health_check_period_ms="1000", RAY_health_check_failure_threshold="3", RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0"
)
from ray.cluster_utils import Cluster


def main() -> None:
    """Print the address, then obey."""
    given = {"object_store_memory": 100_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**given, "num_cpus": 0})
    count, cores = map(int, sys.argv[1:])
    nodes = [cluster.add_node(num_cpus=cores, object_store_memory=100_000_000) for _ in range(count)]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() != "shoot":
            break
        cluster.remove_node(nodes.pop(random.randrange(len(nodes))), allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=cores, object_store_memory=100_000_000))
        print("shot", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
