//! A full inbox over HTTP: how long people wait for their count, their pages, and for everything to be read.

mod people;
mod question;

use ::tests::seed::{Scale, seed};
use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::Value;

use self::people::{Person, never_read, typical};
use self::question::{Asker, Question};
use crate::clock;
use crate::cluster::Cluster;
use crate::report::{Line, progress};
use crate::sql::Sql;
use crate::stats::{grouped, millis, percentile};
use crate::subject;
use crate::summary::{Outcome, Run};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The service's binary
    #[arg(long, default_value = "target/release/arauto")]
    server: String,
    /// A small inbox and a small run, to see whether everything works; its figures are not the published ones
    #[arg(long)]
    quick: bool,
}

/// How much there is, and how often it is asked for.
struct Plan {
    server: String,
    scale: Scale,
    /// People who ask one after another, each once for each question.
    people: usize,
    /// How often the one who never read anything asks.
    repeats: usize,
    /// How often everything is read by that one, who then has not read it again.
    read_alls: usize,
}

/// Runs the questions and prints the table. Returns whether every one was answered.
pub(crate) fn run(arguments: Arguments) -> Result<bool> {
    subject::must_exist(&arguments.server)?;
    let quick = arguments.quick;
    let by_size = |full, small| if quick { small } else { full };
    let plan = Plan {
        server: arguments.server,
        scale: if quick {
            Scale {
                notifications: 60_000,
                people: 3_000,
                units: 10,
            }
        } else {
            Scale::FULL
        },
        people: by_size(4_000, 300),
        repeats: by_size(1_000, 100),
        read_alls: by_size(200, 20),
    };
    let mut run = Run::begin();
    run.take("inbox", measure(&plan));
    let mut remarks = vec!["PostgreSQL with its own defaults; one request at a time.".to_owned()];
    if quick {
        remarks.push("A small inbox and a small run: publish no figure of it.".to_owned());
    }
    run.print(&remarks)
}

fn measure(plan: &Plan) -> Result<Outcome> {
    let cluster = Cluster::start(&plan.server)?;
    // A node that has been there has begun the history that the rows become part of.
    drop(cluster.node(None)?);
    let sql = Sql::connect(cluster.url())?;
    fill(&sql, plan.scale)?;
    let node = cluster.node(None)?;
    let floor = Sql::connect(cluster.url())?;
    let mut inbox = Inbox {
        asker: Asker::new(&node.endpoint()?, floor, plan.scale.people)?,
        outcome: Outcome::default(),
        total: Taken::default(),
    };
    inbox
        .questions(plan, &cluster, &sql)
        .inspect_err(|_| node.show_tail())?;
    inbox.finish()
}

fn fill(sql: &Sql, scale: Scale) -> Result<()> {
    progress(&format!(
        "  filling the tables: {} notifications, {} people …",
        grouped(scale.notifications.unsigned_abs()),
        grouped(scale.people.unsigned_abs()),
    ));
    let began = clock::now();
    sql.with(async |client| seed(client, scale).await)?;
    progress(&format!("  filled in {:.0} s", clock::since(began).as_secs_f64()));
    Ok(())
}

/// What one question showed, in nanoseconds: its answers, and the floor after each.
#[derive(Default)]
struct Taken {
    answers: Vec<u64>,
    /// A node that looks nothing up, and an indexed point query.
    live: Vec<u64>,
    point: Vec<u64>,
}

impl Taken {
    /// Both floors, one after the other.
    fn floor(&self) -> Vec<u64> {
        self.live
            .iter()
            .zip(&self.point)
            .map(|(live, point)| live + point)
            .collect()
    }

    fn extend(&mut self, other: &Self) {
        self.answers.extend(&other.answers);
        self.live.extend(&other.live);
        self.point.extend(&other.point);
    }
}

/// The questions, and what they showed so far.
struct Inbox {
    asker: Asker,
    outcome: Outcome,
    /// All of it, for the floors by themselves.
    total: Taken,
}

