"""Hello over HTTP: values from the path, the query and the body, checked before a handler runs.

Run it:   eventmesh dev examples/hello_http.py
Fire it:  curl 'http://127.0.0.1:8080/hello/Ada?times=2'
          curl http://127.0.0.1:8080/hello -H 'Content-Type: application/json' -d '{"name": "Ada"}'
          eventmesh invoke hello.greet '{"name": "Ada"}'

What does not fit is answered with 422 and one reason a field. The page /docs shows every route.
"""

from typing import Annotated

from pydantic import BaseModel, Field

from eventmesh import Service, on

app = Service("hello")


class Person(BaseModel):
    name: str = Field(min_length=1)


class Greeting(BaseModel):
    text: str


@app.function(on.get("/hello/{name}"))
async def greet(name: str, times: Annotated[int, Field(ge=1, le=5)] = 1) -> Greeting:
    """Greet somebody by name, up to five times."""
    return Greeting(text=" ".join([f"Hello, {name}!"] * times))


@app.function(on.post("/hello", status=201))
async def welcome(person: Person) -> Greeting:
    """Greet whoever the body is about."""
    return Greeting(text=f"Welcome, {person.name}!")
