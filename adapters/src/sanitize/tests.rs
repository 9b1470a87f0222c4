use std::cell::RefCell;
use std::sync::LazyLock;

use domain::notification::{AudienceFields, Draft, DraftFields};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{
    BufferQueue, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};
use proptest::prelude::*;

use super::*;

static SANITIZER: LazyLock<HtmlSanitizer> = LazyLock::new(HtmlSanitizer::new);

fn clean(html: &str) -> String {
    SANITIZER.clean(html)
}

/// A second reader, which knows nothing of the rules: it notes all that is not text.
#[derive(Default)]
struct Noted(RefCell<Vec<Result<Element, String>>>);

#[derive(Debug)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
}

impl TokenSink for Noted {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        match token {
            Token::TagToken(tag) => {
                let attributes = tag
                    .attrs
                    .iter()
                    .map(|a| (a.name.local.to_string(), a.value.to_string()))
                    .collect();
                assert!(
                    tag.kind == TagKind::StartTag || tag.attrs.is_empty(),
                    "end tags are bare"
                );
                self.0.borrow_mut().push(Ok(Element {
                    name: tag.name.to_string(),
                    attributes,
                }));
            }
            Token::CharacterTokens(_) | Token::EOFToken => {}
            other => self.0.borrow_mut().push(Err(format!("{other:?}"))),
        }
        TokenSinkResult::Continue
    }
}

fn foreign_matter(html: &str) -> Vec<String> {
    let tokenizer = Tokenizer::new(
        Noted::default(),
        TokenizerOpts {
            exact_errors: true,
            ..TokenizerOpts::default()
        },
    );
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let noted = tokenizer.sink.0.take();
    noted.into_iter().filter_map(objection).collect()
}

fn objection(noted: Result<Element, String>) -> Option<String> {
    const ALLOWED: [&str; 11] = ["b", "i", "em", "strong", "br", "p", "ul", "ol", "li", "code", "a"];
    let element = match noted {
        Ok(element) => element,
        // Control characters are the draft's to refuse; they make no markup.
        Err(error) if error.contains("Bad character") => return None,
        Err(other) => return Some(other),
    };
    let allowed = |(name, value): &(String, String)| match (&*element.name, &**name) {
        ("a", "rel") => value == "noopener noreferrer",
        ("a", "href") => {
            (value.starts_with("https://") || (value.starts_with('/') && !value.starts_with("//")))
                && !value.contains(['\\', ' ', '\t', '\n', '\r'])
        }
        _ => false,
    };
    let fits = ALLOWED.contains(&&*element.name) && element.attributes.iter().all(allowed);
    (!fits).then(|| format!("{element:?}"))
}

#[test]
fn what_a_notification_may_hold_stays() {
    for kept in [
        "Seu pedido <b>2024/17</b> foi aprovado.",
        "<p>Um <i>dois</i> <em>três</em> <strong>quatro</strong><br>cinco</p>",
        "<ul><li>um</li><li>dois</li></ul><ol><li><code>x &lt; y</code></li></ol>",
        "Açaí, 你好, 🎉 &amp; \"aspas\" 'simples'",
        "linha\nlinha\ttab",
    ] {
        assert_eq!(clean(kept), kept);
    }
}

#[test]
fn text_and_closed_emphasis_need_no_parser() {
    for plain in [
        "",
        "Seu pedido <b>2024/17</b> foi aprovado.",
        "<strong>um</strong> <em><b>dois</b> <i></i></em><code>três</code>",
        &"<b>x</b>".repeat(32),
        &format!("{}x{}", "<b>".repeat(8), "</b>".repeat(8)),
    ] {
        assert!(is_plain(plain), "{plain}");
    }
    for other in [
        "<b>aberto",
        "fechado</b>",
        "<b><i>trocado</b></i>",
        "<p>parágrafo</p>",
        "<b class=x>x</b>",
        "<b/>",
        "<B>x</B>",
        "a < b",
        "a > b",
        "&amp;",
        &"<b>x</b>".repeat(33),
        &format!("{}x{}", "<b>".repeat(9), "</b>".repeat(9)),
    ] {
        assert!(!is_plain(other), "{other}");
    }
}

#[test]
fn links_are_marked_and_lead_only_to_this_site_or_to_https() {
    let link = |href: &str| format!("<a href=\"{href}\" rel=\"noopener noreferrer\">x</a>");
    for kept in [
        "/solicitacoes/17",
        "/a?b=c#d",
        "https://example.com",
        "https://example.com:8443/a?b=c",
    ] {
        assert_eq!(clean(&format!("<a href='{kept}'>x</a>")), link(kept));
    }
    let bare = "<a rel=\"noopener noreferrer\">x</a>";
    for dropped in [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/a\\b",
        "/\t/evil.example",
        "\t//evil.example",
        " /a",
        "/&#10;/evil.example",
        "java\tscript:alert(1)",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "&#106;avascript:alert(1)",
        "javascript&colon;alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "http://example.com",
        "https:example.com",
        "https:/example.com",
        "https://",
        "https:///a",
        "https://user@evil.example",
        "https://:443",
        "HTTPS://example.com",
        "mailto:a@example.com",
        "relative",
        "#top",
        "?q",
        "",
    ] {
        assert_eq!(clean(&format!("<a href='{dropped}'>x</a>")), bare, "{dropped:?}");
    }
    assert_eq!(
        clean("<a href='/a' target=_blank onclick=x rel=opener>x</a>"),
        link("/a")
    );
}

