//! What we sign and send for Ably, held against its own client and another library of JWTs.

use adapters::ably::{Capability, ChannelPrefix, Key, Shaped, Unsigned, publish_one, publish_several};
use application::ports::{Entropy, Parcel};
use application::rights::Past;
use application::testing::SeededEntropy;
use domain::channel::Channel;
use serde_json::{Map, Value, json};
use tests::script::{Runner, run_alone, run_told};
use tests::server::Server;

const KEY: &str = "app-1.key_2:s3cret-of-32-characters-or-more-0";
const CASES: usize = 300;

struct Draw(SeededEntropy);

impl Draw {
    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.0.bits() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn of<'a, T: ?Sized>(&self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    fn id(&self) -> String {
        const LETTERS: &[u8] = b"ABCXYZabcxyz0189_-";
        let letter = |_| char::from(LETTERS[self.below(LETTERS.len())]);
        (0..=self.below(12)).map(letter).collect()
    }

    fn channel(&self) -> Channel {
        match self.below(4) {
            0 => Channel::User(self.id().parse().unwrap()),
            1 => Channel::Unit(self.id().parse().unwrap()),
            2 => Channel::Benefit(self.id().parse().unwrap()),
            _ => Channel::System,
        }
    }
}

/// One request, signed by us, and what it was made of.
fn case(draw: &Draw) -> Value {
    let keys = [KEY, "a.b:c", "x-y_z.0:-_-"];
    let key_text = draw.of(&keys);
    let key = Key::parse(key_text).unwrap();
    let mut channels: Vec<(Channel, Past)> = Vec::new();
    for _ in 0..=draw.below(6) {
        let channel = draw.channel();
        if !channels.iter().any(|(known, _)| *known == channel) {
            channels.push((
                channel,
                if draw.below(2) == 0 {
                    Past::Given
                } else {
                    Past::Withheld
                },
            ));
        }
    }
    let prefix: Option<ChannelPrefix> = draw.of(&["", "staging", "Homolog-2"]).parse().ok();
    let capability = Capability::reading(&channels, prefix.as_ref());
    // The same meaning in another order, for the other side to bring into its own.
    let mut rights: Vec<(String, Value)> = serde_json::from_str::<Map<String, Value>>(capability.as_str())
        .unwrap()
        .into_iter()
        .collect();
    rights.reverse();
    for (_, operations) in &mut rights {
        operations.as_array_mut().unwrap().reverse();
    }
    let client = draw.of(&[
        "",
        "ana",
        "zo\u{eb}",
        "\u{65e5}\u{672c}",
        "a b",
        "\u{1f99c}",
        "a:b*[",
        "\"q\"",
    ]);
    let client = Some(client).filter(|client| !client.is_empty());
    let ttl = [None, Some(1), Some(3_600_000), Some(86_400_000)][draw.below(4)];
    let timestamp = 1_767_225_600_000 + i64::try_from(draw.below(1_000_000_000)).unwrap();
    let nonce = format!("{:016x}{:016x}", draw.0.bits(), draw.0.bits());
    let unsigned = Unsigned {
        ttl_ms: ttl,
        capability: capability.as_str(),
        client_id: client,
        timestamp_ms: timestamp,
        nonce: &nonce,
    };
    let mut case = json!({
        "key": key_text,
        "capability": capability.as_str(),
        "rights": rights.into_iter().collect::<Map<String, Value>>(),
        "timestamp": timestamp,
        "nonce": nonce,
        "mac": unsigned.mac(&key),
    });
    if let Some(client) = client {
        case["clientId"] = json!(client);
    }
    if let Some(ttl) = ttl {
        case["ttl"] = json!(ttl);
    }
    case
}

#[test]
fn ably_js_signs_requests_for_tokens_exactly_as_we_do() {
    let draw = Draw(SeededEntropy::new(17));
    let cases: Vec<Value> = (0..CASES).map(|_| case(&draw)).collect();
    let passed = run_alone("ably-signer.mjs", &Value::from(cases).to_string()).unwrap();
    assert_eq!(passed, 1);
}

