"""What all tests share."""

import os

from hypothesis import settings

pytest_plugins = [
    "browser_fixtures",
    "bytecode",
    "cluster_fixtures",
    "disruptive",
    "figures",
    "hanging",
    "inherited_signals",
    "installed_packages",
    "lambda_packages",
    "parallel",
    "postgres_fixtures",
    "project_fixtures",
    "rabbitmq_fixtures",
    "standstills",
    "unhurried",
    "waiting",
]

# How long an example takes depends on what else the machine does: it decides no test.
# Built on the profile in force, so that under CI the examples stay the same in every run.
EXAMPLES = int(os.environ.get("EVENTMESH_TEST_EXAMPLES", settings().max_examples))
settings.register_profile("eventmesh", settings(), deadline=None, max_examples=EXAMPLES)
settings.load_profile("eventmesh")
