//! The first look at a body: a sequence of tags, before it is a tree.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

/// What a body may hold. `href` on `a` is the one attribute a caller can set.
pub(super) const TAGS: [&str; 11] = ["a", "b", "i", "em", "strong", "code", "br", "p", "ul", "ol", "li"];

/// How many of [`TAGS`], the first ones, a parser reopens in the next block when one cut them off.
const FORMATTING: usize = 6;

/// A parser reopens three alike at most (HTML standard, "the list of active formatting elements": Noah's Ark).
const REOPENED_ALIKE_MAX: usize = 3;

/// Elements that vanish with all they hold; of any other element outside [`TAGS`] the text stays. What they hold
/// is no text for a reader, or is read under other rules. Foreign content (`svg`, `math`) goes whole, so that no
/// element of another namespace is left to be misread.
const DROPPED_WHOLE: [&str; 9] = [
    "script", "style", "svg", "math", "template", "iframe", "noembed", "noframes", "title",
];

/// A body with its allowed tags alone, of which only links keep an attribute.
#[derive(Debug, Default)]
pub(super) struct Tagged {
    /// The body, in HTML.
    pub(super) html: String,
    /// A tree made of it holds about this many elements at most.
    pub(super) elements_max: usize,
}

/// Reads the tags one by one and drops what a body may not hold.
pub(super) fn shed(html: &str) -> Tagged {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    let tokenizer = Tokenizer::new(Shedding::default(), TokenizerOpts::default());
    // The tokenizer stops early for scripts to run; here it is never told that one ended.
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let pass = tokenizer.sink.0.into_inner();
    let reopened: usize = pass.formatting.iter().map(|&n| n.min(REOPENED_ALIKE_MAX)).sum();
    Tagged {
        html: pass.html,
        elements_max: (reopened + 1) * pass.tags,
    }
}

/// Writes text as HTML.
pub(super) fn push_text(html: &mut String, text: &str) {
    push_escaped(html, text, ['&', '<', '>', '\u{a0}']);
}

fn push_escaped(html: &mut String, text: &str, special: [char; 4]) {
    for part in text.split_inclusive(special) {
        let last = part.chars().next_back().filter(|c| special.contains(c));
        html.push_str(&part[..part.len() - last.map_or(0, char::len_utf8)]);
        html.push_str(match last {
            Some('&') => "&amp;",
            Some('<') => "&lt;",
            Some('>') => "&gt;",
            Some('"') => "&quot;",
            Some(_) => "&nbsp;",
            None => "",
        });
    }
}

/// The tokenizer hands its tokens to a shared reference.
#[derive(Debug, Default)]
struct Shedding(RefCell<Pass>);

#[derive(Debug, Default)]
struct Pass {
    html: String,
    /// Inside an element that goes whole: its place in [`DROPPED_WHOLE`], and how many of its name are open.
    dropping: Option<(usize, usize)>,
    tags: usize,
    /// Start tags of each formatting element.
    formatting: [usize; FORMATTING],
}

impl TokenSink for Shedding {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut pass = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => return pass.tag(&tag),
            Token::CharacterTokens(text) if pass.dropping.is_none() => push_text(&mut pass.html, &text),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl Pass {
    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let dropped = DROPPED_WHOLE.iter().position(|name| *name == &*tag.name);
        match (self.dropping, dropped) {
            (Some((within, open)), Some(at)) if within == at => {
                let open = match tag.kind {
                    TagKind::StartTag => open + 1,
                    TagKind::EndTag => open - 1,
                };
                self.dropping = (open > 0).then_some((within, open));
            }
            (None, Some(at)) if tag.kind == TagKind::StartTag => return self.begin_dropping(at, tag),
            (None, None) => self.keep(tag),
            _ => {}
        }
        TokenSinkResult::Continue
    }

    /// Drawings can close themselves. What holds raw text is read as such: a `<` in a script begins no tag.
    fn begin_dropping(&mut self, at: usize, tag: &Tag) -> TokenSinkResult<()> {
        let name = &*tag.name;
        if matches!(name, "svg" | "math") && tag.self_closing {
            return TokenSinkResult::Continue;
        }
        self.dropping = Some((at, 1));
        match name {
            "script" => TokenSinkResult::RawData(RawKind::ScriptData),
            "style" | "iframe" | "noembed" | "noframes" => TokenSinkResult::RawData(RawKind::Rawtext),
            "title" => TokenSinkResult::RawData(RawKind::Rcdata),
            _ => TokenSinkResult::Continue,
        }
    }

    fn keep(&mut self, tag: &Tag) {
        let name = &*tag.name;
        let Some(at) = TAGS.iter().position(|allowed| *allowed == name) else {
            return;
        };
        self.tags += 1;
        if tag.kind == TagKind::EndTag {
            self.html.extend(["</", name, ">"]);
            return;
        }
        if let Some(count) = self.formatting.get_mut(at) {
            *count += 1;
        }
        self.html.extend(["<", name]);
        let href = tag
            .attrs
            .iter()
            .find(|attribute| &*attribute.name.local == "href");
        if let Some(href) = href.filter(|_| name == "a") {
            self.html.push_str(" href=\"");
            push_escaped(&mut self.html, &href.value, ['&', '"', '\u{a0}', '<']);
            self.html.push('"');
        }
        self.html.push('>');
    }
}
