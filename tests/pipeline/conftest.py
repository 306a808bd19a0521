import dask
import pytest
from distributed import LocalCluster


@pytest.fixture(scope="session")
def scheduler():
    """Address of a running Dask scheduler with two worker processes."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster.scheduler_address
