//! WebSocket frames that no client of good will sends.

use super::*;

const TEXT: u8 = 0x1;
const CONTINUATION: u8 = 0x0;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// A frame as RFC 6455, 5.2, writes it.
fn frame(first: u8, mask: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let masked = if mask { MASKED } else { 0 };
    match payload.len() {
        short @ 0..=125 => frame.push(masked | u8::try_from(short).unwrap()),
        long @ 126..=0xffff => {
            frame.push(masked | 0x7e);
            frame.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
        long => {
            frame.push(masked | 0x7f);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    let key = [1, 2, 3, 4];
    if mask {
        frame.extend(key);
        let masked = payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key);
        frame.extend(masked);
    } else {
        frame.extend(payload);
    }
    frame
}

impl Target {
    /// Opens a WebSocket, without a word on it yet.
    async fn upgrade(&self) -> TcpStream {
        let mut socket = self.connect().await;
        let token = self.token("u-1", "CIDADAO");
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nconnection: upgrade\r\nupgrade: \
             websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: arauto.v1\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut heard = String::new();
        let mut buffer = [0; 1_024];
        while !heard.contains("\"ready\"") {
            let read = timeout(DEADLINE, socket.read(&mut buffer))
                .await
                .unwrap()
                .unwrap();
            assert_ne!(read, 0, "{heard}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        assert!(heard.starts_with("HTTP/1.1 101"), "{heard}");
        socket
    }

    /// Sends bytes until the node ends the connection; how many it took before.
    async fn until_ended(&self, mut socket: TcpStream, mut next: impl FnMut(usize) -> Vec<u8>) -> usize {
        let (mut reader, mut writer) = socket.split();
        let mut heard = Vec::new();
        let reading = async { timeout(DEADLINE, reader.read_to_end(&mut heard)).await.is_ok() };
        let mut sent = 0;
        let writing = async {
            for n in 0..100_000 {
                let bytes = next(n);
                if bytes.is_empty() || writer.write_all(&bytes).await.is_err() {
                    break;
                }
                sent += bytes.len();
            }
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = reading => ended,
            () = writing => false,
        };
        assert!(ended, "the connection is kept");
        sent
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_fragmentation_abuse() {
    let target = Target::start();
    let before = target.resident_kib();
    // A message without end, a byte at a time, and in large pieces.
    for size in [1, 1_000] {
        let socket = target.upgrade().await;
        let piece = vec![b'x'; size];
        let next = |n: usize| frame(if n == 0 { TEXT } else { CONTINUATION }, true, &piece);
        let sent = target.until_ended(socket, next).await;
        assert!(sent < 4 << 20, "{sent} bytes were taken");
    }
    // A continuation of nothing, and a second message within the first.
    for frames in [vec![CONTINUATION | FIN], vec![TEXT, TEXT | FIN]] {
        let socket = target.upgrade().await;
        target
            .until_ended(socket, |n| {
                frames
                    .get(n)
                    .map_or_else(Vec::new, |first| frame(*first, true, b"x"))
            })
            .await;
    }
    // One frame that announces eight exabytes.
    let socket = target.upgrade().await;
    let announced = [vec![TEXT | FIN, MASKED | 0x7f], vec![0x7f; 8], vec![1, 2, 3, 4]].concat();
    target
        .until_ended(socket, |n| if n == 0 { announced.clone() } else { Vec::new() })
        .await;
    assert!(target.resident_kib() < before + 16 * 1_024);
    target.neighbour_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_mask_abuse() {
    let target = Target::start();
    let unmasked = frame(TEXT | FIN, false, br#"{"op":"heartbeat","sequence":1}"#);
    let reserved = frame(TEXT | FIN | 0x70, true, b"{}");
    let unknown = frame(0xb | FIN, true, b"{}");
    let long_control = frame(0x9 | FIN, true, &[0; 126]);
    let cut_control = frame(0x9, true, b"");
    for bad in [unmasked, reserved, unknown, long_control, cut_control] {
        let socket = target.upgrade().await;
        target
            .until_ended(socket, |n| if n == 0 { bad.clone() } else { Vec::new() })
            .await;
    }
    target.neighbour_works().await;
}
