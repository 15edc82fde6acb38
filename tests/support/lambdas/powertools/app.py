"""A function with AWS Lambda Powertools, as people write one: it knows nothing of eventmesh."""

import os

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)

logger = Logger(service="orders")
app = APIGatewayHttpResolver()
processor = BatchProcessor(event_type=EventType.SQS)


@app.get("/orders/<number>")
def find(number: str):
    if number == "0":
        raise NotFoundError("no such order")
    return {"number": number, "query": app.current_event.query_string_parameters}


@app.post("/orders")
def add():
    return {"added": app.current_event.json_body, "pid": os.getpid()}, 201


def book(record):
    item = record.json_body
    logger.info("booking", extra={"item": item})
    if item == "bad":
        raise ValueError("a bad item")


@logger.inject_lambda_context(log_event=False)
def handler(event, context):
    if "Records" in event:
        return process_partial_response(
            event=event, record_handler=book, processor=processor, context=context
        )
    if "rawPath" in event:
        return app.resolve(event, context)
    logger.info("invoked", extra={"keys": sorted(event)})
    return {"echo": event, "id": context.aws_request_id}
