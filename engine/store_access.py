"""Who may read the adapter store: its owner, and the group of the store's directory where that may read it.

vLLM often runs as another user than the learner; weights that it cannot read are loaded nowhere.
"""

import grp
import os
from contextlib import suppress
from pathlib import Path

_PRIVATE = (0o700, 0o600)  # directories, files
_SHARED = (0o2750, 0o640)  # the set-group bit hands the group on to what is made inside
_READABLE = 0o050  # by the group


class StoreRefused(Exception):
    """The adapter store cannot be given to its group; the text is one line for a person."""


def prepare_store(store: Path, group: str | None) -> None:
    """The store's directory exists, and its owner may read it, and so may the group if one is given.

    What is in the store already gets the same modes. Without a group a directory that exists stays as it is.
    Raises `StoreRefused` where there is no such group or this user is not in it, and `OSError`.
    """
    store.mkdir(parents=True, exist_ok=True, mode=_PRIVATE[0])
    if group is None:
        return
    try:
        group_id = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        status = store.stat()
        if status.st_gid != group_id:
            os.chown(store, -1, group_id)
        if status.st_mode & _READABLE != _READABLE:
            store.chmod(_SHARED[0])
    except KeyError:
        raise StoreRefused(f"store.group: this machine has no group {group[:60]}") from None
    except PermissionError:
        raise StoreRefused(
            f"store.group: {store} cannot be given to {group[:60]}: own it, and be in that group"
        ) from None
    for agent in (path for path in store.iterdir() if path.is_dir()):
        share_as_store(agent, store)
        for version in (path for path in agent.iterdir() if path.is_dir()):
            share_as_store(version, store)


def share_as_store(folder: Path, store: Path) -> None:
    """A folder in the store and the files in it have the group and the modes that follow from the store's."""
    root = store.stat()
    directories, files = _SHARED if root.st_mode & _READABLE == _READABLE else _PRIVATE
    for path in (folder, *(path for path in folder.iterdir() if path.is_file())):
        with suppress(
            PermissionError
        ):  # another learner's, or a group of others: the set-group bit may do it
            if path.stat().st_gid != root.st_gid:
                os.chown(path, -1, root.st_gid)
        with suppress(PermissionError):
            path.chmod(directories if path == folder else files)
