"""Lambda functions: unmodified code for AWS Lambda, in instances that speak its Runtime API."""
