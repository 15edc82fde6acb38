"""Amazon ECS: a view of a deployment as task definitions, and as a CloudFormation template."""
