"""The versioned store: open, read at any version, commit whole groups at once.

A commit replaces the groups it names and keeps all others; readers see all of it or nothing.
Two commits at once both survive; if both replace the same group, the later one is computed
again from the new tip (`writes` given as a function) or refused (`writes` given as a mapping).
"""

from collections.abc import Callable, Mapping, Sequence

import icechunk as ic
import xarray as xr
import zarr

from irrev.errors import StoreError
from storage import versions
from storage.backend import StoreRef, exists, lock_of, make, one_line_errors, storage_of
from storage.commits import has_group, transact
from storage.groups import in_portions, write_groups
from storage.layout import PARENTS, SCHEMA_VERSION, prepared
from storage.versions import JSON, Version

__all__ = ["JSON", "Repository", "StoreRef", "Version", "Writes"]

Writes = Mapping[str, xr.Dataset] | Callable[[str], Mapping[str, xr.Dataset]]


class Repository:
    """A store of Datasets by group, with versions; open it with `Repository.open`."""

    def __init__(self, ref: StoreRef, repo: ic.Repository) -> None:
        self.ref = ref
        self.ic = repo

    @classmethod
    def open(
        cls, ref: StoreRef, *, create: bool = False, project: str = "", at: str | None = None
    ) -> "Repository":
        """Open a store.

        Parameters
        ----------
        ref
            Where it is, and the branch to work on.
        create
            Make it if there is none.
        project
            Name written into a store that is made.
        at
            Version whose schema is checked; the tip of the branch by default.

        Raises
        ------
        StoreError
            If there is no store, it cannot be read or made, or is of another schema.
        """
        ref = ref.absolute()
        with one_line_errors(ref):
            found = exists(ref)
            if not found and not create:
                raise StoreError(_not_there(ref))
            repo = cls(ref, ic.Repository.open(storage_of(ref)) if found else make(ref))
            if create:
                repo._furnish(project)
            repo.check_schema(at)
        return repo

    def _furnish(self, project: str) -> None:
        """Write the root of a store that has no version yet."""
        if self.ic.lookup_snapshot(self.ic.lookup_branch("main")).parent_id is not None:
            return

        def change(session: ic.Session) -> bool:
            root = zarr.open_group(session.store, mode="a", zarr_format=3)
            if "schema" in root.attrs:
                return False  # another process has made it in this moment
            root.attrs.update({"project": project, "schema": SCHEMA_VERSION})
            for parent in PARENTS:
                root.require_group(parent)
            return True

        meta = {versions.INTERNAL: "created"}
        main = self.ref.on("main")
        transact(self.ic, main, change, message="Create the store", metadata=meta, owned=None)

    def _root_attrs(self, at: str | None) -> dict[str, JSON]:
        session = self._session(at)
        try:
            return dict(zarr.open_group(session.store, mode="r").attrs)
        except FileNotFoundError:
            return {}

    def check_schema(self, at: str | None = None) -> None:
        """Raise a StoreError unless the version is of the schema of this code."""
        written = self._root_attrs(at).get("schema")
        if written is None:
            raise StoreError(f"{self.ref.url}: not a store of irrev; choose another `store.url`.")
        if written != SCHEMA_VERSION:
            raise StoreError(
                f"{self.ref.url}: written by schema {written}, this is schema {SCHEMA_VERSION}; "
                "update the code or open an older version with --at."
            )

    # --- reading -----------------------------------------------------------------------------

    def resolve(self, at: str | None = None) -> str:
        """Find the full id of a version.

        Parameters
        ----------
        at
            None for the tip of the branch, a tag, a branch, a run, a date or time (UTC unless it
            says otherwise), a version id or its first characters, five or more, in any case.
        """
        with one_line_errors(self.ref):
            return versions.resolve(self.ic, self.ref.branch, at)

    def _session(self, at: str | None) -> ic.Session:
        return self.ic.readonly_session(snapshot_id=versions.resolve(self.ic, self.ref.branch, at))

    def read(self, group: str, *, at: str | None = None) -> xr.Dataset:
        """Open the Dataset of a group; numbers are read when they are used, text at once."""
        with one_line_errors(self.ref):
            store = self._session(at).store
            try:
                ds = xr.open_zarr(
                    store,
                    group=group,
                    consolidated=False,
                    chunks=None,  # pyright: ignore[reportArgumentType]  lazy, without Dask
                )
                return _plain_text(ds)
            except (FileNotFoundError, KeyError):
                there = ", ".join(self.children("", at=at)) or "nothing"
                raise StoreError(
                    f"{self.ref.url}: no {group} in {at or self.ref.branch}; at its top: {there}."
                ) from None

    def has(self, group: str, *, at: str | None = None) -> bool:
        """Say whether a version holds a group."""
        with one_line_errors(self.ref):
            return has_group(self._session(at).store, group)

    def children(self, group: str, *, at: str | None = None) -> list[str]:
        """List the names of the groups below a group; none if it is not there."""
        with one_line_errors(self.ref):
            try:
                node = zarr.open_group(self._session(at).store, path=group, mode="r")
            except FileNotFoundError:
                return []
            return sorted(node.group_keys())

    # --- writing -----------------------------------------------------------------------------

    def commit(
        self,
        writes: Writes,
        *,
        message: str,
        metadata: Mapping[str, JSON],
        delete: Sequence[str] = (),
    ) -> str:
        """Replace groups, keep all others, and make one version of it.

        Parameters
        ----------
        writes
            Dataset by group; or a function of the id of the version that is built upon, which
            gives them. Use a function when what is written depends on what was there: it is
            called again when another writer was faster.
        message, metadata
            What `log` shows; metadata are JSON.
        delete
            Groups to remove with all below; those that are not there are passed over.

        Returns
        -------
            Id of the new version; of the present one if there is nothing to write or delete.

        Raises
        ------
        StoreError
            If another writer replaced one of the same groups, the metadata are no JSON, or the
            store cannot be written.
        """

        def change(session: ic.Session) -> bool:
            content = writes(session.snapshot_id) if callable(writes) else writes
            gone = [g for g in delete if has_group(session.store, g)]
            for group in gone:
                del zarr.open_group(session.store, mode="r+")[group]
            for part in in_portions(content):
                write_groups(session.store, part)
            return bool(content or gone)

        owned = None if callable(writes) else [*writes, *delete]
        return self._transact(change, message, metadata, owned)

    def append(
        self,
        group: str,
        ds: xr.Dataset,
        *,
        dim: str,
        message: str,
        metadata: Mapping[str, JSON],
    ) -> str:
        """Lengthen the Dataset of a group along one dimension; make it if it is not there."""

        def change(session: ic.Session) -> bool:
            if not has_group(session.store, group):
                write_groups(session.store, {group: ds})
            else:
                data, _ = prepared(ds)
                data.to_zarr(session.store, group=group, append_dim=dim, consolidated=False)
            return True

        return self._transact(change, message, metadata, owned=None)

    def _transact(
        self,
        change: Callable[[ic.Session], bool],
        message: str,
        metadata: Mapping[str, JSON],
        owned: Sequence[str] | None,
    ) -> str:
        with one_line_errors(self.ref):
            return transact(
                self.ic, self.ref, change, message=message, metadata=metadata, owned=owned
            )

    # --- names -------------------------------------------------------------------------------

    def log(self, *, at: str | None = None) -> list[Version]:
        """List the versions of the branch, or those that led to a version, newest first."""
        with one_line_errors(self.ref):
            snapshot = versions.resolve(self.ic, self.ref.branch, at)
            return versions.history(self.ic, self.ref.branch, snapshot if at else None)

    def delete_branch(self, name: str) -> None:
        """Forget a branch; versions that only it led to go with the next cleaning."""
        with one_line_errors(self.ref), lock_of(self.ref):
            self.ic.delete_branch(name)

    def tag(self, name: str, at: str | None = None) -> None:
        """Name a version for good; the name can never be given to another one."""
        with one_line_errors(self.ref):
            snapshot = self.resolve(at)
            if name in self.ic.list_tags():
                raise StoreError(f"{self.ref.url}: tag {name!r} exists; choose another name.")
            with lock_of(self.ref):
                self.ic.create_tag(name, snapshot)

    def tags(self) -> dict[str, str]:
        """Give the version id of each tag."""
        with one_line_errors(self.ref):
            return {tag: self.ic.lookup_tag(tag) for tag in sorted(self.ic.list_tags())}

    def branches(self) -> list[str]:
        """List the branches that hold results."""
        with one_line_errors(self.ref):
            return versions.visible_branches(self.ic)

    def create_branch(self, name: str, at: str | None = None) -> None:
        """Begin a branch at a version."""
        with one_line_errors(self.ref):
            snapshot = self.resolve(at)
            if name in self.ic.list_branches():
                raise StoreError(f"{self.ref.url}: branch {name!r} exists; choose another name.")
            with lock_of(self.ref):
                self.ic.create_branch(name, snapshot)


def _plain_text(ds: xr.Dataset) -> xr.Dataset:
    """Give text as Python strings; Zarr's own text type can be neither sorted nor appended to."""
    texts = {name: v for name, v in ds.variables.items() if v.dtype.kind in "OT"}
    return ds.assign(
        {name: (v.dims, v.to_numpy().astype(object), v.attrs) for name, v in texts.items()}
    )


def _not_there(ref: StoreRef) -> str:
    if ref.url.startswith("memory:"):
        return f"{ref.url}: no such store in this process; memory is not shared by processes."
    return f"{ref.url}: no store here; check `store.url` or make it with a first run."
