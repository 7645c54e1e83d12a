use super::*;

fn request() -> Request {
    Request::new(Mode::RequestResponse, 1448, Duration::from_secs(5)).unwrap()
}

#[test]
fn messages_survive_the_round_trip() {
    assert_eq!(Request::decode(&request().encode()), Ok(request()));
    for kind in [Kind::Refused, Kind::Accepted, Kind::Progress, Kind::Done] {
        let reply = Reply::new(kind, u64::MAX - 1, Duration::from_nanos(7));
        assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }
}

#[test]
fn the_request_layout_is_the_documented_one() {
    let bytes = Request::new(Mode::Stream, 65536, Duration::from_millis(1500)).unwrap().encode();
    let expected = b"STDPKTPF\x01\x00\x01\x00\x00\x00\x01\x00\xdc\x05\x00\x00\x00\x00\x00\x00";
    assert_eq!(&bytes, expected);
}

#[test]
fn each_bad_field_of_a_request_is_named() {
    let bad = |at: usize, with: &[u8]| {
        let mut bytes = request().encode();
        bytes[at..at + with.len()].copy_from_slice(with);
        Request::decode(&bytes).unwrap_err()
    };
    assert_eq!(bad(0, b"GET / HT"), NoMessage::Magic);
    assert_eq!(bad(8, &[2, 1]), NoMessage::Version(0x0102));
    assert_eq!(bad(10, &[0]), NoMessage::Mode(0));
    assert_eq!(bad(10, &[3]), NoMessage::Mode(3));
    assert_eq!(bad(11, &[1]), NoMessage::Reserved);
    assert_eq!(bad(12, &[0; 4]), NoMessage::Size(0));
    assert_eq!(bad(12, &(MAX_SIZE + 1).to_le_bytes()), NoMessage::Size(MAX_SIZE + 1));
    assert_eq!(bad(12, &[0xff; 4]), NoMessage::Size(u32::MAX));
    assert_eq!(bad(16, &[0; 8]), NoMessage::Duration(0));
    assert_eq!(bad(16, &86_400_001u64.to_le_bytes()), NoMessage::Duration(86_400_001));
    assert_eq!(bad(16, &[0xff; 8]), NoMessage::Duration(u64::MAX));
}

#[test]
fn the_limits_themselves_are_allowed() {
    assert!(Request::new(Mode::Stream, MAX_SIZE, MAX_DURATION).is_ok());
    assert!(Request::new(Mode::Stream, 1, Duration::from_millis(1)).is_ok());
    assert!(Request::new(Mode::Stream, 1, Duration::from_micros(999)).is_err());
}
