"""Users of this machine, as settings call them: by name or, as supervisord's `user=` takes them too, by number.

A number has to have an entry in the user database, which alone knows the groups that go with it.
"""

from __future__ import annotations

import os
import pwd

DEFAULT_WORKERS = "nobody"
"""Whom the workers become where `[front] user` names nobody."""


class NoSuchUser(LookupError):
    """The message is a sentence without its full stop."""


def account(user: str) -> pwd.struct_passwd:
    """Raises NoSuchUser."""
    try:
        return pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise NoSuchUser(f"there is no user {user} on this machine") from None


class ActingAs:
    """Root has the rights of another user until the end of the `with`, in all threads of the process.

    No generator of contextlib's: `launch.py` has no time to import that.
    """

    def __init__(self, entry: pwd.struct_passwd) -> None:
        self._entry = entry
        self._own = os.geteuid(), os.getegid(), os.getgroups()

    def __enter__(self) -> None:
        os.setgroups(os.getgrouplist(self._entry.pw_name, self._entry.pw_gid))
        os.setegid(self._entry.pw_gid)
        os.seteuid(self._entry.pw_uid)

    def __exit__(self, *_: object) -> None:
        uid, gid, groups = self._own
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def workers_account(user: str) -> pwd.struct_passwd:
    """Whom the workers become when root starts them. `user`: `[front] user`. Raises NoSuchUser."""
    return account(user or DEFAULT_WORKERS)


def workers_user(user: str) -> int:
    """The user that the workers have at last; as `workers_group`."""
    return workers_account(user).pw_uid if os.geteuid() == 0 else os.geteuid()


def workers_group(user: str) -> int | None:
    """The group of the workers, which reaches the sockets of apps and keeper. None unless we are root.

    `user`: `[front] user`. Raises NoSuchUser; settings are checked before.
    """
    return workers_account(user).pw_gid if os.geteuid() == 0 else None
