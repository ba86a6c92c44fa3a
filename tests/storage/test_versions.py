from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from irrev.errors import StoreError
from storage.repository import Repository
from storage.versions import shorten

GROUP = "results/spikes/maxent"
RUN = "20260101T00000{}-abcdef"


@pytest.fixture
def three(repo, table):
    """A repository with three versions, and their ids."""
    ids = [
        repo.commit({GROUP: table + i}, message=f"run {i}", metadata={"run_id": RUN.format(i)})
        for i in range(3)
    ]
    return repo, ids


@pytest.fixture
def table(table):
    return table[["ep_rate"]]


def test_log__lists_what_users_made_newest_first(three):
    repo, ids = three
    repo.tag("v1", ids[1])
    log = repo.log()
    assert [v.id for v in log] == ids[::-1]
    assert [v.short for v in log] == [v.id[:5] for v in log]
    assert [v.tags for v in log] == [(), ("v1",), ()]
    assert log[0].message == "run 2"
    assert log[0].metadata == {"run_id": RUN.format(2)}


def test_resolve__opens_by_id_prefix_tag_and_branch(three):
    repo, ids = three
    repo.tag("paper", ids[0])
    repo.create_branch("campaign", ids[1])
    assert repo.resolve() == repo.resolve("main") == ids[2]
    assert repo.resolve("paper") == ids[0]
    assert repo.resolve("campaign") == ids[1]
    for one in ids:
        assert repo.resolve(one) == repo.resolve(one[:5]) == repo.resolve(one[:7].lower()) == one
    assert [float(repo.read(GROUP, at=i)["ep_rate"][0]) for i in ids] == [0, 1, 2]


def test_resolve__opens_by_run(three):
    repo, ids = three
    assert [repo.resolve(RUN.format(i)) for i in range(3)] == ids
    with pytest.raises(StoreError, match="no version was made by run 20260101T000009-abcdef"):
        repo.resolve(RUN.format(9))


def test_resolve__opens_by_date(three):
    repo, ids = three
    when = {v.id: v.written_at for v in repo.log()}
    assert repo.resolve(when[ids[1]].isoformat()) == ids[1]
    just_before = when[ids[1]] - timedelta(microseconds=1)
    assert repo.resolve(just_before.isoformat()) == ids[0]
    assert repo.resolve(just_before.replace(tzinfo=None).isoformat()) == ids[0]
    assert repo.resolve(f"{when[ids[2]]:%Y-%m-%d}") == ids[2]
    with pytest.raises(
        StoreError, match=r"no version on main at or before 2020-02-02; the oldest"
    ):
        repo.resolve("2020-02-02")
    with pytest.raises(StoreError, match="'2020-13-01' is no date"):
        repo.resolve("2020-13-01")


def test_resolve__of_an_empty_store_by_date_says_so(repo):
    with pytest.raises(StoreError, match="there is none at all"):
        repo.resolve(datetime.now(UTC).isoformat())


def test_resolve__says_what_it_takes(three):
    repo, ids = three
    with pytest.raises(StoreError, match="'v9' is no tag, branch, date, run or version id"):
        repo.resolve("v9")
    absent = next(c * 5 for c in "0123" if not any(i.startswith(c * 5) for i in ids))
    with pytest.raises(StoreError, match=f"there is no version {absent}"):
        repo.resolve(absent)
    with pytest.raises(StoreError, match="there is no version"):
        repo.resolve("0" * 20)


def test_resolve__refuses_a_prefix_of_two(monkeypatch, three):
    repo, _ = three
    ids = ["ABCDE" + "0" * 15, "ABCDE" + "1" * 15]
    infos = [SimpleNamespace(id=i, metadata={}) for i in ids]
    monkeypatch.setattr("storage.versions._all_versions", lambda _: infos)
    with pytest.raises(StoreError, match="abcde begins 2 versions"):
        repo.resolve("abcde")
    assert repo.resolve("abcde1") == ids[1]


def test_branch__that_is_absent_is_named_with_those_there(three):
    repo, ids = three
    repo.create_branch("campaign", ids[0])
    elsewhere = Repository(repo.ref.on("other"), repo.ic)
    for use in (
        elsewhere.resolve,
        elsewhere.log,
        lambda: elsewhere.commit({GROUP: repo.read(GROUP)}, message="", metadata={}),
    ):
        with pytest.raises(StoreError, match="no branch 'other'; choose one of campaign, main"):
            use()


def test_branch__grows_apart_from_main(three, table):
    repo, ids = three
    repo.create_branch("campaign", ids[0])
    campaign = Repository.open(repo.ref.on("campaign"))
    new = campaign.commit({GROUP: table + 9}, message="again", metadata={})
    assert [v.id for v in campaign.log()] == [new, ids[0]]
    assert repo.resolve() == ids[2]
    assert repo.resolve(new[:6]) == new
    assert repo.branches() == ["campaign", "main"]


def test_names__are_given_once(three):
    repo, ids = three
    repo.tag("v1")
    assert repo.tags() == {"v1": ids[2]}
    with pytest.raises(StoreError, match="tag 'v1' exists"):
        repo.tag("v1", ids[0])
    with pytest.raises(StoreError, match="branch 'main' exists"):
        repo.create_branch("main")


def test_shorten__gives_unique_beginnings():
    ids = ["AAAAAAAA", "AAAAAAAB", "AAAAACCC", "BBBBBBBB"]
    short = shorten(ids)
    assert short["BBBBBBBB"] == "BBBBB"
    assert short["AAAAACCC"] == "AAAAAC"
    for one in ids:
        assert [i for i in ids if i.startswith(short[one])] == [one]
