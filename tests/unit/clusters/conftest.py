import copy

import pytest
from aiohttp import web

from eventmesh.clusters.docker_api import open_docker


class Engine:
    """As much of a Docker engine as is asked of it here, at a socket of its own.

    `services` are Swarm's, by name, and `containers` by id. A request in `refuse` is answered with
    that status instead.
    """

    def __init__(self):
        self.services = {}
        self.containers = {}
        self.tasks = []
        self.swarm = {"ControlAvailable": True}
        self.refuse = {}
        self.requests = []
        self._made = 0

    def service(self, name, replicas, image="shop:1", **labels):
        self.services[f"stack_{name}"] = {
            "ID": f"id-{name}",
            "Version": {"Index": 7},
            "Spec": {
                "Name": f"stack_{name}",
                "Labels": {"com.docker.stack.namespace": "stack", **labels},
                "TaskTemplate": {"ContainerSpec": {"Image": image, "Env": ["A=1"]}},
                "Mode": {"Replicated": {"Replicas": replicas}},
                "EndpointSpec": {"Mode": "dnsrr", "Ports": [{"TargetPort": 80}]},
            },
            "ServiceStatus": {"RunningTasks": replicas},
        }

    def container(self, service, number, state="running", **labels):
        id = f"{service}{number}".ljust(64, "0")
        self.containers[id] = {
            "Id": id,
            "State": {"Status": state},
            "Config": {
                "Image": "shop:1",
                "Hostname": id[:12],
                "Env": ["A=1"],
                "Labels": {
                    "com.docker.compose.project": "stack",
                    "com.docker.compose.service": service,
                    "com.docker.compose.container-number": str(number),
                    **labels,
                },
            },
            "HostConfig": {"Memory": 5},
            "NetworkSettings": {
                "Networks": {"mesh": {"Aliases": [service, id[:12]]}, "more": {"Aliases": None}}
            },
        }
        return id

    async def answer(self, request):  # noqa: PLR0911 - one for each resource
        path = request.path.removeprefix("/v1.41")
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, path, body))
        if (request.method, path) in self.refuse:
            status, message = self.refuse.pop((request.method, path))
            return web.json_response({"message": message}, status=status)
        match request.method, path.strip("/").split("/"):
            case "GET", ["version"]:
                return web.json_response({"ApiVersion": "1.41"})
            case "GET", ["info"]:
                return web.json_response({"Swarm": self.swarm})
            case "GET", ["tasks"]:
                return web.json_response(self.tasks)
            case _, ["services", *rest]:
                return self._services(request, rest, body)
            case _, ["containers", *rest]:
                return self._containers(request, rest, body)
            case "POST", ["networks", _, "connect"]:
                return web.Response()
        return web.json_response({"message": "page not found"}, status=404)

    def _services(self, request, rest, body):  # noqa: PLR0911 - one for each request
        match request.method, rest:
            case "GET", []:
                return web.json_response(list(self.services.values()))
            case "POST", ["create"]:
                self.services[body["Name"]] = {
                    "ID": f"id-{body['Name']}",
                    "Version": {"Index": 1},
                    "Spec": body,
                }
                return web.json_response({"ID": "new"}, status=201)
            case "POST", [id, "update"]:
                (found,) = [each for each in self.services.values() if each["ID"] == id]
                if request.query["version"] != str(found["Version"]["Index"]):
                    return web.json_response({"message": "update out of sequence"}, status=500)
                found["Spec"] = body
                found["Version"]["Index"] += 1
                return web.json_response({"Warnings": None})
            case method, [name] if name in self.services:
                if method == "DELETE":
                    del self.services[name]
                    return web.Response()
                return web.json_response(self.services[name])
        return web.json_response({"message": "service not found"}, status=404)

    def _containers(self, request, rest, body):
        match request.method, rest:
            case "GET", ["json"]:
                return web.json_response(
                    [
                        {
                            "Id": id,
                            "State": each["State"]["Status"],
                            "Image": each["Config"]["Image"],
                            "Labels": each["Config"]["Labels"],
                        }
                        for id, each in self.containers.items()
                    ]
                )
            case "POST", ["create"]:
                return self._create(request, body)
            case method, [id, *action] if id in self.containers:
                return self._container(method, id, action)
        return web.json_response({"message": "no such container"}, status=404)

    def _create(self, request, body):
        self._made += 1
        id = f"made{self._made}".ljust(64, "0")
        config = copy.deepcopy(body)
        host, networks = config.pop("HostConfig"), config.pop("NetworkingConfig")
        self.containers[id] = {
            "Id": id,
            "Name": request.query["name"],
            "State": {"Status": "created"},
            "Config": {"Hostname": id[:12], **config},
            "HostConfig": host,
            "NetworkSettings": {"Networks": networks["EndpointsConfig"]},
        }
        return web.json_response({"Id": id}, status=201)

    def _container(self, method, id, action):
        match method, action:
            case "GET", ["json"]:
                return web.json_response(self.containers[id])
            case "POST", ["start"]:
                self.containers[id]["State"]["Status"] = "running"
            case "POST", ["stop"]:
                self.containers[id]["State"]["Status"] = "exited"
            case "DELETE", []:
                del self.containers[id]
        return web.Response(status=204)


@pytest.fixture
async def engine(tmp_path):
    engine = Engine()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", engine.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    engine.socket = tmp_path / "docker.sock"
    await web.UnixSite(runner, str(engine.socket)).start()
    yield engine
    await runner.cleanup()


@pytest.fixture
async def api(engine):
    async with open_docker({"DOCKER_HOST": f"unix://{engine.socket}"}) as api:
        yield api
