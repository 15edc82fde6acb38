"""Extensions of a Lambda function: processes beside its runtime, and what they are told."""
