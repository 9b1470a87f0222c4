//! Bodies of notifications, reduced to what they may hold.

mod plain;
mod tags;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use ammonia::{Builder, UrlRelative};
use application::ports::Sanitizer;
use domain::notification::LINK_MAX_CHARS;

use plain::{BYTE_ORDER_MARK, is_plain};
use tags::TAGS;

/// Two rounds settle what people write; what moves for longer was built to.
const ROUNDS_MAX: usize = 6;

/// A list of 300 items with bold words makes 4,000. A parser that is led to repeat open formatting in every
/// paragraph made 200,000 of a body of 5,000 characters, in 150 ms.
const ELEMENTS_MAX: usize = 8_000;

/// Reduces HTML with ammonia.
///
/// First the tags outside the list go, with their attributes and what scripts and drawings hold: so the parser
/// behind never sees foreign content, tables, or attributes that would make it repeat elements. Then ammonia
/// builds the tree, checks it and writes it. What would cost too much, or would not read back as it was written,
/// is shown as the text that it is.
///
/// ```
/// use adapters::sanitize::HtmlSanitizer;
/// use application::ports::Sanitizer;
///
/// let sanitizer = HtmlSanitizer::new();
/// assert_eq!(sanitizer.clean("<b onclick=x>2024/17</b><script>x</script>"), "<b>2024/17</b>");
/// ```
#[derive(Debug)]
pub struct HtmlSanitizer {
    rules: Builder<'static>,
}

impl HtmlSanitizer {
    /// Prepares the rules once for all bodies.
    pub fn new() -> Self {
        let mut rules = Builder::empty();
        rules
            .tags(TAGS.into())
            .tag_attributes(HashMap::from([("a", HashSet::from(["href"]))]))
            .url_schemes(HashSet::from(["https"]))
            .url_relative(UrlRelative::PassThrough)
            .link_rel(Some("noopener noreferrer"))
            .strip_comments(true)
            .attribute_filter(|_, attribute, value| {
                (attribute != "href" || may_link(value)).then_some(Cow::Borrowed(value))
            });
        Self { rules }
    }

    /// Where a tree was mended, its text can be mended again by the next reader (a paragraph in a paragraph). So it is
    /// cleaned until it stays the same.
    fn reduce(&self, html: &str) -> String {
        let mut current = Cow::Borrowed(html);
        for _ in 0..ROUNDS_MAX {
            let tagged = tags::shed(&current);
            if tagged.elements_max > ELEMENTS_MAX {
                break;
            }
            let next = self.rules.clean(&tagged.html).to_string();
            if next == *current {
                return next;
            }
            current = Cow::Owned(next);
        }
        as_text(html)
    }
}

impl Default for HtmlSanitizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Sanitizer for HtmlSanitizer {
    fn clean(&self, html: &str) -> String {
        if is_plain(html) {
            return html.to_owned();
        }
        self.reduce(html)
    }
}

/// Writes the source so that a reader sees it, in the form in which a parser would write it again.
fn as_text(source: &str) -> String {
    let text = source.replace("\r\n", "\n").replace('\r', "\n").replace('\0', "");
    let mut html = String::with_capacity(text.len() * 2);
    tags::push_text(&mut html, text.trim_start_matches(BYTE_ORDER_MARK));
    html
}

/// The rule that a notification's `link` keeps too: a path beginning with one `/`, or an https address that names
/// a host and no user. A browser reads a backslash as a slash and drops tabs and line breaks, so none may stand
/// in it.
fn may_link(href: &str) -> bool {
    let unfit = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '<' | '>' | '"' | '`');
    if href.chars().any(unfit) || href.chars().count() > LINK_MAX_CHARS {
        return false;
    }
    if href.starts_with('/') {
        return !href.starts_with("//");
    }
    href.strip_prefix("https://")
        .and_then(|rest| rest.split(['/', '?', '#']).next())
        .is_some_and(|host| !host.is_empty() && !host.contains('@') && !host.starts_with(':'))
}
