// A Gleitzeit provider in JavaScript: npm install, then GLEITZEIT_HUB_URL=... GLEITZEIT_TOKEN=... node provider.mjs
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { io } from "socket.io-client";

// What it serves, and how: this is yours to replace. The rest is the same for every provider.
const text = { type: "object", properties: { text: { type: "string" } }, required: ["text"], additionalProperties: false };
const seconds = { type: "object", properties: { seconds: { type: "number" } }, required: ["seconds"], additionalProperties: false };
const protocol = {
  name: "text/v1",
  description: "Texts, turned round.",
  methods: {
    "text/reverse": { description: "The text, backwards.", parameters: text, returns: { type: "string" } },
    "text/wait": { description: "Wait a while.", parameters: seconds },
  },
};
const work = {
  "text/reverse": ({ text }) => [...text].reverse().join(""),
  "text/wait": ({ seconds }, signal) => sleep(seconds * 1000, seconds, { signal }),
};

const failure = (code, name, message, retryable = false) => Object.assign(new Error(message), { info: { code, name, message, retryable } });
const check = (method, given) => { // as much of JSON Schema as the schemas above need
  const schema = protocol.methods[method]?.parameters;
  if (!schema) throw failure(-30008, "METHOD_NOT_SUPPORTED", `${protocol.name} has no method ${method}`);
  const wrong = schema.required.filter((name) => !(name in given)).map((name) => `${name}: missing`);
  for (const [name, value] of Object.entries(given)) {
    const wanted = schema.properties[name]?.type;
    if (typeof value !== wanted) wrong.push(`${name}: ${wanted ? `expected ${wanted}` : "unknown"}`);
  }
  if (wrong.length) throw failure(-29006, "TASK_PARAMETER_INVALID", wrong.join("; "));
};

const capacity = 4, epoch = Date.now(); // of this process: a call that is meant for the one before it is not for us
const calls = new Map(); // key -> { abort, answer }: the answer once there is one, kept to be repeated
let inService = true;
const me = { component_type: "provider", component_id: `text-${hostname()}-${process.pid}`, epoch };
const socket = io(process.env.GLEITZEIT_HUB_URL ?? "http://localhost:8000", {
  transports: ["websocket"], reconnectionDelayMax: 2000, auth: { ...me, token: process.env.GLEITZEIT_TOKEN },
});
const register = () => {
  socket.emit("register_protocol", { protocol });
  socket.emit("register_provider", { protocol: protocol.name, capacity: inService ? capacity : 0, epoch });
};
const running = () => [...calls.values()].filter((call) => !call.answer).length;
const key = ({ workflow_id, task_id, attempt }) => JSON.stringify([workflow_id, task_id, attempt]);
const failed = ({ message }) => ({ code: -29002, name: "TASK_EXECUTION_FAILED", message: message || "failed", retryable: true });
const answer = ({ workflow_id, task_id, attempt }, error, result = null) => error
  ? ["provider_error", { workflow_id, task_id, attempt, error: error.info ?? failed(error) }]
  : ["method_result", { workflow_id, task_id, attempt, result }];
const say = (answer) => socket.connected && socket.emit(...answer); // if we are away, it will be asked for again
const finish = (order, call, error, result) => {
  calls.set(key(order), Object.assign(call, { answer: answer(order, error, result) }));
  setTimeout(() => calls.delete(key(order)), (order.keep ?? 60) * 1000).unref();
  say(call.answer);
};

socket.on("connect", () => socket.emit("register_component", me));
socket.on("component_registered", register);
socket.on("initialize", () => { inService = true; register(); });
socket.on("shutdown", () => { inService = false; register(); });
socket.on("heartbeat", ({ number }) => socket.emit("heartbeat_response", { number, load: running() }));
socket.on("health_check", () => socket.emit("health_status", { health: "ok", running: running() }));
socket.on("cancel_method", (order) => {
  const call = calls.get(key(order)), cancelled = failure(-29004, "TASK_CANCELLED", order.reason || "cancelled");
  if (call) call.answer ? say(call.answer) : call.abort.abort(cancelled);
  else finish(order, {}, cancelled);
});
socket.on("execute_method", async (order) => {
  const known = calls.get(key(order)), { parameters = {}, method } = order, abort = new AbortController();
  if (known) return known.answer && say(known.answer); // while it runs: it is answered when it ends
  if (!inService || running() >= capacity || (order.epoch && order.epoch !== epoch))
    return say(answer(order, failure(-30006, "PROVIDER_OVERLOADED", "no room here", true)));
  calls.set(key(order), { abort });
  const late = () => abort.abort(failure(-29003, "TASK_TIMEOUT", "it took too long", true));
  const limit = order.timeout && setTimeout(late, Math.min(order.timeout * 1000, 2 ** 31 - 1));
  try { check(method, parameters); finish(order, { abort }, null, await work[method](parameters, abort.signal)); }
  catch (error) { finish(order, { abort }, abort.signal.reason ?? error); } finally { clearTimeout(limit); }
});
