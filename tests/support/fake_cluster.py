"""A cluster that is a dictionary: it does at once what it is told, and can be away."""

from dataclasses import replace

from eventmesh.clusters.abc import Canary, ClusterService, ClusterUnavailable, Update


class FakeCluster:
    def __init__(self, **replicas):
        self.services_now = {
            name: ClusterService(name, f"{name}:1", count, count, f"{name}:1")
            for name, count in replicas.items()
        }
        self.away = False
        self.told = []
        self.updates = {}

    def _check(self):
        if self.away:
            raise ClusterUnavailable("the engine is away")

    def change(self, service, **fields):
        self.services_now[service] = replace(self.services_now[service], **fields)

    async def services(self):
        self._check()
        return dict(self.services_now)

    async def scale(self, service, replicas, idle=()):
        self._check()
        self.told.append(("scale", service, replicas, sorted(idle)))
        self.change(service, replicas=replicas, running=replicas)

    async def start_canary(self, service, image, revision, replicas, notes):
        self._check()
        self.told.append(("start canary", service, replicas))
        self.change(service, canary=Canary(image, revision, replicas, replicas, notes))

    async def stop_canary(self, service):
        self._check()
        self.told.append(("stop canary", service))
        self.change(service, canary=None)

    async def update(self, service, image, revision):
        self._check()
        self.told.append(("update", service, revision))
        self.change(service, image=image, revision=revision)

    async def find_update(self, service, revision):
        self._check()
        return self.updates.get(revision, Update("done", "all are new"))
