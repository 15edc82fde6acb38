"""What all tests share."""

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
    "waiting",
]

# How long an example takes depends on what else the machine does: it decides no test.
# Built on the profile in force, so that under CI the examples stay the same in every run.
settings.register_profile("eventmesh", settings(), deadline=None)
settings.load_profile("eventmesh")
