"""Resources: what a service opens once, and its functions ask for by type.

Run it:   eventmesh dev examples/resource_injection.py
Fire it:  curl http://127.0.0.1:8080/notes -H 'Content-Type: application/json' -d '{"text": "milk"}'
          curl http://127.0.0.1:8080/notes

A resource is opened before the first invocation and closed after the last one. In a test another
object takes its place: TestMesh(app, resources={Notes: Notes(fake)}).
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

from pydantic import BaseModel

from eventmesh import Service, on

app = Service("notes")


class Note(BaseModel):
    text: str


class Notes:
    """The notes, in a database."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._database.execute("create table if not exists notes (text)")

    def add(self, note: Note) -> None:
        self._database.execute("insert into notes values (?)", (note.text,))

    def all(self) -> list[Note]:
        rows = self._database.execute("select text from notes order by rowid")
        return [Note(text=text) for (text,) in rows]


@app.resource
async def notes() -> AsyncIterator[Notes]:
    with closing(sqlite3.connect(":memory:")) as database:
        yield Notes(database)


@app.function(on.post("/notes", status=201))
async def add(note: Note, notes: Notes) -> Note:
    notes.add(note)
    return note


@app.function(on.get("/notes"))
async def read(notes: Notes) -> list[Note]:
    return notes.all()
