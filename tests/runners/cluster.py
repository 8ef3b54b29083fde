"""A real Ray cluster on loopback, for tests: small, silent, and importing the code under test."""

import os
from contextlib import contextmanager

import pytest

from multimodal.runners import LOOPBACK_ONLY
from tests.conftest import ROOT

os.environ.setdefault(LOOPBACK_ONLY, "0")  # before ray is imported

OBJECT_STORE = 80 * 2**20
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A busy machine may take minutes to import torch in a worker.
    "RAY_worker_register_timeout_seconds": "300",
    # A node's death is noticed in seconds: the tests wait for it.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
}


def add_node(cluster, cpus, **options):
    """One more node of the cluster."""
    cluster.add_node(num_cpus=cpus, object_store_memory=OBJECT_STORE, **options)


@contextmanager
def started(*cpus):
    """A cluster of nodes with so many processors each, the first of them the head, and this process connected to it."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        cluster = Cluster()
        try:
            for number, count in enumerate(cpus):
                add_node(cluster, count, **({} if number else {"include_dashboard": False}))
            ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
            cluster.wait_for_nodes()
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            os.environ.pop("RAY_ADDRESS", None)