impl Inbox {
    fn questions(&mut self, plan: &Plan, cluster: &Cluster, sql: &Sql) -> Result<()> {
        let people = typical(cluster.mint(), plan.scale, plan.people)?;
        let one = never_read(cluster.mint())?;
        let (_, page) = self.asker.ask(&one, &Question::FirstPage)?;
        let deep = Question::DeepPage(halfway(&page, plan.scale)?);
        let reads = [
            ("unread count", Question::UnreadCount),
            ("first page", Question::FirstPage),
            ("deep page", deep.clone()),
        ];
        let (first, rest) = people.split_at(people.len() / 10);
        // The planner settles on its plans, and caches fill.
        for (_, question) in &reads {
            self.samples(first, question)?;
        }
        let met = self.samples(rest, &Question::UnreadCount)?;
        self.line("unread count, a person's first request to the node", &met)?;
        for (what, question) in &reads {
            let typical = self.samples(rest, question)?;
            self.line(what, &typical)?;
            let never_read = self.samples(std::iter::repeat_n(&one, plan.repeats), question)?;
            self.line(&format!("{what} of one who never read anything"), &never_read)?;
        }
        self.remark(&one, &rest[0], &deep)?;
        let typical = self.samples(rest, &Question::ReadAll)?;
        self.line("read all", &typical)?;
        let mut never_read = Taken::default();
        for _ in 0..plan.read_alls {
            forget(sql, &one)?;
            never_read.extend(&self.samples([&one], &Question::ReadAll)?);
        }
        self.line("read all by one who never read anything", &never_read)
    }

    /// Asks on behalf of each, and the floor in turn.
    fn samples<'a>(
        &mut self,
        people: impl IntoIterator<Item = &'a Person>,
        question: &Question,
    ) -> Result<Taken> {
        let mut taken = Taken::default();
        for person in people {
            let (answer, _) = self.asker.ask(person, question)?;
            let (live, point) = self.asker.floor()?;
            taken.answers.push(answer);
            taken.live.push(live);
            taken.point.push(point);
        }
        Ok(taken)
    }

    fn line(&mut self, what: &str, taken: &Taken) -> Result<()> {
        let floor = taken.floor();
        let [ours, floors] = [middle(&taken.answers)?, middle(&floor)?];
        let answers = shown(&taken.answers)?;
        progress(&format!("  {what}: {answers}"));
        let line = Line::new(format!("{what}, p50 / p95 / p99"), answers)
            .floor(shown(&floor)?)
            .ratio(ours / floors);
        self.outcome.lines.push(line);
        self.total.extend(taken);
        Ok(())
    }

    /// Says what the answers held.
    fn remark(&mut self, one: &Person, somebody: &Person, deep: &Question) -> Result<()> {
        let mut held = Vec::new();
        for person in [somebody, one] {
            let (_, unread) = self.asker.ask(person, &Question::UnreadCount)?;
            let unread = unread.get("unread").and_then(Value::as_u64);
            let mut items = Vec::new();
            for question in [&Question::FirstPage, deep] {
                let (_, page) = self.asker.ask(person, question)?;
                let page = page.get("items").and_then(Value::as_array).context("no items")?;
                items.push(page.len());
            }
            held.push(format!(
                "{} unread and pages of {} and {} items",
                grouped(unread.context("no count")?),
                items[0],
                items[1]
            ));
        }
        self.outcome.notes.push(format!(
            "A typical person has {}, the one who never read anything {}.",
            held[0], held[1]
        ));
        Ok(())
    }

    fn finish(mut self) -> Result<Outcome> {
        for (what, taken) in [
            ("floor: GET /health/live, p50 / p95 / p99", &self.total.live),
            ("floor: indexed point query, p50 / p95 / p99", &self.total.point),
        ] {
            self.outcome.lines.push(Line::new(what, shown(taken)?));
        }
        self.outcome.notes.push(
            "The floor is one request to a node that looks nothing up and one `SELECT 1 FROM people WHERE user_id = $1` \
             on a connection of its own, added up, taken after each request of the service; the ratio is that of the \
             medians. Reading everything writes: it ends with a commit."
                .to_owned(),
        );
        Ok(self.outcome)
    }
}

/// As if that person had never read anything.
fn forget(sql: &Sql, person: &Person) -> Result<()> {
    sql.execute(&format!(
        "UPDATE people SET read_positions = '{{}}', read_moments = '{{}}' WHERE user_id = '{}'",
        person.user
    ))
}

/// The cursor in the middle of what was filled in, in the history that a page names.
fn halfway(page: &Value, scale: Scale) -> Result<String> {
    let cursor = page.get("cursor").and_then(Value::as_str).context("no cursor")?;
    let (epoch, _) = cursor.rsplit_once('-').context("no cursor")?;
    Ok(format!("{epoch}-{}", scale.notifications / 2))
}

fn middle(taken: &[u64]) -> Result<f64> {
    percentile(taken, 50).map(millis).context("nothing was asked")
}

fn shown(taken: &[u64]) -> Result<String> {
    let at = |percent| {
        percentile(taken, percent)
            .map(millis)
            .context("nothing was asked")
    };
    Ok(format!("{:.2} / {:.2} / {:.2} ms", at(50)?, at(95)?, at(99)?))
}