#[test]
fn hostile_bodies_lose_their_teeth() {
    for (hostile, harmless) in [
        ("<script>alert(1)</script>", ""),
        ("a<script>b</script>c", "ac"),
        ("<SCRIPT SRC=//x.example></SCRIPT >ok", "ok"),
        ("<script>var s = '<\\/script><b>';</script>ok", "ok"),
        ("<scr<script>ipt>alert(1)</script>", "ipt&gt;alert(1)"),
        ("<style>b{color:red}</style>ok", "ok"),
        ("<style><!--</style><img src=x onerror=alert(1)>-->", "--&gt;"),
        ("<img src=x onerror=alert(1)>ok", "ok"),
        (
            "<b onmouseover=alert(1) style='color:red' id=x class=y>ok</b>",
            "<b>ok</b>",
        ),
        ("<!-- hidden -->ok<!--[if IE]>x<![endif]-->", "ok"),
        ("<!doctype html><html><body onload=x>ok</body></html>", "ok"),
        ("<?xml version='1.0'?>ok<![CDATA[x]]>", "ok"),
        ("<svg><script>alert(1)</script><b>x</b></svg>ok", "ok"),
        ("<svg/onload=alert(1)>ok", ""),
        ("<svg><a xlink:href='javascript:alert(1)'>x</a></svg>ok", "ok"),
        ("<math><mi//xlink:href='data:x,y'>x</math>ok", "ok"),
        (
            "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
            "",
        ),
        (
            "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'>",
            "",
        ),
        (
            "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
            "<p></p>",
        ),
        ("<iframe src=javascript:alert(1)>x</iframe>ok", "ok"),
        ("<template><b>x</b></template>ok", "ok"),
        ("<title><b>x</b></title>ok", "ok"),
        ("<textarea><b>x</b></textarea>", "<b>x</b>"),
        (
            "<form action=/x><input autofocus onfocus=alert(1)><button>ok</button></form>",
            "ok",
        ),
        (
            "<base href=//evil.example><meta http-equiv=refresh content='0;url=//x'><link rel=stylesheet href=//x>ok",
            "ok",
        ),
        ("<object data=x>ok</object><embed src=x>", "ok"),
        (
            "<a href='/a'><table><a href='/b'>x</a></table></a>",
            "<a href=\"/a\" rel=\"noopener noreferrer\"></a><a href=\"/b\" rel=\"noopener noreferrer\">x</a>",
        ),
        (
            "&lt;script&gt;alert(1)&lt;/script&gt;",
            "&lt;script&gt;alert(1)&lt;/script&gt;",
        ),
        (
            "&#60;img src=x onerror=alert(1)&#62;",
            "&lt;img src=x onerror=alert(1)&gt;",
        ),
        (
            "&ltimg src=x onerror=alert(1)&gt",
            "&lt;img src=x onerror=alert(1)&gt;",
        ),
        ("<b>open", "<b>open</b>"),
        ("</b>closed<", "closed&lt;"),
        ("<b", ""),
        ("a < b > c & d", "a &lt; b &gt; c &amp; d"),
        ("um\r\ndois\rtrês", "um\ndois\ntrês"),
    ] {
        assert_eq!(clean(hostile), harmless, "{hostile}");
    }
}

#[test]
fn a_body_built_to_multiply_is_shown_as_its_source() {
    let openings = (0..300).fold(String::new(), |openings, n| openings + &format!("<b {n}>"));
    let distinct = format!("<p>{openings}{}", "<p>x".repeat(500));
    let alike = format!(
        "<p>{}{}",
        "<b><i><em><strong><code>".repeat(3),
        "<p>x".repeat(1_000)
    );
    for hostile in [distinct, alike, "<a><b><p><i></a></b>".repeat(250)] {
        let shown = clean(&hostile);
        assert!(shown.starts_with("&lt;"), "{shown:.80}");
        assert!(shown.len() < 4 * hostile.len());
        assert_eq!(foreign_matter(&shown), Vec::<String>::new());
    }
}

#[test]
fn a_long_honest_list_is_not_taken_for_hostile() {
    let list = format!("<ul>{}</ul>", "<li>Item <b>17</b></li>".repeat(210));
    assert_eq!(clean(&list), list);
}

