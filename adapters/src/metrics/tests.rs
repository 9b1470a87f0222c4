use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::cursor::{Cursor, Epoch, Position};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

/// Samples by name and labels, from a reader of the text format.
fn scrape(metrics: &Metrics, report: &StreamsReport) -> BTreeMap<String, f64> {
    let text = metrics.render(report);
    assert!(text.ends_with('\n'));
    let mut typed = BTreeSet::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (keyword, name) = rest.split_once(' ').unwrap();
            let name = name.split_once(' ').unwrap().0.to_owned();
            match keyword {
                "HELP" => assert!(!typed.contains(&name), "{line}"),
                "TYPE" => assert!(typed.insert(name), "one family, one type: {line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        assert!(typed.contains(family), "{line}");
        assert!(name.starts_with("arauto_"), "{line}");
        assert!(
            samples
                .insert(series.to_owned(), value.parse().unwrap())
                .is_none(),
            "{line}"
        );
    }
    samples
}

const PROCESS: [&str; 3] = ["arauto_tasks", "arauto_open_descriptors", "arauto_resident_bytes"];

fn after(observations: &[Observation]) -> BTreeMap<String, f64> {
    let metrics = Metrics::new().unwrap();
    let before = scrape(&metrics, &StreamsReport::default());
    for observation in observations {
        metrics.saw(observation);
    }
    let mut after = scrape(&metrics, &StreamsReport::default());
    after.retain(|series, value| *value > before.get(series).copied().unwrap_or_default());
    // What the process holds moves by itself.
    for of_the_process in PROCESS {
        after.remove(of_the_process);
    }
    after
}

#[test]
fn what_was_compressed_is_counted_before_and_after_by_what_it_was() {
    let compressed = |what, plain, sent| Observation::Compressed { what, plain, sent };
    let moved = after(&[compressed("page", 30_000, 5_000), compressed("stream", 600, 370)]);
    let expected = [
        ("arauto_compressed_plain_bytes_total{what=\"page\"}", 30_000.0),
        ("arauto_compressed_plain_bytes_total{what=\"stream\"}", 600.0),
        ("arauto_compressed_sent_bytes_total{what=\"page\"}", 5_000.0),
        ("arauto_compressed_sent_bytes_total{what=\"stream\"}", 370.0),
    ];
    assert_eq!(moved, expected.map(|(series, by)| (series.to_owned(), by)).into());
}

#[test]
fn every_observation_moves_its_own_metric_and_no_other() {
    for (observation, moved) in [
        (
            Observation::Published { events: 3 },
            &[
                ("arauto_published_events_total", 3),
                ("arauto_publishes_total", 1),
            ][..],
        ),
        (
            Observation::PublishRefused("forbidden"),
            &[("arauto_publish_refused_total{reason=\"forbidden\"}", 1)],
        ),
        (
            Observation::Tailed { events: 5 },
            &[("arauto_tailed_events_total", 5)],
        ),
        (Observation::TailGap, &[("arauto_tail_gaps_total", 1)]),
        (
            Observation::Delivered { frames: 64 },
            &[("arauto_delivered_frames_total", 64)],
        ),
        (Observation::StreamOpened, &[("arauto_streams_opened_total", 1)]),
        (
            Observation::StreamClosed("revoked"),
            &[("arauto_streams_closed_total{reason=\"revoked\"}", 1)],
        ),
        (
            Observation::StreamRefused("overloaded"),
            &[("arauto_streams_refused_total{reason=\"overloaded\"}", 1)],
        ),
        (
            Observation::Reset("expired"),
            &[("arauto_resets_total{reason=\"expired\"}", 1)],
        ),
        (Observation::StoreReplay, &[("arauto_store_replays_total", 1)]),
        (
            Observation::HeartbeatMissed,
            &[("arauto_heartbeats_missed_total", 1)],
        ),
        (
            Observation::Full("ring"),
            &[("arauto_full_total{bound=\"ring\"}", 1)],
        ),
        (
            Observation::Degraded("registry"),
            &[("arauto_degraded{part=\"registry\"}", 1)],
        ),
        (
            Observation::Limited {
                action: "stream",
                of: "person",
            },
            &[("arauto_rate_limited_total{action=\"stream\",of=\"person\"}", 1)],
        ),
        (
            Observation::AblyTokenIssued("jwt"),
            &[("arauto_ably_tokens_total{form=\"jwt\"}", 1)],
        ),
        (
            Observation::TransportSelected {
                transport: "ably",
                reason: "in_cohort",
                replay: false,
            },
            &[(
                "arauto_transport_answers_total{reason=\"in_cohort\",replay=\"false\",transport=\"ably\"}",
                1,
            )],
        ),
        (
            Observation::DeliveryEnded("done"),
            &[("arauto_ably_deliveries_ended_total{status=\"done\"}", 1)],
        ),
        (
            Observation::AblyRevoked("accepted"),
            &[("arauto_ably_revocations_total{outcome=\"accepted\"}", 1)],
        ),
        (
            Observation::AblyTokenRefused("limited"),
            &[("arauto_ably_tokens_refused_total{reason=\"limited\"}", 1)],
        ),
        (
            Observation::TokenRefused("expired"),
            &[("arauto_tokens_refused_total{reason=\"expired\"}", 1)],
        ),
        (
            Observation::Pruned { events: 9 },
            &[("arauto_pruned_events_total", 9)],
        ),
    ] {
        let expected = moved
            .iter()
            .map(|(series, value)| ((*series).to_owned(), f64::from(*value)));
        assert_eq!(after(&[observation]), expected.collect(), "{observation:?}");
    }
}

#[test]
fn a_round_trip_is_counted_in_the_buckets_that_hold_it() {
    let round_trip = Duration::from_millis(100);
    let moved = after(&[Observation::HeartbeatReplied { round_trip }]);
    let series = |le: &str| format!("arauto_heartbeat_round_trip_seconds_bucket{{le=\"{le}\"}}");
    assert!(!moved.contains_key(&series("0.05")));
    for le in ["0.1", "1", "10", "+Inf"] {
        assert_eq!(moved.get(&series(le)), Some(&1.0), "{le}");
    }
    assert_eq!(moved.get("arauto_heartbeat_round_trip_seconds_sum"), Some(&0.1));
}

#[test]
fn what_is_sent_to_ably_is_counted_by_outcome_and_timed() {
    let moved = after(&[Observation::Pushed {
        outcome: "accepted",
        took: Duration::from_millis(3),
    }]);
    let value = |series: &str| moved.get(series).copied();
    assert_eq!(
        value("arauto_ably_publishes_total{outcome=\"accepted\"}"),
        Some(1.0)
    );
    assert_eq!(
        value("arauto_ably_publish_duration_seconds_bucket{le=\"0.0025\"}"),
        None
    );
    assert_eq!(
        value("arauto_ably_publish_duration_seconds_bucket{le=\"0.005\"}"),
        Some(1.0)
    );
}

#[test]
fn a_request_is_counted_by_status_and_timed_by_class() {
    let request = |status| Observation::Request {
        status,
        duration: Duration::from_millis(3),
    };
    let moved = after(&[
        request(201),
        request(204),
        request(503),
        request(0),
        request(65_535),
    ]);
    let value = |series: &str| moved.get(series).copied();
    assert_eq!(value("arauto_http_requests_total{status=\"201\"}"), Some(1.0));
    assert_eq!(value("arauto_http_requests_total{status=\"503\"}"), Some(1.0));
    assert_eq!(value("arauto_http_requests_total{status=\"other\"}"), Some(2.0));
    assert_eq!(
        value("arauto_http_request_duration_seconds_count{class=\"2xx\"}"),
        Some(2.0)
    );
    let bucket =
        |le: &str| format!("arauto_http_request_duration_seconds_bucket{{class=\"5xx\",le=\"{le}\"}}");
    assert_eq!(value(&bucket("0.0025")), None);
    assert_eq!(value(&bucket("0.005")), Some(1.0));
}

#[test]
fn the_hub_is_shown_as_it_is_at_the_moment_of_the_scrape() {
    let metrics = Metrics::new().unwrap();
    let mut report = StreamsReport {
        connections: 7,
        connections_max: 19_000,
        cursor: Some(Cursor {
            epoch: Epoch(1),
            position: Position(1_042),
        }),
        lag_positions: 3,
        lag: Duration::from_millis(1_500),
        ring_events: 100,
        ring_bytes: 65_536,
        store_reads: 2,
        tailing: true,
    };
    let samples = scrape(&metrics, &report);
    for (series, value) in [
        ("arauto_connections", 7.0),
        ("arauto_connections_max", 19_000.0),
        ("arauto_ring_position", 1_042.0),
        ("arauto_ring_events", 100.0),
        ("arauto_ring_bytes", 65_536.0),
        ("arauto_tail_lag_positions", 3.0),
        ("arauto_tail_lag_seconds", 1.5),
        ("arauto_tailing", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    report.connections = 0;
    report.tailing = false;
    let samples = scrape(&metrics, &report);
    assert_eq!(samples.get("arauto_connections"), Some(&0.0));
    assert_eq!(samples.get("arauto_tailing"), Some(&0.0));
}

#[test]
fn two_nodes_in_one_process_keep_their_figures_apart() {
    let (one, other) = (Metrics::new().unwrap(), Metrics::new().unwrap());
    one.saw(&Observation::StreamOpened);
    let opened = |metrics| scrape(metrics, &StreamsReport::default())["arauto_streams_opened_total"];
    assert_eq!([opened(&one), opened(&other)].map(|n| n > 0.5), [true, false]);
}

#[test]
fn counts_of_several_threads_add_up() {
    let metrics = Metrics::new().unwrap();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| (0..1_000).for_each(|_| metrics.saw(&Observation::Reset("unknown"))));
        }
    });
    let samples = scrape(&metrics, &StreamsReport::default());
    assert_eq!(
        samples.get("arauto_resets_total{reason=\"unknown\"}"),
        Some(&4_000.0)
    );
}

#[tokio::test]
async fn tasks_descriptors_and_memory_of_the_process_are_shown_as_they_are_now() {
    let metrics = Metrics::new().unwrap();
    let shown = || {
        let shown = scrape(&metrics, &StreamsReport::default());
        PROCESS.map(|series| shown[series])
    };
    let [tasks, descriptors, resident] = shown();
    assert!(resident > 1e6, "{resident}");
    let (waiting, end) = (TaskTracker::new(), CancellationToken::new());
    for _ in 0..100 {
        waiting.spawn(end.clone().cancelled_owned());
    }
    let open: Vec<_> = (0..100)
        .map(|_| std::fs::File::open("/dev/null").unwrap())
        .collect();
    let [more_tasks, more_descriptors, _] = shown();
    assert!((more_tasks - tasks - 100.0).abs() < 0.5, "{tasks} {more_tasks}");
    // Tests beside this one open some, too.
    assert!(
        more_descriptors >= descriptors + 50.0,
        "{descriptors} {more_descriptors}"
    );
    drop(open);
    end.cancel();
    waiting.close();
    waiting.wait().await;
    let [fewer_tasks, ..] = shown();
    assert!((fewer_tasks - tasks).abs() < 0.5, "{tasks} {fewer_tasks}");
}
