//! An event-stream parser, written from the WHATWG text and knowing nothing of our encoder.
//!
//! HTML Living Standard, sections 9.2.5 "Parsing an event stream" and 9.2.6 "Interpreting an event stream". Bytes
//! may arrive cut anywhere.

/// A message as a browser would hand it to a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The type: what `event` said, else `message`.
    pub event: String,
    /// The data, lines joined by line feeds.
    pub data: String,
    /// The last event id, this message's own or an earlier one.
    pub last_event_id: String,
}

/// A byte order mark in UTF-8. One is ignored at the very start.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The state of one connection.
#[derive(Debug, Default)]
pub struct EventStream {
    line: Vec<u8>,
    begun: bool,
    after_carriage_return: bool,
    data: String,
    event: String,
    id: String,
    last_event_id: String,
    retry_ms: Option<u64>,
}

impl EventStream {
    /// Begins a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a connection that follows another one: the last event id outlives connections.
    pub fn resumed(last_event_id: &str) -> Self {
        Self {
            id: last_event_id.to_owned(),
            last_event_id: last_event_id.to_owned(),
            ..Self::default()
        }
    }

    /// Takes bytes as they arrive and returns the messages that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Message> {
        bytes.iter().filter_map(|byte| self.push_byte(*byte)).collect()
    }

    /// Returns what a reconnecting browser would send as `Last-Event-ID`.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Returns the reconnection time that the stream asked for.
    pub const fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Lines end with CR LF, LF or CR. A CR may be the first half of a pair whose second half has yet to arrive, so
    /// the line ends at once and the LF is swallowed when it comes.
    fn push_byte(&mut self, byte: u8) -> Option<Message> {
        let second_half = byte == b'\n' && self.after_carriage_return;
        self.after_carriage_return = byte == b'\r';
        match byte {
            b'\n' if second_half => None,
            b'\r' | b'\n' => self.end_line(),
            _ => {
                self.line.push(byte);
                None
            }
        }
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        let first = !std::mem::replace(&mut self.begun, true);
        let line = match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) if first => rest,
            _ => &line,
        };
        // No byte of a longer character equals CR or LF, so decoding by line is decoding the stream.
        let line = String::from_utf8_lossy(line);
        if line.is_empty() {
            return self.dispatch();
        }
        match line.split_once(':') {
            Some(("", _comment)) => {}
            Some((field, value)) => self.field(field, value.strip_prefix(' ').unwrap_or(value)),
            None => self.field(&line, ""),
        }
        None
    }

    fn field(&mut self, field: &str, value: &str) {
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // Only ASCII digits; an empty value holds no number.
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok().or(self.retry_ms);
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Message> {
        self.last_event_id.clone_from(&self.id);
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        if data.is_empty() {
            return None;
        }
        data.pop();
        Some(Message {
            event: if event.is_empty() {
                "message".to_owned()
            } else {
                event
            },
            data,
            last_event_id: self.last_event_id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event: &str, data: &str, last_event_id: &str) -> Message {
        Message {
            event: event.to_owned(),
            data: data.to_owned(),
            last_event_id: last_event_id.to_owned(),
        }
    }

    fn plain(data: &str) -> Message {
        message("message", data, "")
    }

    /// Parses whole and byte by byte, which must agree.
    fn parse(stream: &[u8]) -> (Vec<Message>, EventStream) {
        let mut whole = EventStream::new();
        let messages = whole.push(stream);
        let mut cut = EventStream::new();
        let by_byte: Vec<_> = stream.chunks(1).flat_map(|byte| cut.push(byte)).collect();
        assert_eq!(by_byte, messages);
        assert_eq!(cut.last_event_id(), whole.last_event_id());
        (messages, whole)
    }

    fn messages(stream: &str) -> Vec<Message> {
        parse(stream.as_bytes()).0
    }

    #[test]
    fn the_stock_ticker_of_the_specification_is_one_message_of_three_lines() {
        assert_eq!(
            messages("data: YHOO\ndata: +2\ndata: 10\n\n"),
            [plain("YHOO\n+2\n10")]
        );
    }

    #[test]
    fn the_four_blocks_of_the_specification_are_two_messages_and_a_cleared_id() {
        let stream =
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n";
        let (messages, state) = parse(stream.as_bytes());
        let expected = [
            message("message", "first event", "1"),
            message("message", "second event", ""),
        ];
        assert_eq!(messages, expected);
        assert_eq!(state.last_event_id(), "");
        let ended = format!("{stream}\n");
        assert_eq!(
            self::messages(&ended)[2],
            plain(" third event"),
            "one space is taken"
        );
    }

    #[test]
    fn the_empty_data_of_the_specification_is_a_message_and_the_unfinished_block_is_none() {
        let stream = "data\n\ndata\ndata\n\ndata:";
        assert_eq!(messages(stream), [plain(""), plain("\n")]);
    }

    #[test]
    fn the_two_spellings_of_the_specification_are_the_same() {
        assert_eq!(
            messages("data:test\n\ndata: test\n\n"),
            [plain("test"), plain("test")]
        );
    }

    #[test]
    fn a_line_ends_with_any_of_the_three() {
        for end in ["\n", "\r", "\r\n"] {
            let stream = format!("event: a{end}data: b{end}data: c{end}{end}data: d{end}{end}");
            assert_eq!(
                messages(&stream),
                [message("a", "b\nc", ""), plain("d")],
                "{end:?}"
            );
        }
        assert_eq!(messages("data: a\r\n\rdata: b\n\r\n"), [plain("a"), plain("b")]);
    }

    #[test]
    fn one_byte_order_mark_is_ignored_and_only_at_the_start() {
        assert_eq!(messages("\u{feff}data: a\n\n"), [plain("a")]);
        assert_eq!(messages("\u{feff}\u{feff}data: a\n\n"), []);
        assert_eq!(messages("data: a\n\n\u{feff}data: b\n\n"), [plain("a")]);
    }

    #[test]
    fn comments_and_unknown_fields_are_ignored() {
        assert_eq!(
            messages(":\n:data: x\n data: x\nDATA: x\nfoo: x\ndata: a\n\n"),
            [plain("a")]
        );
    }

    #[test]
    fn an_id_with_nul_is_ignored() {
        assert_eq!(
            messages("id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n"),
            [message("message", "a", "1"), message("message", "b", "1")]
        );
    }

    #[test]
    fn an_id_counts_from_its_empty_line_on_even_without_data() {
        assert_eq!(parse(b"id: 1\n").1.last_event_id(), "");
        let (messages, state) = parse(b"id: 1\nevent: x\n\n");
        assert_eq!(messages, []);
        assert_eq!(state.last_event_id(), "1");
    }

    #[test]
    fn an_id_outlives_messages_and_connections() {
        let mut stream = EventStream::resumed("7");
        assert_eq!(stream.push(b"data: a\n\n"), [message("message", "a", "7")]);
        assert_eq!(
            stream.push(b"id: 8\ndata: b\n\ndata: c\n\n"),
            [message("message", "b", "8"), message("message", "c", "8")]
        );
    }

    #[test]
    fn an_event_type_lasts_for_one_block() {
        assert_eq!(
            messages("event: x\n\ndata: a\n\nevent: y\nevent\ndata: b\n\n"),
            [plain("a"), plain("b")]
        );
    }

    #[test]
    fn a_retry_is_digits_alone() {
        for (line, expected) in [
            ("retry: 3417", Some(3_417)),
            ("retry:0", Some(0)),
            ("retry: 3e3", None),
            ("retry: -1", None),
            ("retry: 1 ", None),
            ("retry: ١", None),
            ("retry", None),
        ] {
            let (_, state) = parse(format!("{line}\n").as_bytes());
            assert_eq!(state.retry_ms(), expected, "{line:?}");
        }
        assert_eq!(parse(b"retry: 5\nretry\nretry: x\n").1.retry_ms(), Some(5));
    }

    #[test]
    fn bytes_that_are_no_text_become_the_replacement_character() {
        assert_eq!(
            parse(b"data: a\xffb\xe2\x80\n\n").0,
            [plain("a\u{fffd}b\u{fffd}")]
        );
    }
}
