"""What the handlers of `parallel` and `map` share: their results, in the form that is compared."""

import json

from aws_durable_execution_sdk_python import BatchItemStatus, BatchResult
from aws_durable_execution_sdk_python.concurrency.models import BatchItem, CompletionReason
from aws_durable_execution_sdk_python.serdes import SerDes

PREFIX = "OPSERDE:"


def summarise(result, *names):
    """Return what the fields of these names are; without names, all of them."""
    fields = {
        "completionReason": result.completion_reason.value,
        "status": result.status.value,
        "successCount": result.success_count,
        "failureCount": result.failure_count,
        "totalCount": result.total_count,
    }
    return {name: fields[name] for name in names or fields}


def summarise_counts(result):
    """Return how it ended, and how many of its parts succeeded and failed."""
    return summarise(result, "completionReason", "successCount", "failureCount", "totalCount")


class WrappingSerDes(SerDes):
    """Records a value in an envelope: {"wrapped": value}."""

    def serialize(self, value, _):
        return json.dumps({"wrapped": value})

    def deserialize(self, data, _):
        return json.loads(data)["wrapped"]


class PrefixSerDes(SerDes):
    """Records a text behind "wrapped:"."""

    def serialize(self, value, _):
        return f"wrapped:{value}"

    def deserialize(self, data, _):
        return data.removeprefix("wrapped:")


class JoiningSerDes(SerDes):
    """Records a whole batch of texts as one line; all of them have succeeded when it is read."""

    def serialize(self, value, _):
        return PREFIX + ",".join(value.get_results())

    def deserialize(self, data, _):
        texts = data.removeprefix(PREFIX).split(",")
        items = [
            BatchItem(index, BatchItemStatus.SUCCEEDED, text) for index, text in enumerate(texts)
        ]
        return BatchResult(items, CompletionReason.ALL_COMPLETED)
