//! The control socket over a small machine: the protocol, its errors, events, and every command.

mod common;

use common::{DEVICE, Running, start, start_with};
use emu_debug::qmp::{COMMANDS, Qmp};
use emu_machine::{Access, Exit};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

struct Client {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    events: Vec<Value>,
}

impl Client {
    fn connect(qmp: &Qmp) -> Client {
        let (stream, server) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (qmp, reader) = (qmp.clone(), server.try_clone().unwrap());
        std::thread::spawn(move || qmp.talk(reader, server));
        let lines = BufReader::new(stream.try_clone().unwrap());
        Client { stream, lines, events: vec![] }
    }

    /// A client that has negotiated.
    fn ready(qmp: &Qmp) -> Client {
        let mut client = Client::connect(qmp);
        assert!(client.next()["QMP"]["capabilities"].as_array().unwrap().is_empty());
        assert_eq!(client.ask(json!({ "execute": "qmp_capabilities" })), json!({ "return": {} }));
        client
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the connection ended");
        serde_json::from_str(&line).unwrap()
    }

    /// The next answer; events are kept.
    fn answer(&mut self) -> Value {
        loop {
            let value = self.next();
            if value.get("event").is_none() {
                return value;
            }
            self.events.push(value);
        }
    }

    fn ask(&mut self, command: Value) -> Value {
        self.send(&command.to_string());
        self.answer()
    }

    fn run(&mut self, name: &str, arguments: Value) -> Value {
        self.ask(json!({ "execute": name, "arguments": arguments }))
    }

    fn event(&mut self, name: &str) -> Value {
        loop {
            if let Some(at) = self.events.iter().position(|e| e["event"] == name) {
                return self.events.remove(at);
            }
            let value = self.next();
            assert!(value.get("event").is_some(), "{value}");
            self.events.push(value);
        }
    }
}

fn qmp(m: &Running) -> Qmp {
    Qmp::new(m.session.clone())
}

fn error(answer: &Value) -> (&str, &str) {
    (answer["error"]["class"].as_str().unwrap_or("none"), answer["error"]["desc"].as_str().unwrap_or("none"))
}

#[test]
fn the_conversation_begins_with_a_negotiation() {
    let m = start();
    let qmp = qmp(&m);
    let mut c = Client::connect(&qmp);
    let greeting = c.next();
    assert_eq!(greeting["QMP"]["version"]["qemu"], json!({ "major": 7, "minor": 2, "micro": 0 }));
    let answer = c.run("query-status", json!({}));
    assert_eq!(error(&answer).0, "CommandNotFound");
    assert!(error(&answer).1.starts_with("Expecting capabilities negotiation"));
    assert_eq!(error(&c.run("qmp_capabilities", json!({ "enable": ["oob"] }))).0, "GenericError");
    assert_eq!(c.ask(json!({ "execute": "qmp_capabilities", "id": [1, "x"] })), json!({ "return": {}, "id": [1, "x"] }));
    assert_eq!(error(&c.ask(json!({ "execute": "qmp_capabilities" }))).0, "CommandNotFound");
    assert_eq!(c.run("query-status", json!({})), json!({ "return": { "running": true, "singlestep": false, "status": "running" } }));
    // The next client begins anew.
    drop(c);
    let mut c = Client::connect(&qmp);
    c.next();
    assert_eq!(error(&c.run("query-status", json!({}))).0, "CommandNotFound");
}

