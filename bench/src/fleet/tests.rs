//! A fleet against the floor and against a socket that pings, all in this process.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::*;
use crate::floor::Floor;
use crate::publisher::{Audience, Dialect, Endpoint, Publisher};
use crate::wire::websocket;

const PATIENCE: Duration = Duration::from_secs(10);
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// One notification as a chunk.
const FRAME: &[u8] =
    b"44\r\nid: 1-2\nevent: notification\ndata: {\"sent\":\"u00000000000000000000\"}\n\n\r\n";

fn floor() -> SocketAddr {
    let floor = Floor::bind(LOOPBACK).unwrap();
    let address = floor.address().unwrap();
    thread::spawn(|| floor.serve());
    address
}

fn readers(address: SocketAddr, size: usize) -> Fleet {
    let request =
        |index: usize, _: Option<&str>| Ok(format!("GET /stream/{index} HTTP/1.1\r\n\r\n").into_bytes());
    Fleet::new(address, Protocol::EventStream, size, Box::new(request)).unwrap()
}

fn publisher(address: SocketAddr) -> Publisher {
    let endpoint = Endpoint {
        address,
        token: String::new(),
        dialect: Dialect::Floor,
    };
    let mut publisher = Publisher::connect(&endpoint).unwrap();
    for path in ["/frame/broadcast", "/frame/unicast"] {
        assert_eq!(publisher.request("PUT", path, FRAME).unwrap().status, 201);
    }
    publisher
}

#[test]
fn everyone_gets_a_broadcast_and_one_reader_gets_a_unicast() {
    let address = floor();
    let mut fleet = readers(address, 40);
    fleet.open(Pace::AtOnce, PATIENCE).unwrap();
    let mut publisher = publisher(address);
    fleet.record_frame();
    publisher.publish(Audience::Everyone, clock::now()).unwrap();
    fleet
        .until("the broadcast", PATIENCE, |tally| tally.broadcasts == 40)
        .unwrap();
    publisher.publish(Audience::Reader(7), clock::now()).unwrap();
    fleet
        .until("the unicast", PATIENCE, |tally| tally.unicasts == 1)
        .unwrap();

    let tally = fleet.tally();
    assert_eq!(
        (tally.broadcast_latencies.len(), tally.unicast_latencies.len()),
        (40, 1)
    );
    assert_eq!(tally.recorded.as_ref().map(Vec::len), Some(FRAME.len()));
    let counts: Vec<usize> = fleet.seen().map(|(_, positions)| positions.len()).collect();
    assert_eq!((counts[7], counts.iter().sum::<usize>()), (2, 41));
    assert!(fleet.seen().all(|(id, _)| id == Some("1-2")));
}

#[test]
fn a_fleet_that_was_cut_opens_again_and_asks_with_the_last_id() {
    let address = floor();
    let request = |index: usize, last_id: Option<&str>| {
        // The second time each asks for a stream of another number.
        let number = if last_id == Some("0-0") {
            index + 100
        } else {
            index
        };
        Ok(format!("GET /stream/{number} HTTP/1.1\r\n\r\n").into_bytes())
    };
    let mut fleet = Fleet::new(address, Protocol::EventStream, 3, Box::new(request)).unwrap();
    fleet.open(Pace::Steady, PATIENCE).unwrap();
    fleet.cut();
    fleet.open(Pace::Steady, PATIENCE).unwrap();
    publisher(address)
        .publish(Audience::Reader(102), clock::now())
        .unwrap();
    fleet
        .until("the unicast", PATIENCE, |tally| tally.unicasts == 1)
        .unwrap();
}

#[test]
fn a_stream_that_is_refused_stops_the_run_with_the_status() {
    let request = |_: usize, _: Option<&str>| Ok(b"GET /nothing HTTP/1.1\r\n\r\n".to_vec());
    let mut fleet = Fleet::new(floor(), Protocol::EventStream, 1, Box::new(request)).unwrap();
    let error = fleet.open(Pace::Steady, PATIENCE).unwrap_err();
    assert!(error.to_string().starts_with("stream 0: answered 404"), "{error}");
}

#[test]
fn waiting_for_what_never_comes_ends() {
    let mut fleet = readers(floor(), 1);
    fleet.open(Pace::Steady, PATIENCE).unwrap();
    let error = fleet
        .until("nothing", Duration::from_millis(50), |tally| tally.unicasts > 0)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("for nothing; arrived: 1 ready, 0 broadcasts"),
        "{error}"
    );
}

#[test]
fn a_ping_is_answered_with_a_masked_pong() {
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || ping(listener.accept().unwrap().0));
    let request = |_: usize, _: Option<&str>| Ok(b"GET /v1/ws HTTP/1.1\r\n\r\n".to_vec());
    let mut fleet = Fleet::new(address, Protocol::WebSocket, 1, Box::new(request)).unwrap();
    fleet.open(Pace::Steady, PATIENCE).unwrap();
    fleet
        .until("the ping", PATIENCE, |tally| tally.upkeep == 1)
        .unwrap();
    assert_eq!(server.join().unwrap(), websocket::pong(b"hi"));
}

/// Shakes hands, says `ready`, pings once and returns the answer.
fn ping(mut socket: TcpStream) -> Vec<u8> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {}\r\n\
         Sec-WebSocket-Protocol: arauto.v1\r\n\r\n",
        websocket::ACCEPT
    );
    let ready = br#"{"event":"ready","id":"1-0","data":{}}"#;
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&[0x81, u8::try_from(ready.len()).unwrap()]);
    bytes.extend_from_slice(ready);
    bytes.extend_from_slice(&[0x89, 2, b'h', b'i']);
    socket.write_all(&bytes).unwrap();
    let mut pong = vec![0; 8];
    socket.read_exact(&mut pong).unwrap();
    pong
}