#[test]
fn the_second_reader_of_these_tests_sees_what_must_not_be_there() {
    for bad in [
        "<img>",
        "<b id=x>",
        "<a href='//x'>",
        "<a href='javascript:x'>",
        "<!-- x -->",
        "<!doctype html>",
        "</svg>",
        "<a rel=opener>",
    ] {
        assert!(!foreign_matter(bad).is_empty(), "{bad}");
    }
}

/// Text that looks like HTML, from pieces that parsers treat in special ways.
fn markup() -> impl Strategy<Value = String> {
    const PIECES: [&str; 72] = [
        "<b>",
        "</b>",
        "<i>",
        "</i>",
        "<em>",
        "<strong>",
        "<br>",
        "</br>",
        "<p>",
        "</p>",
        "<ul>",
        "</ul>",
        "<ol>",
        "<li>",
        "</li>",
        "<code>",
        "</code>",
        "<a href='/x'>",
        "<a href=\"https://x.example/?a=1&b=2\">",
        "<a href='//x'>",
        "<a href=javascript:x>",
        "<a>",
        "</a>",
        "<b x=1>",
        "<b/x>",
        "<table>",
        "<tr>",
        "<td>",
        "</table>",
        "<div>",
        "</div>",
        "<svg>",
        "</svg>",
        "<svg/>",
        "<math>",
        "<mtext>",
        "<mglyph>",
        "</math>",
        "<style>",
        "</style>",
        "<script>",
        "</script>",
        "<title>",
        "</title>",
        "<textarea>",
        "</textarea>",
        "<noscript>",
        "<template>",
        "</template>",
        "<iframe>",
        "<select>",
        "<option>",
        "<object>",
        "</object>",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?x",
        "&lt;",
        "&amp;",
        "&#13;",
        "&#0;",
        "&nbsp;",
        "&#x3c;",
        "&quot;",
        "'",
        "\"",
        "\u{feff}",
        "\u{a0}",
        "\r",
        "\0",
    ];
    let piece = prop_oneof![
        4 => prop::sample::select(&PIECES[..]).prop_map(str::to_owned),
        1 => "[ -~\\n]{0,6}",
        1 => "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Text in which every emphasis is closed in its turn.
fn emphasis() -> impl Strategy<Value = String> {
    let text = "[^<>&\u{a0}\r\0\u{feff}]{0,6}";
    text.prop_recursive(7, 30, 4, |inner| {
        let name = prop::sample::select(&["b", "i", "em", "strong", "code"][..]);
        let parts = prop::collection::vec(inner, 0..4);
        (name, parts).prop_map(|(name, parts)| format!("<{name}>{}</{name}>", parts.concat()))
    })
}

/// Emphasis with a slip in it, now and then.
fn slips() -> impl Strategy<Value = String> {
    const SLIPS: [&str; 12] = [
        "<b>", "</b>", "</i>", "<p>", "<br>", "<B>", "<b >", "<a>", "&amp;", ">", "\r", "\u{a0}",
    ];
    let slip = prop::sample::select(&SLIPS[..]).prop_map(str::to_owned);
    let part = prop_oneof![2 => emphasis(), 1 => slip];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

fn link_taken_by_a_draft(link: &str) -> bool {
    Draft::check(DraftFields {
        audience: AudienceFields {
            everyone: Some(true),
            ..AudienceFields::default()
        },
        kind: "x".into(),
        title: "x".into(),
        link: Some(link.into()),
        ..DraftFields::default()
    })
    .is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn cleaning_twice_changes_nothing(html in prop_oneof![3 => markup(), 1 => ".{0,60}"]) {
        let once = clean(&html);
        prop_assert_eq!(clean(&once), once);
    }

    #[test]
    fn nothing_else_is_ever_left(html in prop_oneof![3 => markup(), 1 => "[<>a-z/ ='\"!-]{0,60}"]) {
        let once = clean(&html);
        prop_assert_eq!(foreign_matter(&once), Vec::<String>::new(), "{}", once);
    }

    #[test]
    fn plain_text_is_left_as_the_long_way_would_leave_it(text in "[^<>&\u{a0}\r\0\u{feff}]{0,40}") {
        prop_assert!(is_plain(&text));
        prop_assert_eq!(SANITIZER.reduce(&text), text);
    }

    #[test]
    fn emphasis_is_left_as_the_long_way_would_leave_it(text in emphasis()) {
        prop_assert!(is_plain(&text));
        prop_assert_eq!(SANITIZER.reduce(&text), text);
    }

    #[test]
    fn what_is_taken_for_plain_is_what_the_long_way_leaves(text in slips()) {
        if is_plain(&text) {
            prop_assert_eq!(SANITIZER.reduce(&text), text);
        }
    }

    #[test]
    fn a_body_and_a_link_take_the_same_addresses(
        link in "(https://|/|//|/\\\\|https:|http://)?[a-z@:/?#\\\\ \t.<>\"`-]{0,12}",
    ) {
        prop_assert_eq!(may_link(&link), link_taken_by_a_draft(&link));
    }
}
