//! Configuration: what wins over what, and the one line that stops a start.

#![expect(clippy::expect_used, reason = "helpers of tests fail the test, as tests do")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::config::{
    Config, ConfigError, Flag, KeySource, Layers, LogFormat, Mode, Preset, Sources, effective, example, keys,
};

const SECRET: &str = "a secret that is thirty-two bytes";

/// Variables that a start outside development mode needs.
fn environment(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    [("ARAUTO_JWT_SECRET", SECRET)]
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load(sources: &Sources) -> Result<Config, ConfigError> {
    Config::from_layers(&Layers::merge(sources)?)
}

fn with_environment(more: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load(&Sources {
        environment: environment(more),
        ..Sources::default()
    })
}

fn with_file(text: &str) -> Result<Config, ConfigError> {
    load(&Sources {
        file: Some((PathBuf::from("arauto.toml"), text.to_owned())),
        environment: environment(&[]),
        flags: Vec::new(),
    })
}

fn line(result: Result<Config, ConfigError>) -> String {
    let line = result.expect_err("the configuration is refused").to_string();
    assert!(!line.contains('\n'), "more than one line: {line}");
    line
}

fn os(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let pairs = variables.iter();
    pairs
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect()
}

#[test]
fn the_defaults_are_those_that_are_promised() {
    let config = with_environment(&[]).unwrap();

    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.mode, Mode::Production);
    assert_eq!(config.server.header_timeout, Duration::from_secs(10));
    assert_eq!(config.server.shutdown_timeout, Duration::from_secs(15));
    assert_eq!(config.history.ttl, Duration::from_hours(7 * 24));
    assert_eq!(config.history.max_events, 1_000_000);
    assert_eq!(config.history.max_bytes, 1 << 30);
    assert_eq!(config.history.inbox_ttl, Duration::from_hours(90 * 24));
    assert_eq!(config.streams.ring_max_bytes, 256 << 20);
    assert_eq!(config.streams.max_per_user, 5);
    assert_eq!(config.heartbeat, domain::heartbeat::PaceLimits::default());
    assert_eq!(config.limits.max_notification_bytes, 32_768);
    assert_eq!(config.server.max_connections, None);
    assert_eq!(config.telemetry.format, None);
}

#[test]
fn a_flag_wins_over_the_environment_and_the_environment_over_the_file() {
    let file = "listen = \"127.0.0.1:1\"\nheartbeat_base = \"40s\"\nlog_format = \"json\"";
    let sources = Sources {
        file: Some((PathBuf::from("arauto.toml"), file.to_owned())),
        environment: environment(&[("ARAUTO_LISTEN", "127.0.0.1:2"), ("ARAUTO_HEARTBEAT_BASE", "50s")]),
        flags: vec![Flag {
            name: "--listen",
            suffix: "LISTEN",
            value: "127.0.0.1:3".to_owned(),
        }],
    };

    let config = load(&sources).unwrap();

    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.heartbeat.base, Duration::from_secs(50));
    assert_eq!(config.telemetry.format, Some(LogFormat::Json));
}

#[test]
fn a_mistyped_variable_is_named_with_the_one_that_was_meant() {
    assert_eq!(
        line(with_environment(&[("ARAUTO_HEARTBEAT_BAES", "30s")])),
        "ARAUTO_HEARTBEAT_BAES is not known; did you mean ARAUTO_HEARTBEAT_BASE?"
    );
    assert_eq!(
        line(with_environment(&[("ARAUTO_COFFEE_STRENGTH", "strong")])),
        "ARAUTO_COFFEE_STRENGTH is not known"
    );
}

