//! The cast without the play: one node that keeps everything in memory, behind the nginx that is shipped, whose clients
//! are cut off again and again. Whatever fails here is a fault of the cast or of the proxy's configuration.

use std::time::Duration;

use super::cast::Cast;
use super::publisher::Pace;
use super::reader::{Manners, OnReset, Return};
use super::{Front, Setup, plain};

const PEOPLE: usize = 30;
const CUTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn clients_behind_nginx_get_everything_once_and_in_order_while_they_are_cut_off() {
    let setup = Setup::new();
    let node = setup.node();
    let mut front = Front::before(&[node.address()]);
    let manners = Manners {
        back: Return::Soon,
        reset: OnReset::Complain,
    };
    let doors = [front.url(), plain(node.address())];
    let cast = Cast::new(&setup, 1, PEOPLE, &doors, manners);
    cast.listen().await;
    cast.publish(
        2,
        Pace {
            rest: Duration::from_millis(20),
            batches: 20,
        },
    );
    for cut in 1..=CUTS {
        cast.published(cut * 40, PATIENCE).await;
        front.nginx.kill_9().unwrap();
        front.nginx.restart().unwrap();
    }
    cast.hush(PATIENCE).await;
    cast.settle(PATIENCE).await;
    let opened: usize = cast.readers.iter().map(|reader| reader.story().opened).sum();
    assert!(opened > PEOPLE + CUTS, "nobody was cut off: {opened}");
}
