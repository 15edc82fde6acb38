"""The service that has all functions of a template."""

import json
import os
from pathlib import Path

from template import SERVICE, read_template

from eventmesh import Service

app = Service(SERVICE)
stack = json.loads(Path(os.environ["CONFORMANCE_STACK"]).read_text())
for function in read_template(stack["template"], stack["parameters"]):
    # Each is invoked a few times: its process makes room for those of others.
    app.lambda_function(function.name, instances=2, idle_timeout="10s", **function.options)
