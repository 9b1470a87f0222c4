//! `arauto import`: JSON lines into inboxes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use application::import::{Earlier, Import, Imported};
use clap::Args;
use domain::state::Mark;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bootstrap;
use crate::config::Config;
use crate::http::{parse_moment, read_draft};

/// Lines taken at once; a step is one commit.
const AT_ONCE: usize = 200;
/// A line that is longer is none: the largest notification to a thousand people takes less.
const LINE_MAX: u64 = 4 << 20;
/// Lines that were refused are named up to this many.
const NAMED_MAX: u64 = 100;

/// Which file.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// One notification a line; - reads standard input
    file: PathBuf,
}

/// What stands in a line beside the notification itself.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    key: String,
    published_at: String,
    #[serde(default)]
    read: bool,
    #[serde(default)]
    archived: bool,
    #[serde(borrow)]
    notification: &'a RawValue,
}

#[derive(Debug, Default)]
struct Tally {
    taken: u64,
    known: u64,
    refused: u64,
}

impl ImportArgs {
    /// Imports the file and returns what there is to say.
    pub(super) async fn run(&self, config: &Config) -> anyhow::Result<String> {
        let (import, _end) = bootstrap::import(config).await?;
        let (reader, size) = open(&self.file)?;
        let progress = progress(size);
        let tally = take_all(&import, reader, &progress).await;
        progress.finish_and_clear();
        let tally = tally?;
        let Tally {
            taken,
            known,
            refused,
        } = tally;
        let said = format!("{taken} imported, {known} were there before, {refused} refused");
        if refused > 0 {
            bail!("{said}; correct those lines and import the file again: what is there is not taken twice");
        }
        Ok(format!("{said}\n"))
    }
}

fn open(file: &Path) -> anyhow::Result<(Box<dyn BufRead>, Option<u64>)> {
    if file.as_os_str() == "-" {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let opened = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let size = opened.metadata().map(|metadata| metadata.len()).ok();
    Ok((Box::new(BufReader::new(opened)), size))
}

/// On a terminal alone.
fn progress(size: Option<u64>) -> ProgressBar {
    let bar = size.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let style = "{spinner} {bytes} of {total_bytes} {wide_bar} {msg}, {eta} left";
    ProgressStyle::with_template(style).map_or(bar.clone(), |style| bar.with_style(style))
}

async fn take_all(
    import: &Import,
    mut reader: Box<dyn BufRead>,
    progress: &ProgressBar,
) -> anyhow::Result<Tally> {
    let (mut tally, mut number) = (Tally::default(), 0_u64);
    let mut batch = Vec::new();
    loop {
        let mut text = Vec::new();
        let read = io::Read::take(&mut *reader, LINE_MAX).read_until(b'\n', &mut text)?;
        if read > 0 {
            number += 1;
            progress.inc(read as u64);
            match line(&text) {
                Ok(Some(earlier)) => batch.push((number, earlier)),
                Ok(None) => {}
                Err(flaw) => tally.refuse(number, &flaw, progress),
            }
        }
        if batch.len() >= AT_ONCE || read == 0 {
            take(import, std::mem::take(&mut batch), &mut tally, progress).await?;
            progress.set_message(format!("{} imported", tally.taken));
        }
        if read == 0 {
            return Ok(tally);
        }
    }
}

async fn take(
    import: &Import,
    batch: Vec<(u64, Earlier)>,
    tally: &mut Tally,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let (numbers, batch): (Vec<u64>, Vec<Earlier>) = batch.into_iter().unzip();
    let outcomes = import
        .run(batch)
        .await
        .with_context(|| format!("line {} could not be stored; import the file again", numbers[0]))?;
    for (number, outcome) in numbers.into_iter().zip(outcomes) {
        match outcome {
            Ok(Imported::Taken) => tally.taken += 1,
            Ok(Imported::Known) => tally.known += 1,
            Err(error) => tally.refuse(number, &error.to_string(), progress),
        }
    }
    Ok(())
}

impl Tally {
    fn refuse(&mut self, number: u64, flaw: &str, progress: &ProgressBar) {
        self.refused += 1;
        if self.refused <= NAMED_MAX {
            progress.suspend(|| {
                // Where standard error is closed there is nobody left to tell.
                let _ = writeln!(io::stderr().lock(), "arauto: line {number}: {flaw}");
            });
        }
    }
}

/// Reads a line; an empty one is none.
fn line(text: &[u8]) -> Result<Option<Earlier>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if line.key.is_empty() {
        return Err("key must not be empty".to_owned());
    }
    let draft = read_draft(line.notification.get().as_bytes()).map_err(|errors| {
        let each = errors
            .iter()
            .map(|error| format!("{} {}", error.field, error.detail));
        each.collect::<Vec<_>>().join("; ")
    })?;
    let published_at = parse_moment(&line.published_at).map_err(|flaw| format!("published_at {flaw}"))?;
    let marks = [(line.read, Mark::Read), (line.archived, Mark::Archive)];
    Ok(Some(Earlier {
        key: line.key,
        draft,
        published_at,
        marks: marks
            .into_iter()
            .filter(|(done, _)| *done)
            .map(|(_, mark)| mark)
            .collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"key":"old-17","published_at":"2026-03-01T12:00:00Z","read":true,"notification":
        {"audience":{"users":["u-42"]},"type":"solicitacao.aprovada","title":"Aprovada","data":{"n":1.0}}}"#;

    #[test]
    fn a_line_is_a_notification_with_what_was_done_with_it() {
        let earlier = line(LINE.replace('\n', "").as_bytes()).unwrap().unwrap();
        assert_eq!(
            (earlier.key.as_str(), &earlier.marks[..]),
            ("old-17", &[Mark::Read][..])
        );
        assert_eq!(&*earlier.draft.content.data, r#"{"n":1.0}"#);
        assert_eq!(line(b" \n"), Ok(None));
    }

    #[test]
    fn whatever_is_wrong_is_said_in_one_line() {
        for (text, said) in [
            (LINE.replace("Aprovada", ""), "title"),
            (LINE.replace("2026-03-01T12:00:00Z", "yesterday"), "published_at"),
            (LINE.replace("old-17", ""), "key"),
            (LINE.replace("{\"key\"", "{\"kez\""), "key"),
            ("{".to_owned(), "EOF"),
        ] {
            let flaw = line(text.replace('\n', "").as_bytes()).unwrap_err();
            assert!(flaw.contains(said) && !flaw.contains('\n'), "{flaw}");
        }
    }
}
