"""What all tests share."""

from hypothesis import settings

pytest_plugins = [
    "bytecode",
    "cluster_fixtures",
    "figures",
    "inherited_signals",
    "installed_packages",
    "parallel",
    "project_fixtures",
    "rabbitmq_fixtures",
    "waiting",
]

# How long an example takes depends on what else the machine does: it decides no test.
# Built on the profile in force, so that under CI the examples stay the same in every run.
settings.register_profile("eventmesh", settings(), deadline=None)
settings.load_profile("eventmesh")
