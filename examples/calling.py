"""Calling a function of another service, and going on when it cannot answer.

Run it:   eventmesh dev examples/calling.py
Fire it:  curl http://127.0.0.1:8080/trips -H 'Content-Type: application/json' \
              -d '{"city": "Rome", "nights": 3}'

`invoke` waits for the result. Given the function itself, type checkers know the result's type;
given its name, `returns` says it, and the other service's code need not be there. The call takes no
longer than what is left of the caller's own time.
"""

from pydantic import BaseModel

from eventmesh import Context, FunctionNotFound, InvocationTimeout, Service, Throttled, on

trips = Service("trips")
hotels = Service("hotels")


class Trip(BaseModel):
    city: str
    nights: int = 1


class Offer(BaseModel):
    price: float
    forecast: str


@hotels.function(timeout="2s")
async def price(trip: Trip) -> float:
    return 80.0 * trip.nights


@trips.function(on.post("/trips"), timeout="5s")
async def plan(trip: Trip, ctx: Context) -> Offer:
    cost = await ctx.invoke(price, trip)
    try:
        # No process runs the service "weather" here: the offer is made without it.
        forecast = await ctx.invoke("weather.forecast", trip, returns=str, timeout="1s")
    except (FunctionNotFound, InvocationTimeout, Throttled):
        forecast = "unknown"
    return Offer(price=cost, forecast=forecast)
