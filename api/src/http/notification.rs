//! Notifications as inboxes show them, for the document. They are written as on streams.

use domain::state::ItemState;
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::Serialize;

use super::schema::{
    AnyJson, BodyText, ChannelText, CursorText, LinkText, MomentText, NotificationIdText, PriorityText,
    TitleText, TypeText,
};

/// A notification as everybody is sent it, on streams and in inboxes.
#[derive(Debug, Serialize, Object)]
pub(crate) struct Notification {
    /// Its id.
    id: NotificationIdText,
    /// What it is about.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    kind: TypeText,
    /// How much it presses.
    priority: PriorityText,
    /// Plain text on one line.
    title: TitleText,
    /// HTML of `b i em strong br p ul ol li code a[href]` alone.
    body: String,
    /// Where it leads: a path, or an `https://` address.
    #[oai(nullable)]
    link: Option<LinkText>,
    /// The publisher's own JSON value.
    data: AnyJson,
    /// Whether readers are asked to acknowledge it.
    requires_ack: bool,
    /// When it became visible.
    published_at: MomentText,
    /// When it stops being worth showing; null for never.
    #[oai(nullable)]
    expires_at: Option<MomentText>,
}

/// What the person has done with a notification.
#[derive(Debug, Default, Serialize, Object)]
#[oai(rename = "ItemState", example)]
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
pub(crate) struct StateBody {
    /// When they read it; null while they have not.
    #[oai(nullable)]
    read_at: Option<MomentText>,
    /// When they put it away; null while it is in the inbox.
    #[oai(nullable)]
    archived_at: Option<MomentText>,
    /// When they acknowledged it; null while they have not.
    #[oai(nullable)]
    acknowledged_at: Option<MomentText>,
}

/// A notification in a person's inbox.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "InboxItem", example)]
pub(crate) struct ItemDocument {
    /// Its event's place in the log; pages go on `before` it.
    cursor: CursorText,
    /// The channel that carried it.
    channel: ChannelText,
    /// The notification.
    notification: Notification,
    /// What the person has done with it.
    state: StateBody,
}

/// A page of a person's inbox, newest first.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "InboxPage", example)]
pub(crate) struct PageDocument {
    /// The items, newest first.
    items: Vec<ItemDocument>,
    /// Give this as `before` to get the next page; null on the last one.
    #[oai(nullable)]
    next: Option<CursorText>,
    /// The place in the log at which the page is exact: open the stream with it, and nothing is missed or repeated.
    cursor: CursorText,
}

impl From<&ItemState> for StateBody {
    fn from(state: &ItemState) -> Self {
        Self {
            read_at: state.read_at.map(Into::into),
            archived_at: state.archived_at.map(Into::into),
            acknowledged_at: state.acknowledged_at.map(Into::into),
        }
    }
}

impl Example for StateBody {
    fn example() -> Self {
        Self {
            read_at: Some(MomentText("2026-01-01T12:05:00.000Z".to_owned())),
            ..Self::default()
        }
    }
}

impl Example for Notification {
    fn example() -> Self {
        Self {
            id: NotificationIdText("019b76da-a800-7cc0-8a5e-0a6b6e1f2c3d".to_owned()),
            kind: TypeText("solicitacao.aprovada".to_owned()),
            priority: PriorityText("high".to_owned()),
            title: TitleText("Solicitação aprovada".to_owned()),
            body: BodyText("Seu pedido <b>2024/17</b> foi aprovado.".to_owned()).0,
            link: Some(LinkText("/solicitacoes/17".to_owned())),
            data: AnyJson(serde_json::json!({ "protocolo": "2024/17" })),
            requires_ack: false,
            published_at: MomentText("2026-01-01T12:00:00.000Z".to_owned()),
            expires_at: None,
        }
    }
}

impl Example for ItemDocument {
    fn example() -> Self {
        Self {
            cursor: CursorText("8f3a-1042".to_owned()),
            channel: ChannelText("private:user:u-42:notifications".to_owned()),
            notification: Notification::example(),
            state: StateBody::default(),
        }
    }
}

impl Example for PageDocument {
    fn example() -> Self {
        Self {
            items: vec![ItemDocument::example()],
            next: None,
            cursor: CursorText("8f3a-1044".to_owned()),
        }
    }
}
