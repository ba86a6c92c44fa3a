import threading

import pytest

from irrev.errors import StoreError
from storage.pending import Pending
from storage.repository import Repository
from tests.storage.conftest import make_table
from tests.storage.faults import Proxy

GROUP = "results/spikes/maxent"


@pytest.fixture
def bad_day(s3_ref, s3_server, monkeypatch):
    """Put a proxy with a share of faults before the S3 server."""
    proxies = []

    def start(share):
        proxy = Proxy(s3_server, share)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        proxies.append(proxy)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        return proxy

    yield start
    for proxy in proxies:
        proxy.shutdown()
        proxy.server_close()


@pytest.mark.parametrize("n_commits", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_commit__loses_nothing_on_a_bad_day_of_s3(s3_ref, bad_day, n_commits):
    """A tenth of all requests is throttled, fails, is late, is cut, or loses its answer.

    A commit that is reported is there once; one that ends in an error is there once or not at
    all, and says what happened in one line.
    """
    repo = Repository.open(s3_ref, create=True)
    proxy = bad_day(0.1)
    reported, failed, lines = [], [], []
    for i in range(n_commits):
        try:
            shaken = Repository.open(s3_ref)
            table = make_table([f"s{i}:x"], value=float(i))
            reported.append(shaken.commit({f"{GROUP}{i}": table}, message=f"{i}", metadata={}))
            Pending(shaken).put({f"key-{i}": {"row": table}})
        except StoreError as error:
            failed.append(i)
            lines.append(str(error))
    assert not any("\n" in line for line in lines)
    assert sum(proxy.faults.values()) > 0
    log = repo.log()
    messages = [v.message for v in log]
    assert set(reported) <= {v.id for v in log}
    assert len(set(messages)) == len(messages)
    for i in sorted({int(m) for m in messages}):
        assert float(repo.read(f"{GROUP}{i}")["ep_rate"][0]) == i
    kept = Pending(repo)
    for i in set(range(n_commits)) - set(failed):
        assert float(kept.get(f"key-{i}")["row"]["ep_rate"][0]) == i


@pytest.mark.slow  # the client tries again for half a minute
def test_commit__ends_in_one_line_when_s3_fails_for_good(s3_ref, bad_day):
    repo = Repository.open(s3_ref, create=True)
    version = repo.commit({GROUP: make_table()}, message="before", metadata={})
    proxy = bad_day(0.0)
    shaken = Repository.open(s3_ref)
    proxy.share, proxy.faults = 1.0, {"error": 0}
    with pytest.raises(StoreError, match="try later") as caught:
        shaken.commit({GROUP: make_table()}, message="never", metadata={})
    assert "\n" not in str(caught.value)
    assert repo.resolve() == version
