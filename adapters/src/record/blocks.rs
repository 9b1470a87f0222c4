//! Blocks as the settings keep them.

use application::ports::{BlocksFormat, UnreadableBlocks};
use domain::abuse::{Block, Blocks};
use domain::rollout::Why;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Unreadable, from_text, millis, parse, to_text};

/// What this version of the service writes, and the only one it reads.
const FORMAT: u32 = 1;

/// Keeps blocks as JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlocksJson;

#[derive(Serialize, Deserialize)]
struct ListRecord {
    format: u32,
    blocks: Vec<BlockRecord>,
}

#[derive(Serialize, Deserialize)]
struct BlockRecord {
    suspect: String,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    by: Option<String>,
    at: i64,
    ends_at: i64,
}

impl BlocksFormat for BlocksJson {
    fn read(&self, text: &str) -> Result<Blocks, UnreadableBlocks> {
        read(text).map_err(|error| UnreadableBlocks { what: error.what })
    }

    fn write(&self, blocks: &Blocks) -> String {
        let record = |block: &&Block| BlockRecord {
            suspect: block.suspect.to_string(),
            why: block.why.as_str().to_owned(),
            by: block.by.as_ref().map(ToString::to_string),
            at: millis(block.at),
            ends_at: millis(block.ends_at),
        };
        to_text(&ListRecord {
            format: FORMAT,
            blocks: blocks.all().iter().map(record).collect(),
        })
    }
}

fn read(text: &str) -> Result<Blocks, Unreadable> {
    if text.is_empty() {
        return Ok(Blocks::default());
    }
    let list: ListRecord = from_text(text)?;
    if list.format != FORMAT {
        return Err(Unreadable::new("a format of another version of the service"));
    }
    let all = list.blocks.into_iter().map(|record| {
        Ok(Block {
            suspect: parse(&record.suspect, "suspect")?,
            why: Why::try_new(&record.why).map_err(|_| Unreadable::new("why"))?,
            by: record.by.map(|by| parse(&by, "by")).transpose()?,
            at: Timestamp::from_millis(record.at),
            ends_at: Timestamp::from_millis(record.ends_at),
        })
    });
    Ok(Blocks::new(all.collect::<Result<Vec<Block>, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_reads_back_as_it_was_written() {
        let block = |suspect: &str, by: Option<&str>| Block {
            suspect: suspect.parse().unwrap(),
            why: Why::try_new("\"x\"").unwrap(),
            by: by.map(|by| by.parse().unwrap()),
            at: Timestamp::from_millis(1),
            ends_at: Timestamp::MAX,
        };
        let blocks = Blocks::new([
            block("user:ana", Some("admin")),
            block("address:2001:db8::", None),
        ]);
        assert_eq!(BlocksJson.read(&BlocksJson.write(&blocks)), Ok(blocks));
        assert_eq!(BlocksJson.read(""), Ok(Blocks::default()));
        for other in [r#"{"format":2,"blocks":[]}"#, "{"] {
            assert!(BlocksJson.read(other).is_err(), "{other}");
        }
    }
}
