"""Ids are random for whoever makes them: threads, and processes that fork."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from eventmesh.model.errors import DeclarationError
from eventmesh.model.ids import check_id, new_id

MANY = 1_000


def test_an_id_has_32_hexadecimal_digits_and_is_used_once():
    ids = [new_id() for _ in range(MANY)]
    assert all(re.fullmatch("[0-9a-f]{32}", id) for id in ids)
    assert len(set(ids)) == MANY


def test_threads_make_ids_of_their_own():
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda _: new_id(), range(8 * MANY)))
    assert len(set(ids)) == 8 * MANY


FORKS = """
import os, sys
from eventmesh.model.ids import new_id
new_id()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(*(new_id() for _ in range(1000)), flush=True)
"""


def test_a_process_that_forks_makes_other_ids():
    ran = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=True
    )
    assert len(set(ran.stdout.split())) == 2 * MANY


@pytest.mark.parametrize("id", ["a\nb", "é" * 128])
def test_an_id_that_no_message_can_have_is_refused(id):
    with pytest.raises(DeclarationError, match="cannot have the id"):
        check_id(id)


def test_any_other_id_is_taken():
    assert check_id("order 7") == "order 7"
