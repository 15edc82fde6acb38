"""Texts of strangers on the console's screens: they are shown, and do nothing."""

from urllib.parse import quote

import pytest
from console_data import (
    answer_letters,
    make_execution,
    make_letter,
    make_problem,
    make_run,
    make_save,
    make_timer,
)
from fake_console import make_function
from playwright.async_api import expect

TEXTS = {
    "script": "<script>window.harmed=1</script>",
    "image": "<img src=x onerror='window.harmed=1'>",
    "attribute": "\" autofocus onfocus=window.harmed=1 x='",
    "svg": "</text></svg><svg onload=window.harmed=1>",
    "entity": "&lt;b&gt; &#60;img src=x onerror=window.harmed=1&#62;",
    "template": "${window.harmed=1} {{constructor.constructor('window.harmed=1')()}}",
    "link": "javascript:window.harmed=1",
    "prototype": "__proto__",
    "constructor": "constructor",
    "path": "../../../evil?x=1#y",
    "turned around": "receipt\u202egpj.exe\u2066",
    "hidden": "pay\u200bment\u0000\u001b[31m",
    "long": "x" * 5000,
    "lines": "one\r\n\r\nevent: snapshot\r\ndata: {}\r\n\r\ntwo",
    "emoji": "🏴‍☠️ ‮",  # noqa: PLE2502 - it is what the test is about
    "empty": "",
}
NAME = "mailer.receipt"
ALL = "\n".join(TEXTS.values())
SCREENS = (
    "",
    "?fold=all",
    "functions",
    "functions/orders.place",
    "invocations",
    "invocations/r-1",
    "failures",
    f"failures/{NAME}",
    f"failures/{NAME}/d-1",
    "queues",
    "instances",
    "timers",
    "executions",
    "executions/e-1",
    "doctor?level=all",
    "code",
    "code?broken",
    *(f"functions/{quote(f'{TEXTS[name]}.run', safe='')}" for name in ("image", "path", "hidden")),
)
SEEN = """() => ({
    harmed: window.harmed ?? null,
    polluted: Object.keys(Object.prototype),
    scripts: [...document.scripts].map((it) => it.getAttribute("src")),
    links: [...document.links].map((it) => it.href).filter((it) =>
        !it.startsWith(`${location.origin}/_console/`) && !it.endsWith("#main")),
    images: document.images.length,
    handlers: [...document.querySelectorAll("*")].filter((it) =>
        [...it.attributes].some(({ name }) => name.startsWith("on"))).length,
})"""


def fill(console):
    """Put all the texts wherever others can write one."""
    console.change(
        **{
            name: {each: members(each) for each in TEXTS.values()}
            for name, members in {
                "functions": _function,
                "edges": lambda text: {
                    "from": "orders.place",
                    "to": f"{text}.run",
                    "kind": text,
                    "rate": None,
                },
                "instances": lambda text: {
                    **console.state["instances"]["i1"],
                    "id": text,
                    "host": text,
                    "services": {text: text},
                },
                "queues": lambda text: {
                    **console.state["queues"]["em.inbox.mailer.receipt"],
                    "name": text,
                    "function": text,
                    "away": text,
                    "kind": text,
                },
                "failures": lambda text: {
                    "function": text,
                    "count": 1,
                    "oldest": 0,
                    "newest": 0,
                },
            }.items()
        }
    )
    console.change(**_code())
    runs = [_run(text) for text in TEXTS.values()]
    schema = {
        "type": "object",
        "title": ALL,
        "description": ALL,
        "required": list(TEXTS.values()),
        "properties": {
            text: {"type": "string", "title": text, "enum": [text, "other"]}
            for text in TEXTS.values()
        },
    }
    console.answers |= {
        "functions/orders.place": console.answers["functions/orders.place"]
        | {"schema": schema, "code": ALL, "description": ALL},
        "invocations": {
            "invocations": runs,
            "running": [run | {"since": run["started"]} for run in runs],
        },
        "invocations/r-1": {
            "id": "r-1",
            "state": ALL,
            "where": [
                {"function": text, "state": text, "instance": text, "error": text}
                for text in TEXTS.values()
            ],
            "chain": [run | {"id": "r-1"} for run in runs],
            "dead_letters": [_letter("d-1", ALL)],
            "detail": ALL,
        },
        f"failures/{NAME}": answer_letters(
            [_letter("d-1", ALL), *(_letter(text, text) for text in TEXTS.values())]
        ),
        **_operations(),
        "resolved": {
            "resolved": [
                {"function": text, "id": text, "action": text, "by": text, "copy": text, "at": 1}
                for text in TEXTS.values()
            ]
        },
    }
    console.me |= {"principal": ALL, "broker": ALL}


