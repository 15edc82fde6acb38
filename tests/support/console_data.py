"""Made-up data of a mesh, in the forms that the console's API has."""

import time

HTTP = {"kind": "http", "description": "POST /orders"}
EVENT = {"kind": "event", "description": "event order.*"}
SCHEMA = {
    "type": "object",
    "title": "Order",
    "required": ["sku", "lines"],
    "properties": {
        "sku": {"type": "string"},
        "express": {"type": "boolean", "default": False},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    },
    "$defs": {
        "Line": {
            "type": "object",
            "required": ["count"],
            "properties": {"count": {"type": "integer", "minimum": 1}},
        }
    },
}


def make_letter(id, **members):
    return {
        "id": id,
        "function": "mailer.receipt",
        "reason": "the last attempt failed",
        "error_type": "SMTPError",
        "error_message": "mailbox full",
        "traceback": 'File "app.py", line 12, in receipt',
        "attempts": 3,
        "trigger": "event",
        "created": time.time() - 60,
        "first_failure": time.time() - 50,
        "last_failure": time.time() - 5,
        "content_type": "application/json",
        "headers": {"tenant": "seven"},
        "payload": {"to": "ada@example.com"},
        "correlation_id": "c-1",
        "frame": "app.py:12 in receipt",
        "group": "full",
        **members,
    }


def make_timer(function, **members):
    now = time.time()
    return {
        "function": function,
        "kind": "cron",
        "schedule": "cron 0 3 * * * (UTC)",
        "catch_up": "skip",
        "jitter": 60.0,
        "next": [now + 3600, now + 90_000],
        "last": [now - 82_800],
        "paused": None,
        **members,
    }


def make_execution(id, **members):
    return {
        "id": id,
        "name": id,
        "function": "orders.place",
        "version": "1f2e",
        "status": "RUNNING",
        "started": time.time() - 600,
        "ended": None,
        "turns": 2,
        "operations": 3,
        "due": time.time() + 3600,
        "requested": False,
        "running": False,
        "error": None,
        "paused": None,
        "pause_reason": "",
        "caller": "",
        "principal": "",
        "dead_letter": "",
        "result": None,
        "open": [
            {
                "id": "o-2",
                "type": "CALLBACK",
                "name": "paid",
                "status": "STARTED",
                "started": time.time() - 500,
                "due": time.time() + 3600,
                "attempt": 0,
                "function": "",
            }
        ],
        **members,
    }


def make_events():
    began = time.time() - 600
    return [
        {
            "EventType": "ExecutionStarted",
            "EventId": 1,
            "EventTimestamp": began,
            "ExecutionStartedDetails": {"Input": {"Payload": "{}", "Truncated": False}},
        },
        {
            "EventType": "StepSucceeded",
            "EventId": 2,
            "EventTimestamp": began + 1,
            "Id": "o-1",
            "Name": "reserve",
            "StepSucceededDetails": {"Result": {"Payload": "7", "Truncated": False}},
        },
    ]


def make_run(id, function, **members):
    return {
        "id": id,
        "function": function,
        "instance": "i1",
        "started": time.time() - 20,
        "duration": 0.25,
        "outcome": "success",
        "attempt": 1,
        "trigger": "http",
        "caller": "",
        "correlation_id": "c-1",
        "error_type": "",
        "error": "",
        **members,
    }


def answer_letters(letters):
    """What the API says of the dead letters of one function, all in one group."""

    def answer(_):
        group = {
            "key": "full",
            "error_type": "SMTPError",
            "frame": "app.py:12 in receipt",
            "count": len(letters),
            "first": time.time() - 50,
            "last": time.time() - 5,
            "ids": [letter["id"] for letter in letters],
        }
        return {"groups": [group] if letters else [], "dead_letters": letters}

    return answer


def make_save(name, **members):
    """A save that changed one function of that name."""
    change = {"what": "timeout", "before": "30.0", "after": "5.0"}
    function = {"name": name, "kind": "changed", "changes": [change], "more": 0}
    return {
        "at": time.time() - 3,
        "files": ["app.py"],
        "more": 0,
        "services": [],
        "functions": [function],
        **members,
    }


def make_problem(**members):
    """Code that does not run."""
    return {
        "kind": "failed",
        "at": time.time() - 2,
        "type": "SyntaxError",
        "message": "app.py cannot be imported: SyntaxError: invalid syntax",
        "file": "app.py",
        "line": 9,
        "traceback": "app.py:9\n  def broken(:\nSyntaxError: invalid syntax",
        "saved": {"at": time.time() - 3, "files": ["app.py"], "more": 0},
        **members,
    }
