use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress};
use proptest::prelude::*;

use super::*;

fn pressed(plain: &[u8], effort: Effort) -> Bytes {
    let mut frame = plain.to_vec();
    press(&mut frame, effort);
    frame.into()
}

/// Frames as a stream may hold them: text that repeats itself, and noise.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..1_500),
        ("[a-f ]{1,40}", 1..300_usize).prop_map(|(text, times)| text.repeat(times).into_bytes()),
    ]
}

fn effort() -> impl Strategy<Value = Effort> {
    prop_oneof![Just(Effort::Shared), Just(Effort::Passing)]
}

/// Reads a whole member, its end included: a wrong checksum or length is an error.
fn whole(sent: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(sent).read_to_end(&mut plain)?;
    Ok(plain)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_frames_each_is_readable_as_soon_as_it_is_there_and_the_member_is_whole(
        frames in prop::collection::vec((frame(), effort()), 0..12),
    ) {
        let mut member = Member::default();
        let mut sent = member.begin().unwrap().to_vec();
        let (mut plain, mut reader) = (Vec::new(), Decompress::new(false));
        for (frame, effort) in &frames {
            let bytes = member.add(pressed(frame, *effort));
            sent.extend_from_slice(&bytes);
            plain.extend_from_slice(frame);
            let mut read = Vec::with_capacity(frame.len() + 1);
            reader.decompress_vec(&bytes, &mut read, FlushDecompress::Sync).unwrap();
            prop_assert_eq!(&read, frame);
        }
        sent.extend_from_slice(&member.end().unwrap());
        prop_assert_eq!(whole(&sent).unwrap(), plain);
        prop_assert!(whole(&sent[..sent.len() - 8]).is_err(), "the end is needed");
        prop_assert!(member.end().is_none() && member.begin().is_none());
    }

    #[test]
    fn a_piece_is_the_same_wherever_it_stands(before in frame(), frame in frame(), effort in effort()) {
        let alone = pressed(&frame, effort);
        pressed(&before, effort);
        prop_assert_eq!(pressed(&frame, effort), alone);
    }

    #[test]
    fn a_page_is_read_back_whole_and_is_never_longer_than_it_was_but_for_its_frame(
        plain in prop::collection::vec("[a-f \"{}]{1,30}", 0..200),
        bits in any::<u64>(),
    ) {
        let plain = plain.concat().into_bytes();
        if let Some(page) = page(&plain, bits) {
            prop_assert_eq!(whole(&page).unwrap(), plain.clone());
            prop_assert!(page.len() <= plain.len() + HEAD.len() + usize::from(PADDING_MAX_BYTES) + 8);
        }
    }
}

#[test]
fn a_frame_larger_than_a_stored_block_is_several() {
    for bytes in [STORED_MAX_BYTES, STORED_MAX_BYTES + 1, 3 * STORED_MAX_BYTES + 7] {
        let mut member = Member::default();
        let plain = vec![b'x'; bytes];
        let mut sent = member.begin().unwrap().to_vec();
        sent.extend_from_slice(&member.add(pressed(&plain, Effort::Passing)));
        sent.extend_from_slice(&member.end().unwrap());
        assert_eq!(whole(&sent).unwrap(), plain);
    }
}

#[test]
fn short_frames_and_those_of_one_stream_are_stored_and_what_is_shared_is_deflated() {
    let text = |bytes: usize| "aviso ".repeat(bytes).into_bytes()[..bytes].to_vec();
    let stored =
        |plain: &[u8], effort| pressed(plain, effort).len() == NOTE_BYTES + STORED_HEAD_BYTES + plain.len();
    assert!(stored(&text(DEFLATED_MIN_BYTES - 1), Effort::Shared));
    assert!(!stored(&text(DEFLATED_MIN_BYTES), Effort::Shared));
    assert!(stored(&text(4_000), Effort::Passing));
}

#[test]
fn what_cannot_be_made_shorter_is_stored() {
    // A multiplication by an odd number scatters the bits well enough.
    let noise: Vec<u8> = (1..4_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let piece = pressed(&noise, Effort::Shared);
    assert!(piece.len() <= NOTE_BYTES + STORED_HEAD_BYTES + noise.len());
    assert_eq!(page(&[], 7), None);
}

#[test]
fn a_stream_holds_a_few_dozen_bytes_to_be_compressed() {
    let bytes = size_of::<Option<Member>>();
    assert!(bytes <= 40, "{bytes} bytes");
}

#[test]
fn an_empty_frame_stays_empty_and_adds_nothing() {
    let mut member = Member::default();
    assert!(pressed(b"", Effort::Shared).is_empty());
    assert!(member.add(Bytes::new()).is_empty());
    member.begin();
    assert_eq!(member.end().unwrap().as_ref(), [3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_member_says_once_what_it_saved() {
    let mut member = Member::default();
    assert_eq!(member.uncounted(), None);
    member.begin();
    let plain = "aviso ".repeat(200);
    let sent =
        HEAD.len() + member.add(pressed(plain.as_bytes(), Effort::Shared)).len() + member.comment().len();
    let saved = member.uncounted().unwrap();
    assert_eq!(
        saved,
        Saved {
            plain: plain.len() + 3,
            sent
        }
    );
    assert!(saved.sent < saved.plain / 4);
    assert_eq!(member.uncounted(), None);
}
