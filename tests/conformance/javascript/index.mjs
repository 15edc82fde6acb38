// Handlers of some requirements of each suite, with AWS's SDK for JavaScript. requirements.json
// says which each is for.

import { withDurableExecution } from "@aws/durable-execution-sdk-js";

const fail = async () => {
  throw new Error("this fails whenever it is run");
};
const never = () => ({ shouldRetry: false });
const twice = (_, attempt) => ({ shouldRetry: attempt < 2, delay: { seconds: 1 } });
const inOrder = { maxConcurrency: 1 };

export const greet = withDurableExecution(async (event, context) =>
  context.step(async () => `Hello, ${event}!`),
);

export const chain = withDurableExecution(async (event, context) => {
  const first = await context.step(async () => "first");
  return context.step(async () => `${first}_second`);
});

export const recover = withDurableExecution(async (event, context) => {
  const tryAgain = async ({ attempt }) => (attempt === 1 ? fail() : "Operation succeeded");
  return context.step("recover", tryAgain, { retryStrategy: twice });
});

export const fallBack = withDurableExecution(async (event, context) => {
  let value;
  try {
    value = await context.step("fail", fail, { retryStrategy: never });
  } catch {
    value = "fallback";
  }
  return context.step(async () => `${value}_result`);
});

export const pauseTwice = withDurableExecution(async (event, context) => {
  await context.wait("wait-1", { seconds: 2 });
  await context.wait("wait-2", { seconds: 2 });
  return { completedWaits: 2 };
});

export const nest = withDurableExecution(async (event, context) =>
  context.runInChildContext("outer", async (outer) => {
    await outer.step(async () => event);
    return outer.runInChildContext("inner", async (inner) => inner.step(async () => event));
  }),
);

export const ask = withDurableExecution(async (event, context) => {
  const [answer] = await context.createCallback(event);
  return answer;
});

export const echo = withDurableExecution(async (event) => event);

export const call = withDurableExecution(async (event, context) =>
  context.invoke("call", process.env.ECHO_FUNCTION, event),
);

export const count = withDurableExecution(async (event, context) =>
  context.waitForCondition(async (state) => state + 1, {
    initialState: 0,
    waitStrategy: (state) =>
      state < event ? { shouldContinue: true, delay: { seconds: 1 } } : { shouldContinue: false },
  }),
);

export const submit = withDurableExecution(async (event, context) =>
  context.waitForCallback(event, async () => {}),
);

export const branch = withDurableExecution(async (event, context) => {
  const branches = ["task-1", "task-2"].map((task) => async (own) => own.step(async () => task));
  return (await context.parallel("parallel", branches, inOrder)).getResults();
});

export const failFast = withDurableExecution(async (event, context) => {
  const branches = [async () => "ok", fail, async () => "never"];
  const completionConfig = { toleratedFailureCount: 0 };
  const result = await context.parallel("failfast", branches, { ...inOrder, completionConfig });
  const { completionReason, status, successCount, failureCount, totalCount } = result;
  return { completionReason, status, successCount, failureCount, totalCount };
});

export const greetAll = withDurableExecution(async (event, context) => {
  const greetOne = async (own, item) => own.step(async () => `Hello, ${item}!`);
  return (await context.map("map", event, greetOne, inOrder)).getResults();
});

export const suspend = withDurableExecution(async (event, context) => {
  const waitForSecond = async (own, item, index) => {
    if (index === 1) await own.wait({ seconds: 1 });
    return own.step(async () => item);
  };
  return (await context.map("suspend", ["r0", "r1"], waitForSecond, inOrder)).getResults();
});
