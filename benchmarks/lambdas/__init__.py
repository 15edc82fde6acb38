"""The code of Lambda functions, which only their own processes import."""
