"""Direct invocation in the form of the AWS Lambda Invoke API."""
