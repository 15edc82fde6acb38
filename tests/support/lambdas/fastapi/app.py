"""A FastAPI application, which Mangum makes a Lambda function of: it knows nothing of eventmesh."""

from fastapi import FastAPI, HTTPException, Request, Response
from mangum import Mangum
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    name: str
    price: float


@app.get("/items/{item}")
def find(item: int, request: Request, verbose: bool = False):
    if item == 0:
        raise HTTPException(404, "no such item")
    return {"item": item, "verbose": verbose, "tea": request.cookies.get("tea")}


@app.post("/items", status_code=201)
def add(item: Item, response: Response):
    response.set_cookie("last", item.name)
    return item


@app.put("/items/{item}")
async def upload(item: int, request: Request):
    return Response(bytes(reversed(await request.body())), media_type="image/png")


handler = Mangum(app, lifespan="off")