#[test]
fn ably_js_takes_its_tokens_from_our_address() {
    let mut server = Server::start_with(&[("ARAUTO_ABLY_TOKEN_KEY", KEY)]).unwrap();
    let passed = run_told(
        Runner::Node,
        "ably-auth-url.mjs",
        &mut server,
        &[("ABLY_KEY", KEY)],
    )
    .unwrap();
    assert_eq!(passed, 6);
}

#[test]
fn pyjwt_verifies_our_tokens_with_and_without_a_prefix() {
    for prefix in [None, Some("staging")] {
        let ours = prefix.map(|prefix| ("ARAUTO_ABLY_CHANNEL_PREFIX", prefix));
        let environment: Vec<_> = [("ARAUTO_ABLY_TOKEN_KEY", KEY)].into_iter().chain(ours).collect();
        let theirs = prefix.map(|prefix| ("ABLY_CHANNEL_PREFIX", prefix));
        let told: Vec<_> = [("ABLY_KEY", KEY)].into_iter().chain(theirs).collect();
        let mut server = Server::start_with(&environment).unwrap();
        let passed = run_told(Runner::Python, "ably_jwt.py", &mut server, &told).unwrap();
        assert_eq!(passed, 3);
    }
}

fn body(shaped: &Shaped) -> Value {
    serde_json::from_str(&shaped.body).unwrap()
}

#[test]
fn ably_js_publishes_what_our_publisher_publishes() {
    let parcel = |n: usize, data: Value| Parcel {
        id: format!("evt-{n}"),
        channel: Channel::System,
        event: "notification",
        data: data.to_string().into(),
    };
    // Names that no channel of ours has are here for the encoding of paths.
    let channels = [
        "system:notifications",
        "staging:private:user:u-42:notifications",
        "a/b?c%d",
        "\u{e9} x",
    ];
    let data = [
        json!({ "cursor": "8f3a-1042", "notification": { "title": "Ol\u{e1} \u{1f99c}", "body": "<b>2024/17</b>" } }),
        json!({ "title": "quoted \"twice\"\\", "null": null, "list": [1, true] }),
    ];
    let cases: Vec<(&str, Parcel)> = channels
        .into_iter()
        .flat_map(|channel| data.iter().map(move |data| (channel, data)))
        .enumerate()
        .map(|(n, (channel, data))| (channel, parcel(n, data.clone())))
        .collect();
    let message = |parcel: &Parcel| json!({ "id": parcel.id, "name": parcel.event, "data": *parcel.data });
    let one: Vec<Value> = cases
        .iter()
        .map(|(channel, parcel)| {
            let ours = publish_one(channel, parcel);
            json!({ "channel": channel, "message": message(parcel), "path": ours.path, "body": body(&ours) })
        })
        .collect();
    let ours = publish_several(cases.iter().map(|(channel, parcel)| (*channel, parcel)));
    let specifications: Vec<Value> = cases
        .iter()
        .map(|(channel, parcel)| {
            let mut message = message(parcel);
            message["encoding"] = json!("json");
            json!({ "channels": [channel], "messages": message })
        })
        .collect();
    let several = json!({ "specifications": specifications, "path": ours.path, "body": body(&ours) });
    // "a.b:c" in base64.
    let told = json!({
        "key": "a.b:c", "version": "6", "authorization": "Basic YS5iOmM=", "one": one, "several": several,
    });
    assert_eq!(run_alone("ably-publisher.mjs", &told.to_string()).unwrap(), 2);
}

#[test]
fn ably_js_may_what_our_tokens_say_and_stays_out_after_a_revocation_until_another_login() {
    let ably = tests::standin::Setup::new().unwrap().start().unwrap();
    let mut server = Server::start_with(&[
        ("ARAUTO_ABLY_TOKEN_KEY", tests::standin::TOKEN_KEY),
        ("ARAUTO_ABLY_ENDPOINT", &ably.url()),
    ])
    .unwrap();
    let told = [("ABLY_URL", ably.url())];
    let told: Vec<(&str, &str)> = told.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let passed = run_told(Runner::Node, "ably-revocation.mjs", &mut server, &told).unwrap();
    assert_eq!(passed, 5);
}
