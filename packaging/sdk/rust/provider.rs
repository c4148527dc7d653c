//! A Gleitzeit provider in Rust: cargo build --release, then GLEITZEIT_HUB_URL=... GLEITZEIT_TOKEN=... target/release/provider
mod socket;
use serde_json::{json, Value};
use std::{collections::HashMap, panic, process, sync::mpsc, sync::Arc, sync::Mutex, thread, time::Duration, time::Instant, time::UNIX_EPOCH};

// What it serves, and how: this is yours to replace. The rest is the same for every provider.
fn protocol() -> Value {
    let takes = |name: &str, kind: &str| json!({"type": "object", "properties": {name: {"type": kind}}, "required": [name]});
    json!({"name": "words/v1", "description": "Words, counted.", "methods": {
        "words/count": {"description": "Of a text.", "parameters": takes("text", "string"), "returns": {"type": "integer"}},
        "words/wait": {"description": "Wait a while.", "parameters": takes("seconds", "number")}}})
}
fn work(method: &str, given: &Value, pause: impl Fn(f64) -> Answer) -> Answer {
    match (method, given["text"].as_str(), given["seconds"].as_f64()) {
        ("words/count", Some(text), _) => Ok(json!(text.split_whitespace().count())),
        ("words/wait", _, Some(seconds)) => pause(seconds), // ends early when the call has to
        ("words/count" | "words/wait", ..) => failure(-29006, "TASK_PARAMETER_INVALID", "expected text, or seconds", false),
        _ => failure(-30008, "METHOD_NOT_SUPPORTED", method, false),
    }
}
type Answer = Result<Value, Value>;
type Call = (mpsc::Sender<()>, Option<Answer>, Instant); // what ends it; the answer, kept until then to be repeated
struct Provider(socket::Socket, u64, Mutex<(bool, HashMap<String, Call>)>); // its epoch; whether it takes new calls, and those that it knows
fn failure(code: i32, name: &str, message: &str, retryable: bool) -> Answer {
    Err(json!({"code": code, "name": name, "message": message, "retryable": retryable}))
}
fn say(socket: &socket::Socket, order: &Value, answer: Answer) {
    let (name, part) = if answer.is_ok() { ("method_result", "result") } else { ("provider_error", "error") };
    let mut body = json!({"workflow_id": order["workflow_id"], "task_id": order["task_id"], "attempt": order["attempt"]});
    body[part] = answer.unwrap_or_else(|error| error);
    socket.emit(name, body);
}
fn handle(it: &Arc<Provider>, name: &str, order: Value) {
    let Provider(socket, epoch, state) = &**it;
    let (in_service, calls) = &mut *state.lock().unwrap();
    calls.retain(|_, call| call.1.is_none() || call.2 > Instant::now());
    *in_service = name == "initialize" || *in_service && name != "shutdown";
    let (room, running) = (if *in_service { 4 } else { 0 }, calls.values().filter(|call| call.1.is_none()).count());
    let full = running >= room || order["epoch"].as_u64().map_or(false, |other| other != *epoch);
    let key = json!([order["workflow_id"], order["task_id"], order["attempt"]]).to_string();
    match (name, calls.get(&key)) {
        ("component_registered" | "initialize" | "shutdown", _) => {
            socket.emit("register_protocol", json!({"protocol": protocol()}));
            socket.emit("register_provider", json!({"protocol": "words/v1", "capacity": room, "epoch": epoch}));
        }
        ("heartbeat", _) => socket.emit("heartbeat_response", json!({"number": order["number"], "load": running})),
        ("health_check", _) => socket.emit("health_status", json!({"health": "ok", "running": running})),
        ("execute_method" | "cancel_method", Some((_, Some(answer), _))) => say(socket, &order, answer.clone()),
        ("execute_method", None) if full => say(socket, &order, failure(-30006, "PROVIDER_OVERLOADED", "no room here", true)),
        ("cancel_method", Some((end, ..))) => end.send(()).unwrap_or(()),
        ("execute_method" | "cancel_method", None) => {
            let ((end, ended), it) = (mpsc::channel(), it.clone());
            (name == "cancel_method").then(|| end.send(()));
            calls.insert(key.clone(), (end, None, Instant::now()));
            thread::spawn(move || run(&it, key, order, ended));
        }
        ("event_refused" | "no_components_available", _) => eprintln!("{name}: {}", order["event"]),
        _ => {} // a call that runs already: it is answered when it ends. Or an event that we do not know
    }
}
fn run(it: &Provider, key: String, order: Value, ended: mpsc::Receiver<()>) {
    let limit = order["timeout"].as_f64().unwrap_or(1e9);
    let pause = |seconds: f64| match ended.recv_timeout(Duration::from_secs_f64(seconds.clamp(0.0, limit))) {
        Ok(()) => failure(-29004, "TASK_CANCELLED", "cancelled", false),
        Err(_) if seconds > limit => failure(-29003, "TASK_TIMEOUT", "it took too long", true),
        Err(_) => Ok(json!(seconds)),
    };
    let work = || pause(0.0).and_then(|_| work(order["method"].as_str().unwrap_or(""), &order["parameters"], pause));
    let answer = panic::catch_unwind(panic::AssertUnwindSafe(work)).unwrap_or_else(|_| failure(-29002, "TASK_EXECUTION_FAILED", "panicked", true));
    let kept = Instant::now() + Duration::from_secs_f64(order["keep"].as_f64().unwrap_or(60.0));
    it.2.lock().unwrap().1.insert(key, (mpsc::channel().0, Some(answer.clone()), kept));
    say(&it.0, &order, answer);
}
fn main() {
    let epoch = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64;
    let me = json!({"component_type": "provider", "component_id": format!("words-{}-{epoch}", process::id()), "epoch": epoch});
    let it = Arc::new(Provider(Default::default(), epoch, Mutex::new((true, HashMap::new()))));
    it.0.run(&me, |name, order| handle(&it, name, order))
}
