"""How pytest-xdist spreads the tests over processes: `pytest -n auto`.

A work unit is a file of unit tests, all tests of one `xdist_group`, or a single test otherwise. The
units that take longest come first, so that all processes end at about the same time.
"""

import json
import os
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

MOST_WORKERS = 8
GROUP = "xdist_group"
UNITS = "work_units"
LONGEST_FIRST = (
    "tests/integration/faults/",
    "tests/integration/rabbitmq/",
    "tests/integration/cli/",
    "tests/integration/",
    "tests/contract/",
    "services/",
    "tests/examples/",
    "tests/unit/",
)
UNIT_TESTS = "tests/unit/"

_folder = pytest.StashKey[TemporaryDirectory]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Return how many processes `-n auto` starts: two for each core, as many tests wait."""
    return min(2 * len(os.sched_getaffinity(0)), MOST_WORKERS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes():
    """Have all workers hash alike: the names of some tests have sets in them."""
    os.environ.setdefault("PYTHONHASHSEED", str(random.getrandbits(32)))


def pytest_report_header():
    return f"PYTHONHASHSEED: {os.environ.get('PYTHONHASHSEED', 'random')}"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell a worker where to write down the work units: only it knows the marks of tests."""
    if _folder not in node.config.stash:
        node.config.stash[_folder] = TemporaryDirectory(prefix="eventmesh-tests-")
    folder = Path(node.config.stash[_folder].name)
    node.workerinput[UNITS] = str(folder / f"{node.gateway.id}.json")


def pytest_unconfigure(config):
    if _folder in config.stash:
        config.stash[_folder].cleanup()


def pytest_collection_modifyitems(config, items):
    """In a worker, sort the tests by how long they take."""
    if UNITS in _workerinput(config):
        items.sort(key=_rank)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session):
    """In a worker, write down the work unit of each test, before it says what it has collected."""
    if path := _workerinput(session.config).get(UNITS):
        Path(path).write_text(json.dumps({item.nodeid: _unit(item) for item in session.items}))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Schedule by work units, unless another way of scheduling was asked for by name."""
    from xdist.scheduler import LoadScopeScheduling

    class UnitScheduling(LoadScopeScheduling):
        def add_node_collection(self, node, collection):
            self._units = json.loads(Path(node.workerinput[UNITS]).read_text())
            super().add_node_collection(node, collection)

        def _split_scope(self, nodeid):
            return self._units[nodeid]

        def remove_node(self, node):
            """Return the test in which a worker died, if it did, and give the others its rest."""
            units = self.assigned_work.pop(node)
            left = [nodeid for unit in units.values() for nodeid, done in unit.items() if not done]
            if not left:
                return None
            # LoadScopeScheduling would run that test again, and lose one worker after another.
            for unit in units.values():
                unit.update({left[0]: True} if left[0] in unit else {})
            self.workqueue.update(
                {scope: unit for scope, unit in units.items() if not all(unit.values())}
            )
            for other in self.assigned_work:
                self._reschedule(other)
            return left[0]

    if config.getvalue("dist") != "load":
        return None
    config.option.loadscopereorder = False
    return UnitScheduling(config, log)


def _workerinput(config):
    """Return what the controller has told this worker, or nothing if this is none."""
    return getattr(config, "workerinput", {})


def _unit(item):
    if group := item.get_closest_marker(GROUP):
        return group.args[0]
    return item.nodeid.partition("::")[0] if item.nodeid.startswith(UNIT_TESTS) else item.nodeid


def _rank(item):
    place = next(
        (rank for rank, path in enumerate(LONGEST_FIRST) if item.nodeid.startswith(path)),
        len(LONGEST_FIRST),
    )
    return item.get_closest_marker(GROUP) is None, place
