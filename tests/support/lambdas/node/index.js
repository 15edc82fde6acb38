// A Lambda function as people write it: it knows nothing of eventmesh.
"use strict";

let calls = 0;

exports.handler = async (event, context) => {
  calls += 1;
  console.log("handling", context.awsRequestId);
  if (event.Records) {
    const failed = event.Records.filter((record) => record.body === '"bad"');
    return { batchItemFailures: failed.map(({ messageId }) => ({ itemIdentifier: messageId })) };
  }
  if (event.rawPath) {
    return { statusCode: 201, headers: { "x-path": event.rawPath }, body: event.body };
  }
  switch (event.do) {
    case "fail":
      throw new RangeError("too far");
    case "spin":
      for (;;);
    default:
      return {
        event,
        calls,
        name: context.functionName,
        left: context.getRemainingTimeInMillis(),
        memory: context.memoryLimitInMB,
        arn: context.invokedFunctionArn,
      };
  }
};
