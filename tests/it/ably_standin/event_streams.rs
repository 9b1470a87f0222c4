//! Event streams, read by a parser that was written from the WHATWG text.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};
use tests::standin::{StandIn, TOKEN_KEY};
use tests::whatwg::{EventStream, Message};
use tokio::time::timeout;

use super::{client, refused};

const WITHIN: Duration = Duration::from_secs(10);

struct Stream {
    response: Response,
    parser: EventStream,
    ready: Vec<Message>,
}

impl Stream {
    async fn open(ably: &StandIn, query: &str) -> Self {
        let url = format!("{}/sse?v=1.2&key={TOKEN_KEY}&channels=a,b{query}", ably.url());
        let response = client().get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self {
            response,
            parser: EventStream::new(),
            ready: Vec::new(),
        }
    }

    /// The next event, or `None` at the end.
    async fn next(&mut self) -> Option<Message> {
        while self.ready.is_empty() {
            let chunk = timeout(WITHIN, self.response.chunk()).await.expect("an event");
            let chunk = chunk.ok()??;
            self.ready = self.parser.push(&chunk);
        }
        Some(self.ready.remove(0))
    }

    async fn data(&mut self) -> Value {
        let message = self.next().await.unwrap();
        serde_json::from_str(&message.data).unwrap()
    }
}

#[tokio::test]
async fn a_stream_gives_each_message_in_an_envelope() {
    let ably = StandIn::start().unwrap();
    let mut stream = Stream::open(&ably, "").await;
    ably.publish("a", "notification", &json!({ "n": 1 })).unwrap();
    ably.publish("elsewhere", "notification", &json!({ "n": 2 }))
        .unwrap();
    ably.publish("b", "notification", &json!("text")).unwrap();
    let first = stream.data().await;
    assert_eq!(
        (&first["channel"], &first["data"], &first["encoding"]),
        (&json!("a"), &json!("{\"n\":1}"), &json!("json"))
    );
    let second = stream.data().await;
    assert_eq!(
        (&second["channel"], &second["data"]),
        (&json!("b"), &json!("text"))
    );
    assert_eq!(ably.ledger().deliveries("a").len(), 1);
}

#[tokio::test]
async fn a_stream_goes_on_from_its_last_event() {
    let ably = StandIn::start().unwrap();
    let mut stream = Stream::open(&ably, "").await;
    ably.publish("a", "n", &json!("1")).unwrap();
    assert_eq!(stream.data().await["data"], "1");
    let last = stream.parser.last_event_id().to_owned();
    ably.cut();
    assert_eq!(stream.next().await, None);
    ably.publish("b", "n", &json!("2")).unwrap();
    ably.publish("a", "n", &json!("3")).unwrap();
    let mut stream = Stream::open(&ably, &format!("&lastEvent={last}")).await;
    assert_eq!(stream.data().await["data"], "2");
    assert_eq!(stream.data().await["data"], "3");
    let mut rewound = Stream::open(&ably, "&rewind=1&enveloped=false").await;
    assert_eq!(
        rewound.next().await.unwrap().data,
        "2",
        "the last message of each channel"
    );
}

#[tokio::test]
async fn a_stream_that_may_not_be_is_refused_as_json() {
    let ably = StandIn::start().unwrap();
    let url = |query: &str| format!("{}/sse?v=1.2&{query}", ably.url());
    let publisher = tests::standin::PUBLISH_KEY;
    assert_eq!(
        refused(client().get(url(&format!("channels=a&key={publisher}")))).await,
        (401, 40160)
    );
    assert_eq!(
        refused(client().get(url(&format!("key={publisher}")))).await,
        (400, 40000)
    );
    assert_eq!(
        refused(client().get(url("channels=a&accessToken=nonsense"))).await,
        (401, 40143)
    );
}