#[test]
fn a_mistyped_key_is_named_with_the_one_that_was_meant() {
    assert_eq!(
        line(with_file("lisen = \"127.0.0.1:1\"")),
        "lisen in arauto.toml is not known; did you mean listen?"
    );
    assert_eq!(
        line(with_file("[heartbeat]\nbase = \"30s\"")),
        "heartbeat.base in arauto.toml is not known; did you mean heartbeat_base?"
    );
    assert_eq!(
        line(with_file("ARAUTO_LISTEN = \"127.0.0.1:1\"")),
        "ARAUTO_LISTEN in arauto.toml is not known; did you mean listen?"
    );
}

#[test]
fn a_bad_value_is_quoted_with_what_the_key_takes() {
    assert_eq!(
        line(with_environment(&[("ARAUTO_HEARTBEAT_BASE", "30")])),
        "ARAUTO_HEARTBEAT_BASE got \"30\"; it takes a duration from 1s to 1h (units ms, s, m, h, d)"
    );
    assert_eq!(
        line(with_environment(&[("ARAUTO_LISTEN", "here\nand\u{1b}[31mthere")])),
        "ARAUTO_LISTEN got \"here\\nand\\u{1b}[31mthere\"; it takes an IP address and a port, such as \
         127.0.0.1:8080 or [::]:8080"
    );
    assert_eq!(
        line(with_file("rate_limit_enabled = \"yes\"")),
        "rate_limit_enabled in arauto.toml got \"yes\"; it takes true or false"
    );
    assert!(
        line(with_environment(&[("ARAUTO_LOG", "inof")]))
            .starts_with("ARAUTO_LOG got \"inof\"; it takes off,")
    );
    assert!(line(with_environment(&[("ARAUTO_JWT_ISSUER", &"x".repeat(10_000))])).len() < 250);
}

#[test]
fn a_secret_is_never_shown() {
    let short = "hunter2hunter2";
    let refused = line(with_environment(&[("ARAUTO_JWT_SECRET", short)]));
    assert_eq!(
        refused,
        "ARAUTO_JWT_SECRET got a secret of 14 bytes (not shown); it takes a text of 32 bytes or more"
    );
    for (variable, value) in [
        ("ARAUTO_DATABASE_URL", "mysql://u:hunter2@h/d"),
        ("ARAUTO_REDIS_URL", "hunter2"),
        ("ARAUTO_ABLY_PUBLISH_KEY", "hunter2"),
        ("ARAUTO_ABLY_TOKEN_KEY", "hunter2"),
    ] {
        let refused = line(with_environment(&[(variable, value)]));
        assert!(
            refused.starts_with(variable) && !refused.contains("hunter2"),
            "{refused}"
        );
    }
    let sources = Sources {
        environment: environment(&[]),
        ..Sources::default()
    };
    let layers = Layers::merge(&sources).unwrap();
    let shown = format!(
        "{:?}{}",
        Config::from_layers(&layers).unwrap(),
        effective(&layers)
    );
    assert!(!shown.contains(SECRET));
}

#[test]
fn a_secret_in_the_file_is_refused_without_being_shown() {
    assert_eq!(
        line(with_file("jwt_secret = \"hunter2\"")),
        "jwt_secret must not stand in arauto.toml: secrets are taken from the environment alone, here \
         ARAUTO_JWT_SECRET"
    );
}

#[test]
fn outside_development_mode_exactly_one_source_of_keys_is_needed() {
    let none = load(&Sources::default());
    assert_eq!(
        line(none),
        "one of ARAUTO_JWT_SECRET, ARAUTO_JWT_JWKS_FILE or ARAUTO_JWT_JWKS_URL is missing: outside development \
         mode (--dev) tokens need a source of keys"
    );
    assert_eq!(
        line(with_environment(&[("ARAUTO_JWT_JWKS_FILE", "/keys.json")])),
        "ARAUTO_JWT_SECRET and ARAUTO_JWT_JWKS_FILE got 2 values; tokens have one source of keys, so set exactly \
         one of them"
    );
}

