"""A run that a worker starts from a deployment leaves the report where the command line does."""

import pytest
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow

from flows.spikes import spikes
from tests.flows.test_spikes import run


def run_scheduled(config):
    """Run as a Prefect worker does: a flow run of a deployment, made beforehand."""
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("spikes")
        deployment = client.create_deployment(flow_id, f"nightly-{config.parent.name}")
        flow_run = client.create_flow_run_from_deployment(deployment)
    return run_flow(spikes, flow_run=flow_run, parameters={"config": str(config)})


@pytest.mark.usefixtures("prefect_server")
def test_scheduled__a_run_writes_the_page_when_it_made_a_version(project):
    config = project()
    page = config.parent / "report" / "index.html"
    assert run_scheduled(config).changed
    assert "2 results from 2 inputs" in page.read_text()
    page.unlink()
    assert not run_scheduled(config).changed
    assert not page.exists()


@pytest.mark.usefixtures("prefect_server")
def test_scheduled__results_are_kept_when_no_page_can_be_written(project):
    config = project()
    (config.parent / "report").write_text("a file in the way")
    assert run_scheduled(config).done == 2
    assert not run(config).changed
