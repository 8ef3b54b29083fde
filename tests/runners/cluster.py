"""A real Ray cluster on loopback, for tests: small, silent, and importing the code under test."""

import os
import socket
from contextlib import contextmanager

from tests.conftest import ROOT

OBJECT_STORE = 80 * 2**20
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_worker_register_timeout_seconds": "240",
    # A node's death is noticed in seconds: the tests wait for it.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


AGENT_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
"""Of a node's helpers. Where none is given, the node dies if the helper takes 15 s to choose one."""


def free_ports():
    sockets = [socket.socket() for _ in AGENT_PORTS]
    for one in sockets:
        one.bind(("", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return dict(zip(AGENT_PORTS, ports, strict=True))


@contextmanager
def cluster(*cpus):
    """Nodes with so many processors each, the first of them the head, and this process connected to it."""
    import pytest
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, os.environ.get(name, value) if name == "OMP_NUM_THREADS" else value)
        made = Cluster()
        try:
            nodes = [
                made.add_node(
                    num_cpus=count, object_store_memory=OBJECT_STORE, node_ip_address=f"127.0.0.{number + 2}",
                    **({"include_dashboard": False} if number == 0 else {})
                )
                for number, count in enumerate(cpus)
            ]  # fmt: skip
            ray.init(address=made.address, log_to_driver=False, logging_level="error")
            made.wait_for_nodes()
            yield made, nodes
        finally:
            ray.shutdown()
            made.shutdown()
