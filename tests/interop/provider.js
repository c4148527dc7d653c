// A provider in JavaScript: what it takes beside socket.io-client is the table of events.
const { io } = require("socket.io-client");
const [url, token] = process.argv.slice(2);
const me = { component_type: "provider", component_id: "javascript" };
const methods = { "greet/hello": { parameters: { type: "object", required: ["name"] } } };
const socket = io(url, { transports: ["websocket"], auth: { token, ...me } });
socket.on("connect", () => socket.emit("register_component", me));
const register = () => {
  socket.emit("register_protocol", { protocol: { name: "greet/v1", methods } });
  socket.emit("register_provider", { protocol: "greet/v1", capacity: 4 });
};
socket.on("component_registered", register);
socket.on("initialize", register);
socket.on("health_check", () => socket.emit("health_status", { health: "ok" }));
socket.on("execute_method", ({ workflow_id, task_id, attempt, parameters }) =>
  socket.emit("method_result", { workflow_id, task_id, attempt, result: `Hello, ${parameters.name}!` }));
