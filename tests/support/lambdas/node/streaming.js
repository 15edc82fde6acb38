// A Lambda function that streams its response, as people write it: it knows nothing of eventmesh.
"use strict";

const fs = require("node:fs");
const { setTimeout: sleep } = require("node:timers/promises");

exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  const { file } = event.queryStringParameters ?? event;
  if (event.rawPath) {
    const prelude = { statusCode: 201, headers: { "content-type": "text/plain", "x-own": "1" } };
    stream = awslambda.HttpResponseStream.from(stream, prelude);
  }
  stream.write("one ");
  while (!fs.existsSync(file)) {
    await sleep(10);
  }
  stream.write("two");
  stream.end();
});
