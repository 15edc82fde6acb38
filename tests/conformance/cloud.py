"""A stand-in for what the suite asks AWS beside Lambda: CloudFormation and CloudWatch Logs."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from machine import free_ports
from stack import Stack

NAMESPACE = "http://cloudformation.amazonaws.com/doc/2010-05-15/"
CREATED = "2026-01-01T00:00:00Z"
GROUP = "/aws/lambda/"
EQUALS = re.compile(r'\$\.(\w+) = "((?:[^"\\]|\\.)*)"')


class Cloud:
    """Deploys stacks, lists what is in them, and tells what their functions logged."""

    def __init__(self, folder, environment):
        self._folder = folder
        self._environment = environment
        (self._port,) = free_ports(1)
        self.stacks = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Requests)
        self._server.cloud = self

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def lambda_url(self):
        """The address of the Lambda API, once a stack is deployed."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        for stack in self.stacks.values():
            stack.stop()

    def deploy(self, name, template, parameters):
        """Start the functions of a template."""
        stack = Stack(name, template, parameters, self._folder, self._environment, self._port)
        self.stacks[name] = stack
        stack.start()

    def list_resources(self, fields):
        """Answer ListStackResources."""
        found = self.stacks[fields["StackName"]].functions
        members = "".join(f"<member>{_describe(each)}</member>" for each in found)
        return f"<StackResourceSummaries>{members}</StackResourceSummaries>"

    def describe_resource(self, fields):
        """Answer DescribeStackResource."""
        stack = self.stacks[fields["StackName"]]
        wanted = fields["LogicalResourceId"]
        (found,) = [each for each in stack.functions if each.resource == wanted]
        return f"<StackResourceDetail>{_describe(found)}</StackResourceDetail>"

    def delete_stack(self, fields):
        """Answer DeleteStack."""
        self.stacks.pop(fields["StackName"]).stop()
        return ""

    def filter_events(self, request):
        """Answer FilterLogEvents: what the group has that one of the pattern's fields equals."""
        function = request["logGroupName"].removeprefix(GROUP).partition(".")[2]
        wanted = [
            (field, text.replace('\\"', '"').replace("\\\\", "\\"))
            for field, text in EQUALS.findall(request["filterPattern"])
        ]
        return [
            event
            for stack in self.stacks.values()
            for event in stack.events(function, request["startTime"])
            if _matches(event["message"], wanted)
        ]


ACTIONS = {
    "ListStackResources": Cloud.list_resources,
    "DescribeStackResource": Cloud.describe_resource,
    "DeleteStack": Cloud.delete_stack,
}


def _describe(function):
    fields = {
        "LogicalResourceId": function.resource,
        "PhysicalResourceId": function.physical,
        "ResourceType": "AWS::Lambda::Function",
        "ResourceStatus": "CREATE_COMPLETE",
        "LastUpdatedTimestamp": CREATED,
    }
    return "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields.items())


def _matches(message, wanted):
    try:
        record = json.loads(message)
    except ValueError:
        return False
    return isinstance(record, dict) and any(record.get(field) == text for field, text in wanted)


class _Requests(BaseHTTPRequestHandler):
    """Tells the requests of both services, and that of our `sam`, from each other."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        cloud = self.server.cloud
        if target := self.headers.get("X-Amz-Target"):
            if target != "Logs_20140328.FilterLogEvents":
                self._answer(400, json.dumps({"__type": "UnknownOperationException"}), "json")
                return
            events = cloud.filter_events(json.loads(body))
            self._answer(200, json.dumps({"events": events}), "x-amz-json-1.1")
        elif body.startswith("{"):
            self._deploy(cloud, json.loads(body))
        else:
            fields = dict(parse_qsl(body))
            action = fields["Action"]
            result = f"<{action}Result>{ACTIONS[action](cloud, fields)}</{action}Result>"
            answer = f'<{action}Response xmlns="{NAMESPACE}">{result}</{action}Response>'
            self._answer(200, answer, "xml")

    def _deploy(self, cloud, stack):
        try:
            cloud.deploy(stack["name"], stack["template"], stack["parameters"])
        except RuntimeError as error:
            self._answer(500, str(error), "plain")
        else:
            self._answer(200, "{}", "json")

    def _answer(self, status, text, kind):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"application/{kind}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing: the suite tells what it does."""