#[test]
fn commands_may_be_cut_or_joined_and_nonsense_is_answered() {
    let m = start();
    let mut c = Client::ready(&qmp(&m));
    c.send(r#"{"execute":"query-kvm","id":1}{"execute":"query-"#);
    assert_eq!(c.answer(), json!({ "return": { "enabled": false, "present": false }, "id": 1 }));
    c.send("name\"} {\"execute\": \"query-uuid\"}\n");
    assert_eq!(c.answer(), json!({ "return": { "name": "small" } }));
    assert!(c.answer()["return"]["UUID"].is_string());
    for (text, says) in [
        ("7\n", "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ("{}", "lacks member 'execute'"),
        (r#"{"execute":7}"#, "must be a string"),
        (r#"{"execute":"stop","arguments":7}"#, "must be an object"),
        (r#"{"execute":"stop","extra":7}"#, "'extra' is unexpected"),
        (r#"{"execute":"stop","arguments":{"now":true}}"#, "Parameter 'now' is unexpected"),
        (r#"{"execute":"memsave","arguments":{"val":"x"}}"#, "Invalid parameter type for 'val', expected: integer"),
        (r#"{"execute":"memsave","arguments":{"val":1}}"#, "Parameter 'size' is missing"),
        ("{\"execute\": nonsense}", "JSON parse error"),
        ("}\n", "JSON parse error"),
        ("\"open\n", "JSON parse error"),
        ("\n", "JSON parse error"),
    ] {
        if text == "\n" {
            c.send(&"[".repeat(5000));
        }
        c.send(text);
        let answer = c.answer();
        assert!(error(&answer).0 == "GenericError" && error(&answer).1.contains(says), "{text}: {answer}");
    }
    let answer = c.ask(json!({ "execute": "frobnicate", "id": {} }));
    assert_eq!((error(&answer).0, &answer["id"]), ("CommandNotFound", &json!({})));
}

#[test]
fn events_come_with_their_time_to_those_who_negotiated() {
    let m = start();
    let qmp = qmp(&m);
    let mut silent = Client::connect(&qmp);
    let mut c = Client::ready(&qmp);
    c.run("stop", json!({}));
    let stop = c.event("STOP");
    assert!(stop["timestamp"]["seconds"].as_u64().unwrap() > 1_600_000_000 && stop["timestamp"]["microseconds"].is_u64());
    assert_eq!(c.run("query-status", json!({}))["return"]["status"], "paused");
    // It is held already: no event.
    c.run("stop", json!({}));
    c.run("system_reset", json!({}));
    assert_eq!(c.event("RESET")["data"], json!({ "guest": false, "reason": "host-qmp-system-reset" }));
    assert!(c.events.is_empty());
    c.run("cont", json!({}));
    c.event("RESUME");
    c.run("system_powerdown", json!({}));
    c.event("POWERDOWN");
    m.session.machine(|machine| machine.write(0, DEVICE + 0xf0, 4, 1, Access::cpu(0))).unwrap().unwrap();
    assert_eq!(c.event("RESET")["data"], json!({ "guest": true, "reason": "guest-reset" }));
    m.session.machine(|machine| machine.write(0, DEVICE + 0xf4, 4, 1, Access::cpu(0))).unwrap().unwrap();
    assert_eq!(c.event("SHUTDOWN")["data"], json!({ "guest": true, "reason": "guest-shutdown" }));
    assert_eq!(m.exit(), Exit::Stopped(0));
    qmp.finish();
    silent.next();
    silent.send("{\"execute\":\"qmp_capabilities\"}");
    assert_eq!(silent.next(), json!({ "return": {} }), "no event before that");
}

#[test]
fn quit_is_answered_before_the_end() {
    let m = start();
    let qmp = qmp(&m);
    let mut c = Client::ready(&qmp);
    assert_eq!(c.ask(json!({ "execute": "quit", "id": 5 })), json!({ "return": {}, "id": 5 }));
    assert_eq!(c.event("SHUTDOWN")["data"]["reason"], "host-qmp-quit");
    assert_eq!(m.exit(), Exit::Stopped(0));
    assert!(error(&c.run("query-status", json!({}))).1.contains("has ended"));
}

#[test]
fn a_guest_reset_that_ends_the_run_is_a_shutdown() {
    let m = start_with(|machine| machine.no_reboot = true);
    let qmp = qmp(&m);
    let mut c = Client::ready(&qmp);
    m.session.machine(|machine| machine.write(0, DEVICE + 0xf0, 4, 1, Access::cpu(0))).unwrap().unwrap();
    assert_eq!(c.event("SHUTDOWN")["data"], json!({ "guest": true, "reason": "guest-reset" }));
    assert_eq!(m.exit(), Exit::Reset);
}

#[test]
fn queries_answer_what_clients_expect() {
    let m = start();
    let mut c = Client::ready(&qmp(&m));
    let all = c.run("query-commands", json!({}));
    let names: Vec<&str> = all["return"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert!(COMMANDS.iter().all(|c| names.contains(&c.name)) && names.contains(&"qmp_capabilities"));
    for name in names.iter().filter(|n| n.starts_with("query-")) {
        let answer = c.run(name, json!({}));
        assert!(answer.get("return").is_some(), "{name}: {answer}");
        assert_eq!(error(&c.run(name, json!({ "x": 1 }))).0, "GenericError", "{name}");
    }
    let mut get = |name: &str| c.run(name, json!({}))["return"].take();
    assert_eq!(get("query-target")["arch"], "toy1");
    assert_eq!(get("query-cpus-fast")[0]["cpu-index"], 0);
    assert_eq!(get("query-memory-size-summary"), json!({ "base-memory": 0x1_0000 }));
    assert_eq!(get("query-chardev")[0], json!({ "label": "uart0", "filename": "unix:/tmp/serial,server", "frontend-open": true }));
    assert_eq!(get("query-machines")[0]["name"], "small");
    assert!(get("query-version")["package"].as_str().unwrap().starts_with("emu "));
    assert_eq!(get("query-named-block-nodes"), json!([]));
    assert!(get("query-block")[0].get("inserted").is_none());
}

#[test]
fn media_links_and_memory_are_changed() {
    let m = start();
    let mut c = Client::ready(&qmp(&m));
    let change =
        c.run("blockdev-change-medium", json!({ "id": "sd0", "filename": "ab", "format": "qcow2", "read-only-mode": "read-only" }));
    assert_eq!(change, json!({ "return": {} }));
    let block = c.run("query-block", json!({}))["return"][0]["inserted"].take();
    assert_eq!((&block["file"], &block["ro"], &block["drv"]), (&json!("ab"), &json!(true), &json!("qcow2")));
    assert_eq!(block["image"]["virtual-size"], 512 * "ab,format=qcow2,readonly".len());
    assert_eq!(error(&c.run("eject", json!({ "device": "sd9" }))), ("DeviceNotFound", "Device 'sd9' not found"));
    assert_eq!(error(&c.run("eject", json!({}))).0, "GenericError");
    c.run("eject", json!({ "device": "uart0", "force": true }));
    assert!(c.run("query-block", json!({}))["return"][0].get("inserted").is_none());
    assert_eq!(c.run("set_link", json!({ "name": "eth0", "up": true })), json!({ "return": {} }));
    assert_eq!(error(&c.run("set_link", json!({ "name": "eth7", "up": true }))).0, "DeviceNotFound");
    assert_eq!(error(&c.run("set_link", json!({ "name": "eth0", "up": 1 }))).1, "Invalid parameter type for 'up', expected: boolean");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory");
    c.run("pmemsave", json!({ "val": 0x1000, "size": 4, "filename": file }));
    assert_eq!(std::fs::read(&file).unwrap(), [1, 0, 0, 0x13]);
    c.run("memsave", json!({ "val": 0x4000_1000, "size": 4, "filename": file, "cpu-index": 0 }));
    assert_eq!(std::fs::read(&file).unwrap(), [1, 0, 0, 0x13]);
    assert_eq!(error(&c.run("memsave", json!({ "val": 0, "size": 4, "filename": file, "cpu-index": 9 }))).0, "GenericError");
    let human = c.run("human-monitor-command", json!({ "command-line": "info status" }));
    assert_eq!(human, json!({ "return": "VM status: running\r\n" }));
    let human = c.run("human-monitor-command", json!({ "command-line": "frobnicate", "cpu-index": 0 }));
    assert!(human["return"].as_str().unwrap().starts_with("error: there is no command"));
}

#[test]
fn a_client_that_never_reads_harms_nobody() {
    let m = start();
    let qmp = qmp(&m);
    let mut deaf = Client::ready(&qmp);
    let mut c = Client::ready(&qmp);
    deaf.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    // Answers nobody reads fill its socket; then events find no room.
    while deaf.stream.write_all(b"{\"execute\":\"query-commands\"}").is_ok() {}
    for _ in 0..1000 {
        c.run("stop", json!({}));
        c.run("cont", json!({}));
    }
    assert_eq!(c.events.len(), 2000);
    qmp.finish();
}

#[test]
fn keys_come_in_by_name() {
    let mut m = start();
    let qmp = qmp(&m);
    let mut c = Client::ready(&qmp);
    let a = json!({ "type": "qcode", "data": "a" });
    assert_eq!(c.run("send-key", json!({ "keys": [a], "hold-time": 1 })), json!({ "return": {} }));
    let key = |down: bool| json!({ "type": "key", "data": { "down": down, "key": a } });
    assert_eq!(c.run("input-send-event", json!({ "events": [key(true), key(false)] })), json!({ "return": {} }));
    let register = format!("{}.MATCH[1]", m.session.names().devices.last().unwrap().name);
    // What is posted takes a moment.
    let arrived = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(2));
        m.ok(&register).contains("= 0x00000004")
    });
    assert!(arrived);
    let bad = [
        json!({ "type": "key", "data": { "down": true, "key": { "type": "number", "data": 30 } } }),
        json!({ "type": "btn", "data": { "down": true, "button": "nose" } }),
        json!({ "type": "abs", "data": { "axis": "x", "value": 0x8000 } }),
        json!({ "type": "rel", "data": { "axis": "z", "value": 1 } }),
        // Nobody is there for these.
        json!({ "type": "btn", "data": { "down": true, "button": "left" } }),
        json!({ "type": "abs", "data": { "axis": "y", "value": 0x7fff } }),
        json!({ "type": "rel", "data": { "axis": "x", "value": -5 } }),
    ];
    for event in bad {
        assert_eq!(error(&c.run("input-send-event", json!({ "events": [event] }))).0, "GenericError", "{event}");
    }
}