def _operations():
    """The same texts where timers, executions and findings have some."""
    texts = TEXTS.values()
    members = ("name", "function", "version", "caller", "principal", "dead_letter", "pause_reason")
    hostile = dict.fromkeys(members, ALL)
    execution = make_execution("e-1", **hostile, paused=1.0, result=ALL) | {
        "error": {"type": ALL, "message": ALL},
        "open": [
            make_execution("e-1")["open"][0] | {"id": text, "name": text, "type": text}
            for text in texts
        ],
    }
    return {
        "timers": {
            "timers": [make_timer(text, schedule=text, kind=text, catch_up=text) for text in texts],
            "incomplete": [*texts],
        },
        "executions": {
            "executions": [make_execution(text, name=text, status=text) for text in texts],
            "after": ALL,
        },
        "executions/e-1": execution,
        "executions/e-1/history": {
            "events": [
                {"EventType": text, "EventId": text, "EventTimestamp": 1, "Name": text, text: text}
                for text in texts
            ],
            "more": True,
        },
        "findings": {
            "findings": [
                {"level": text, "subject": text, "what": text, "advice": text} for text in texts
            ],
            "examined": 1.0,
        },
    }


def make_hostile_problem():
    """Code that does not run, and says so in all the texts."""
    texts = dict.fromkeys(("kind", "type", "message", "file", "traceback"), ALL)
    return make_problem(**texts, saved={"at": 1, "files": [*TEXTS.values()], "more": 1})


def _code():
    """The same texts in what a save changed, and in the log."""
    texts = TEXTS.values()
    changes = [{"what": text, "before": text, "after": text} for text in texts]
    named = [{"name": text, "kind": text, "changes": changes, "more": 1} for text in texts]
    return {
        "code": {"saved": make_save(ALL, files=[*texts], services=named, functions=named)},
        "log": {
            str(number): {"at": 1, "level": text, "text": text} for number, text in enumerate(texts)
        },
    }


def _function(text):
    triggers = [{"kind": text, "description": text}, {"kind": "event", "description": text}]
    others = {"service": text, "on_failure": text, "access": text}
    return make_function(f"{text}.run", triggers=triggers) | others


def _run(text):
    run = make_run(text, text, error=text, error_type=text, caller=text, trigger=text)
    return run | {"outcome": text, "instance": text, "correlation_id": text, "payload": text}


def _letter(id, text):
    letter = make_letter(id, error_type=text, error_message=text, traceback=text, reason=text)
    headers = dict.fromkeys(TEXTS.values(), text)
    payload = {each: [text] for each in TEXTS.values()}
    strange = {"trigger": text, "frame": text, "correlation_id": text}
    return letter | {"headers": headers, "payload": payload} | strange


@pytest.fixture
def hostile_console(console):
    fill(console)
    return console


@pytest.mark.parametrize("path", SCREENS)
async def test_it_does_nothing(hostile_console, page, path):
    if path == "code?broken":
        hostile_console.change(code={"problem": make_hostile_problem()})
    async with hostile_console.serve() as url:
        await page.goto(url + path)
        await expect(page.locator("main h1")).to_be_visible()
        await expect(page.get_by_text("Loading…")).to_have_count(0)
        assert await page.evaluate(SEEN) == {
            "harmed": None,
            "polluted": [],
            "scripts": ["/_console/vendor/uplot.js", "/_console/app/main.js"],
            "links": [],
            "images": 0,
            "handlers": 0,
        }
        assert page.url == url + path
        unknown = "the server responded with a status of 404"
        assert [error for error in page.errors if unknown not in error] == []


async def test_all_of_it_is_shown_as_it_is(hostile_console, page):
    async with hostile_console.serve() as url:
        await page.goto(f"{url}failures/{NAME}/d-1")
        note = page.locator(".note.bad")
        for name in ("script", "image", "attribute", "svg", "entity", "template", "link"):
            await expect(note).to_contain_text(TEXTS[name])
        await expect(note).to_contain_text("receipt⟨U+202E⟩gpj.exe⟨U+2066⟩")
        await expect(note).to_contain_text("pay⟨U+200B⟩ment⟨U+0000⟩⟨U+001B⟩[31m")


async def test_code_that_does_not_run_is_told_of_in_its_own_words(hostile_console, page):
    hostile_console.change(code={"problem": make_hostile_problem()})
    async with hostile_console.serve() as url:
        await page.goto(f"{url}functions")
        note = page.get_by_role("alert")
        await expect(note).to_contain_text(TEXTS["script"])
        await expect(note).to_contain_text("receipt⟨U+202E⟩gpj.exe⟨U+2066⟩")
        await note.get_by_role("link").click()
        traceback = page.get_by_role("region", name="Traceback")
        await expect(traceback).to_contain_text(TEXTS["image"])
        await expect(traceback).to_contain_text("pay⟨U+200B⟩ment⟨U+0000⟩⟨U+001B⟩[31m")
