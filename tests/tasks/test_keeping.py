"""Finished work reaches the scratch soon, and in few puts."""

import time
from threading import Event

import pytest
import xarray as xr

from irrev.errors import StoreError
from tasks import keeping
from tasks.keeping import Keeper

LONG_S = 30.0  # a wait that is never reached


class Scratch:
    """Notes what is put; each put takes a while, and fails as often as it is told to."""

    def __init__(self, seconds: float = 0.0, failures: int = 0) -> None:
        self.puts: list[list[str]] = []
        self.came = Event()
        self.seconds, self.failures = seconds, failures

    def put(self, items):
        time.sleep(self.seconds)
        if self.failures:
            self.failures -= 1
            self.came.set()
            raise StoreError("the disk is full")
        if items:
            self.puts.append(sorted(items))
            self.came.set()


def item():
    return {"row": xr.Dataset()}


def test_keeper__an_item_is_kept_though_no_other_follows(monkeypatch):
    monkeypatch.setattr(keeping, "FLUSH_S", 0.05)
    scratch = Scratch()
    with Keeper(scratch) as keeper:
        keeper.add("a", item())
        assert scratch.came.wait(LONG_S)  # while the work goes on
        assert scratch.puts == [["a"]]
    assert scratch.puts == [["a"]]


def test_keeper__the_rest_is_kept_when_the_work_fails(monkeypatch):
    monkeypatch.setattr(keeping, "FLUSH_S", LONG_S)
    scratch = Scratch()

    def work():
        with Keeper(scratch) as keeper:
            keeper.add("a", item())
            keeper.add("b", item())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert scratch.puts == [["a", "b"]]


def test_keeper__a_slow_store_is_asked_less_often_but_never_too_seldom(monkeypatch):
    """The next put waits for the time of the last one over FLUSH_SHARE, at most MOST_S."""
    monkeypatch.setattr(keeping, "FLUSH_S", 0.0)
    scratch = Scratch(seconds=0.1)
    with Keeper(scratch) as keeper:
        keeper.add("a", item())
        assert scratch.came.wait(LONG_S)
        for _ in range(20):  # of the 5 s of 0.1 / FLUSH_SHARE
            keeper.add("b", item())
            time.sleep(0.01)
        assert scratch.puts == [["a"]]
    assert scratch.puts == [["a"], ["b"]]
    monkeypatch.setattr(keeping, "MOST_S", 0.05)
    scratch = Scratch(seconds=0.1)
    with Keeper(scratch) as keeper:
        for name in "ab":
            scratch.came.clear()
            keeper.add(name, item())
            assert scratch.came.wait(LONG_S)
    assert scratch.puts == [["a"], ["b"]]


def test_keeper__a_store_that_fails_stops_the_work_and_loses_nothing(monkeypatch):
    monkeypatch.setattr(keeping, "FLUSH_S", 0.0)
    scratch = Scratch(failures=1)

    def work():
        with Keeper(scratch) as keeper:
            keeper.add("a", item())
            assert scratch.came.wait(LONG_S)
            for _ in range(1000):
                keeper.add("b", item())
                time.sleep(0.01)

    with pytest.raises(StoreError, match="full"):
        work()
    assert scratch.puts[0][0] == "a"
