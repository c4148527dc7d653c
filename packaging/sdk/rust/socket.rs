//! Socket.IO on the standard library, as far as a provider needs it; no TLS. Where you have a crate for it, take that.
use serde_json::{from_slice, json, Value};
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::{collections::hash_map::RandomState, env, net::TcpStream, sync::Mutex, thread, time::Duration};

/// A connection that begins with `register_component`, and always comes back.
#[derive(Default)]
pub struct Socket(Mutex<Option<TcpStream>>);

impl Socket {
    /// Send an event. While there is no connection it is dropped: what matters will be asked for again.
    pub fn emit(&self, name: &str, body: Value) {
        if let Some(stream) = &mut *self.0.lock().unwrap() {
            let _ = write(stream, &format!("42{}", json!([name, body]))); // the reader notices what is wrong
        }
    }
    /// Give every event to `on`, for ever. `me` is what `register_component` says.
    pub fn run(&self, me: &Value, on: impl Fn(&str, Value)) -> ! {
        let mut pause = 100;
        loop {
            let problem = self.connection(me, |name, body| (pause = 100, on(name, body)).1).unwrap_err();
            *self.0.lock().unwrap() = None;
            eprintln!("no connection to the hub: {problem}");
            thread::sleep(Duration::from_millis(pause / 2 + random() % pause));
            pause = (2 * pause).min(3000);
        }
    }
    fn connection(&self, me: &Value, mut on: impl FnMut(&str, Value)) -> Result<()> {
        let url = env::var("GLEITZEIT_HUB_URL").unwrap_or("http://localhost:8000".into());
        let place = url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(place)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?; // a hub says something every few seconds
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        let upgrade = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTYgYnl0ZXMgb2YgdGV4dA==";
        write!(stream, "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {place}\r\n{upgrade}\r\n\r\n")?;
        let (mut from, mut head) = (BufReader::new(stream.try_clone()?), String::new());
        while from.read_line(&mut head)? > 2 {}
        let auth = json!({"token": env::var("GLEITZEIT_TOKEN").ok(), "component_type": me["component_type"], "component_id": me["component_id"]});
        loop {
            match read(&mut from)?.as_slice() {
                _ if !head.starts_with("HTTP/1.1 101") => return Err(Error::new(ErrorKind::Other, head)),
                [b'0', ..] => write(&mut stream, &format!("40{auth}"))?,
                [b'2', ..] => write(self.0.lock().unwrap().as_mut().unwrap_or(&mut stream), "3")?,
                [b'4', b'0', ..] => {
                    let mut shared = self.0.lock().unwrap(); // nobody else may be the first to send
                    write(shared.insert(stream.try_clone()?), &format!("42{}", json!(["register_component", me])))?;
                }
                [b'4', b'2', event @ ..] => match from_slice::<(String, Value)>(event) {
                    Ok((name, body)) => on(&name, body),
                    Err(problem) => eprintln!("an event that cannot be read: {problem}"),
                },
                other => return Err(Error::new(ErrorKind::Other, String::from_utf8_lossy(other))), // 41, 44: not wanted
            }
        }
    }
}
/// A message of RFC 6455, section 5.2. The hub sends whole texts only.
fn read(from: &mut impl Read) -> Result<Vec<u8>> {
    let (mut head, mut size) = ([0; 2], [0; 8]);
    from.read_exact(&mut head)?;
    match head[1] {
        126 => from.read_exact(&mut size[6..])?,
        127 => from.read_exact(&mut size)?,
        short => size[7] = short,
    }
    let mut data = vec![0; u64::from_be_bytes(size) as usize];
    from.read_exact(&mut data)?;
    Ok(data)
}
fn write(to: &mut TcpStream, text: &str) -> Result<()> {
    let (size, mask) = ((text.len() as u64).to_be_bytes(), &random().to_be_bytes()[..4]);
    let (kind, rest) = [(size[7], 8), (126, 6), (127, 0)][(text.len() > 125) as usize + (text.len() > 65535) as usize];
    let masked: Vec<u8> = text.bytes().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    to.write_all(&[&[0x81, 0x80 | kind], &size[rest..], mask, &masked].concat())
}
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