#[test]
fn development_mode_makes_a_secret_up_and_stays_on_loopback() {
    let dev = |listen: &str| {
        load(&Sources {
            environment: BTreeMap::from([
                ("ARAUTO_DEV".to_owned(), "true".to_owned()),
                ("ARAUTO_LISTEN".to_owned(), listen.to_owned()),
            ]),
            ..Sources::default()
        })
    };
    assert_eq!(dev("[::1]:0").unwrap().tokens.key, KeySource::Generated);
    assert_eq!(
        line(dev("0.0.0.0:80")),
        "ARAUTO_DEV and ARAUTO_LISTEN got \"true\" and \"0.0.0.0:80\"; development mode takes a loopback address, \
         such as 127.0.0.1:8080"
    );
}

#[test]
fn values_that_do_not_fit_one_another_are_refused_together() {
    assert_eq!(
        line(with_environment(&[("ARAUTO_HEARTBEAT_MIN", "40s")])),
        "ARAUTO_HEARTBEAT_MIN, ARAUTO_HEARTBEAT_BASE and ARAUTO_HEARTBEAT_MAX got \"40s\", \"30s\" and \"120s\"; \
         heartbeats need 1 s <= min <= base <= max <= 1 h"
    );
    assert!(
        line(with_environment(&[("ARAUTO_DRAIN_WINDOW", "15s")]))
            .starts_with("ARAUTO_DRAIN_WINDOW and ARAUTO_SHUTDOWN_TIMEOUT got \"15s\" and \"15s\"; ")
    );
}

#[test]
fn what_is_still_to_come_is_refused_by_name() {
    let refused = line(with_environment(&[(
        "ARAUTO_OTLP_ENDPOINT",
        "http://127.0.0.1:4318",
    )]));
    assert!(
        refused.starts_with("ARAUTO_OTLP_ENDPOINT")
            && refused.ends_with("which is not available in this version yet; leave it out"),
        "{refused}"
    );
    let unknown = line(with_environment(&[("ARAUTO_STORE", "sqlite")]));
    assert_eq!(
        unknown,
        "ARAUTO_STORE got \"sqlite\"; it takes memory, redis or postgres"
    );
}

#[test]
fn a_prefix_of_channels_at_ably_is_a_word() {
    let config = with_environment(&[
        ("ARAUTO_ABLY_TOKEN_KEY", "app.key:hunter2"),
        ("ARAUTO_ABLY_CHANNEL_PREFIX", "staging"),
    ])
    .unwrap();
    assert_eq!(config.ably.channel_prefix.as_deref(), Some("staging"));
    assert!(!format!("{config:?}").contains("hunter2"));
    for hostile in ["*", "a:b", "[x", "a\nb", " "] {
        let refused = line(with_environment(&[("ARAUTO_ABLY_CHANNEL_PREFIX", hostile)]));
        assert!(
            refused.ends_with("it takes 1 to 64 of A-Z a-z 0-9 _ -"),
            "{refused}"
        );
    }
}

#[test]
fn the_store_postgres_needs_a_database() {
    assert_eq!(
        line(with_environment(&[("ARAUTO_STORE", "postgres")])),
        "ARAUTO_DATABASE_URL is missing: the store postgres needs a database"
    );
}

#[test]
fn the_store_redis_needs_a_redis_server() {
    assert_eq!(
        line(with_environment(&[("ARAUTO_STORE", "redis")])),
        "ARAUTO_REDIS_URL is missing: the store redis needs a Redis server"
    );
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let missing = || Path::new("/nowhere/arauto.toml").to_path_buf();
    let by_flag = Sources::gather(Some(missing()), Vec::new(), os(&[])).unwrap_err();
    assert_eq!(
        by_flag.to_string(),
        "/nowhere/arauto.toml (named by --config) cannot be read: there is no such file"
    );
    let variables = os(&[("ARAUTO_CONFIG", "/nowhere/arauto.toml")]);
    let by_variable = Sources::gather(None, Vec::new(), variables).unwrap_err();
    assert!(by_variable.to_string().contains("(named by ARAUTO_CONFIG)"));
    assert!(Sources::gather(None, Vec::new(), os(&[])).is_ok());
}

