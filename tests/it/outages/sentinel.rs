//! A Redis that Sentinels watch: when its primary dies, the nodes find the one that took its place.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use adapters::redis::{Own, RedisBus, Server};
use application::ports::{Bus as _, Rung};
use application::testing::Unobserved;
use domain::ids::NodeId;
use tests::port::Port;
use tests::process::{Ending, Process, folder};
use tests::redis::{Redis, Settings};

use super::{Tasks, hears, hears_again, in_time};

/// A Sentinel that gives a primary up after a second.
struct Sentinel {
    // Ends before its folder goes.
    _process: Process,
    port: Port,
    _folder: tempfile::TempDir,
}

fn sentinel(primary: &Redis) -> Sentinel {
    let (port, folder) = (Port::free().unwrap(), folder("sentinel").unwrap());
    let file = folder.path().join("sentinel.conf");
    let at = primary.address();
    let lines = format!(
        "bind 127.0.0.1\nport {}\nsentinel monitor primary {} {} 1\nsentinel down-after-milliseconds primary 1000\n\
         sentinel failover-timeout primary 5000\n",
        port.number(),
        at.ip(),
        at.port()
    );
    fs::write(&file, lines).unwrap();
    let mut command = Command::new("redis-server");
    command.arg(&file).arg("--sentinel").current_dir(folder.path());
    let log = folder.path().join("log");
    let mut process = Process::start(&mut command, Ending::Term, &log, folder.path()).unwrap();
    let address = port.address();
    process
        .ready(|| std::net::TcpStream::connect(address).is_ok())
        .unwrap();
    Sentinel {
        _process: process,
        port,
        _folder: folder,
    }
}

#[tokio::test]
async fn nodes_follow_the_sentinels_to_the_new_primary() {
    let mut primary = Redis::start(Settings::default()).unwrap();
    let at = primary.address();
    let follows = Settings::default().set("replicaof", &format!("{} {}", at.ip(), at.port()));
    let replica = Redis::start(follows).unwrap();
    let sentinel = sentinel(&primary);
    let url = format!("redis+sentinel://127.0.0.1:{}/primary", sentinel.port.number());
    let server: Server = url.parse().unwrap();
    server.check().await.unwrap();
    let tasks = Tasks::new();
    let own = (NodeId(1), Own::Heard);
    let bus = RedisBus::start(&server, own, &(Arc::new(Unobserved) as _), tasks.parts());
    in_time("the bus", async {
        bus.hears().wait_for(|hears| *hears).await.unwrap();
    })
    .await;
    let mut listener = bus.listen();
    hears_again(&bus, &mut listener, 1).await;
    // A Sentinel learns of replicas from the primary; without one there is nobody to take its place.
    in_time("the replica is known", async {
        let mut known = String::new();
        while !known.contains(&replica.address().port().to_string()) {
            known = replicas_known(&sentinel).await;
        }
    })
    .await;
    primary.kill_9().unwrap();
    hears(&mut listener, |rung| *rung == Rung::Missed).await;
    hears_again(&bus, &mut listener, 1_000_000).await;
    replica.command(&["SET", "stone", "1"]).expect("it takes writes");
}

async fn replicas_known(sentinel: &Sentinel) -> String {
    let mut command = tokio::process::Command::new("redis-cli");
    command.args([
        "-p",
        &sentinel.port.number().to_string(),
        "sentinel",
        "replicas",
        "primary",
    ]);
    let output = command.output().await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
