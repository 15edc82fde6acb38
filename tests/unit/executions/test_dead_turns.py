"""Executions whose turn became a dead letter: they wait for it, as long as they may."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from eventmesh import DurableContext, FunctionError, Retry, Service
from eventmesh.engine.executions.access import ExecutionReport
from eventmesh.engine.executions.mesh import MeshExecutions
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.executions.native import NativeTurns
from eventmesh.testing import TestMesh


class Broken:
    """A service whose turns can be made to fail, as by something that retries do not mend."""

    def __init__(self, shop: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.shop = shop
        self._monkeypatch = monkeypatch
        self._run = NativeTurns.run

        @shop.function(durable=True, execution_timeout="30d", retry=Retry(attempts=1))
        async def ship(ctx: DurableContext) -> str:
            await ctx.step(self.done.append, "packed", name="pack")
            await ctx.wait("1d")
            await ctx.step(self.done.append, "sent", name="send")
            return "shipped"

        self.ship = ship

    def fail(self) -> None:
        async def fail(*_: object) -> None:
            raise FunctionError("MemoryError", "no turn gets through")

        self._monkeypatch.setattr(NativeTurns, "run", fail)

    def repair(self) -> None:
        self._monkeypatch.setattr(NativeTurns, "run", self._run)

    def executions(self, mesh: TestMesh) -> MeshExecutions:
        async def functions() -> list[str]:
            return ["shop.ship"]

        return MeshExecutions(mesh.broker, mesh.clock, functions)

    async def execution(self, mesh: TestMesh) -> ExecutionReport:
        (found,), _ = await self.executions(mesh).list()
        return await self.executions(mesh).show(found.id)

    @asynccontextmanager
    async def stuck(self) -> AsyncGenerator[TestMesh]:
        """A mesh in which the second turn of an execution is a dead letter."""
        async with TestMesh(self.shop, allow_failures=True) as mesh:
            await mesh.send(self.ship)
            await mesh.settle()
            self.fail()
            await mesh.advance("1d")
            assert len(mesh.dead_letters) == 1
            self.repair()
            yield mesh


@pytest.fixture
def broken(shop: Service, monkeypatch: pytest.MonkeyPatch) -> Broken:
    return Broken(shop, monkeypatch)


async def test_it_says_which_dead_letter_it_waits_for(broken: Broken) -> None:
    async with broken.stuck() as mesh:
        shown = await broken.execution(mesh)
        events, _ = await broken.executions(mesh).history(shown.id)
        (letter,) = await BrokerDeadLetters(mesh.broker, mesh.clock).list("shop.ship")
    assert (shown.status, shown.dead_letter, shown.requested) == ("RUNNING", letter.id, True)
    error = events[-1].details["Error"]["Payload"]
    assert error["ErrorType"] == "Execution.TurnDeadLettered"
    assert f"all 1 attempts failed; the turn is the dead letter {letter.id} of shop.ship" in str(
        error["ErrorMessage"]
    )


async def test_redriven_it_goes_on_to_its_end(broken: Broken) -> None:
    async with broken.stuck() as mesh:
        assert await BrokerDeadLetters(mesh.broker, mesh.clock).redrive("shop.ship") == 1
        await mesh.settle()
        execution = await broken.execution(mesh)
    assert (execution.status, execution.result) == ("SUCCEEDED", '"shipped"')
    assert execution.dead_letter == ""
    assert broken.done == ["packed", "sent"]


async def test_resumed_it_goes_on_and_what_is_redriven_then_does_nothing(broken: Broken) -> None:
    async with broken.stuck() as mesh:
        access = broken.executions(mesh)
        resumed = await access.resume((await broken.execution(mesh)).id)
        assert resumed.dead_letter == ""
        await mesh.settle()
        assert (await broken.execution(mesh)).status == "SUCCEEDED"
        assert await BrokerDeadLetters(mesh.broker, mesh.clock).redrive("shop.ship") == 1
        await mesh.settle()
        assert (await broken.execution(mesh)).status == "SUCCEEDED"
    assert broken.done == ["packed", "sent"]


async def test_it_ends_at_its_timeout_and_names_the_dead_letter(broken: Broken) -> None:
    async with broken.stuck() as mesh:
        (letter,) = await BrokerDeadLetters(mesh.broker, mesh.clock).list("shop.ship")
        await mesh.advance("29d")
        execution = await broken.execution(mesh)
        assert execution.status == "TIMED_OUT"
        assert execution.error is not None
        assert f"its turn 2 is the dead letter {letter.id} of shop.ship" in str(
            execution.error.message
        )
        assert await BrokerDeadLetters(mesh.broker, mesh.clock).redrive("shop.ship") == 1
        await mesh.settle()
        assert (await broken.execution(mesh)).status == "TIMED_OUT"
        assert await BrokerDeadLetters(mesh.broker, mesh.clock).list("shop.ship") == []
    assert broken.done == ["packed"]


async def test_a_first_turn_that_is_a_dead_letter_is_redriven_too(broken: Broken) -> None:
    broken.fail()
    async with TestMesh(broken.shop, allow_failures=True) as mesh:
        await mesh.send(broken.ship)
        await mesh.settle()
        assert (await broken.execution(mesh)).dead_letter
        broken.repair()
        assert await BrokerDeadLetters(mesh.broker, mesh.clock).redrive("shop.ship") == 1
        await mesh.advance("1d")
        assert (await broken.execution(mesh)).status == "SUCCEEDED"
    assert broken.done == ["packed", "sent"]