#[test]
fn the_file_named_by_a_flag_wins_over_the_one_named_by_a_variable() {
    let folder = tempfile::tempdir().unwrap();
    let (by_flag, by_variable) = (
        folder.path().join("flag.toml"),
        folder.path().join("variable.toml"),
    );
    fs::write(&by_flag, "listen = \"127.0.0.1:1\"").unwrap();
    fs::write(&by_variable, "listen = \"127.0.0.1:2\"").unwrap();
    let variables = os(&[
        ("ARAUTO_CONFIG", by_variable.to_str().unwrap()),
        ("ARAUTO_JWT_SECRET", SECRET),
        ("PATH", "/bin"),
    ]);

    let config = load(&Sources::gather(Some(by_flag), Vec::new(), variables).unwrap()).unwrap();

    assert_eq!(config.server.listen.port(), 1);
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_the_line() {
    assert!(line(with_file("listen = \"127.0.0.1:1\"\n\nlog = = 1")).starts_with("arauto.toml line 3: "));
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let variables = os(&[
        ("ARAUTO_JWT_SECRET", SECRET),
        ("ARAUTO_JWT_JWKS_FILE", ""),
        ("ARAUTO_LISTEN", " "),
    ]);
    let config = load(&Sources::gather(None, Vec::new(), variables).unwrap()).unwrap();
    assert!(matches!(config.tokens.key, KeySource::Secret(_)));
}

#[test]
fn lists_are_arrays_in_the_file_and_commas_in_the_environment() {
    let file = with_file("trusted_proxies = [\"10.0.0.0/8\", \"::1\"]").unwrap();
    let environment = with_environment(&[("ARAUTO_TRUSTED_PROXIES", "10.0.0.0/8, ::1")]).unwrap();
    assert_eq!(file.server.trusted_proxies.len(), 2);
    assert_eq!(file, environment);
}

#[test]
fn the_example_file_is_what_the_code_says() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../arauto.example.toml");
    let written = fs::read_to_string(&committed).unwrap();
    assert!(
        written == example(),
        "out of date: cargo run -q -- example-config > arauto.example.toml"
    );
}

#[test]
fn the_example_file_with_every_default_taken_out_of_its_comment_changes_nothing() {
    let mut text = example();
    for key in keys::all() {
        if let Preset::Value(_) = key.preset() {
            let start = format!("\n#{} = ", key.name());
            assert!(text.contains(&start), "{} is not in the example", key.name());
            text = text.replace(&start, &format!("\n{} = ", key.name()));
        } else {
            assert!(text.to_lowercase().contains(&key.name()));
        }
    }
    assert_eq!(with_file(&text).unwrap(), with_environment(&[]).unwrap());
}

#[test]
fn what_is_in_effect_says_where_each_value_comes_from_and_reads_back() {
    let sources = Sources {
        file: Some((
            PathBuf::from("etc.toml"),
            "trusted_proxies = [\"10.0.0.0/8\"]".to_owned(),
        )),
        environment: environment(&[("ARAUTO_LOG_FORMAT", "json")]),
        flags: Vec::new(),
    };
    let layers = Layers::merge(&sources).unwrap();

    let text = effective(&layers);

    let has = |left: &str, right: &str| {
        let found = text
            .lines()
            .any(|line| line.starts_with(left) && line.ends_with(right));
        assert!(found, "{left} … {right}\n{text}");
    };
    has("listen = \"127.0.0.1:8080\"", "# default");
    has("log_format = \"json\"", "# ARAUTO_LOG_FORMAT");
    has("trusted_proxies = [\"10.0.0.0/8\"]", "# etc.toml");
    has("# jwt_secret = ***", "# ARAUTO_JWT_SECRET");
    has("# public_url", "# not set: the address to listen on");
    assert_eq!(with_file(&text).unwrap(), Config::from_layers(&layers).unwrap());
}
