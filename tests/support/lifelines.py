"""Servers that the tests start, and that end when those do, even if they are killed."""

import os
import pwd
import subprocess
from pathlib import Path

OTHER_USERS = ("postgres", "nobody")
"""Who runs a server that refuses to run as root, where the tests are root."""


def start_with_lifeline(
    script: str, program: list[str], **options: object
) -> tuple[subprocess.Popen[str], int]:
    """Start a shell script with a program as its arguments; return it, and the end of a pipe.

    The script reads the other end as its standard input. What it prints is read as text.
    """
    reading, lifeline = os.pipe()
    try:
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", *program],
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",  # It may log what a test sent.
            start_new_session=True,
            **options,
        )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(reading)
    return process, lifeline


def leave_to_other_user(folder: Path) -> dict[str, object]:
    """Give a folder to the user who runs a server in it; return what subprocess is told then.

    Raises RuntimeError where the tests are root, and there is no such user.
    """
    if os.geteuid() != 0:
        return {}
    user = _other_user()
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _other_user() -> pwd.struct_passwd:
    for name in OTHER_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError(f"it does not run as root, and there is no user {OTHER_USERS[0]}")
