"""Lambda functions that are durable by AWS's contract: their code uses one of AWS's SDKs."""
