//! Bodies that read back as they are written, told without a parser: text, and words in emphasis. Nearly all are such.

/// Each closed in the order of its opening, a parser takes these as they stand.
const EMPHASIS: [&str; 5] = ["b", "i", "em", "strong", "code"];

/// What holds more of them, or deeper ones, is left to the parser.
const TAGS_MAX: usize = 64;
const OPEN_MAX: usize = 8;

/// A parser drops this mark at the beginning of a text, and only there.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// Tells whether a body holds nothing but text and emphasis, and is written the same again.
pub(super) fn is_plain(body: &str) -> bool {
    let special = |c| matches!(c, '<' | '>' | '&' | '\u{a0}' | '\r' | '\0' | BYTE_ORDER_MARK);
    let mut open = Open::default();
    let mut rest = body;
    for _ in 0..=TAGS_MAX {
        let Some(at) = rest.find(special) else {
            return open.depth == 0;
        };
        let tag = rest[at..].strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let Some((name, behind)) = tag else {
            return false;
        };
        let fits = match name.strip_prefix('/') {
            Some(name) => open.close(name),
            None => open.begin(name),
        };
        if !fits {
            return false;
        }
        rest = behind;
    }
    false
}

/// What is open, the innermost last.
#[derive(Default)]
struct Open<'a> {
    names: [&'a str; OPEN_MAX],
    depth: usize,
}

impl<'a> Open<'a> {
    fn begin(&mut self, name: &'a str) -> bool {
        let place = self.names.get_mut(self.depth);
        let Some(place) = place.filter(|_| EMPHASIS.contains(&name)) else {
            return false;
        };
        *place = name;
        self.depth += 1;
        true
    }

    fn close(&mut self, name: &str) -> bool {
        let innermost = self.names[..self.depth].last();
        let closes = innermost == Some(&name);
        self.depth -= usize::from(closes);
        closes
    }
}
