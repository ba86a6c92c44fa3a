"""Which part of a pipeline a run takes, on which branch, and from which inputs."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase

from pydantic import Field

from flows.model import Model
from flows.sources import Item

DATE = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?!\d)")


class Scope(Model):
    """The whole pipeline on its own branch, unless something is said."""

    branch: str = Field(default="", description="branch to work on; none: the pipeline's")
    items: str = Field(default="", description="glob over names of items, e.g. `sessions/a29*`")
    since: date | None = Field(default=None, description="first day of items")
    until: date | None = Field(default=None, description="last day of items")
    release: str = Field(
        default="", description="version whose inputs are taken as they were read; none: the files"
    )

    @property
    def whole(self) -> bool:
        """Say whether items that are not met have left, rather than being out of scope."""
        return not (self.items or self.since or self.until or self.release)

    def takes(self, name: str) -> bool:
        """Say whether the glob names an item."""
        return not self.items or fnmatchcase(name, self.items)

    def chosen(self, items: Iterable[Item]) -> list[Item]:
        """Return the items in scope."""
        return [i for i in items if self.takes(i.name) and self._dated(i)]

    def _dated(self, item: Item) -> bool:
        if not (self.since or self.until):
            return True
        day = day_of(item)
        return (self.since or date.min) <= day <= (self.until or date.max)


def day_of(item: Item) -> date:
    """Return the day that an item's name tells, else the day of its last change (UTC)."""
    for match in DATE.finditer(item.path.name):
        try:
            return date(*map(int, match.groups()))
        except ValueError:  # digits that are no date
            continue
    return datetime.fromtimestamp(item.path.stat().st_mtime, UTC).date()


WHOLE = Scope()
