//! `include/shmring.h` says the same as this crate.

use std::fmt::Write;
use std::mem::offset_of;
use std::process::Command;

use super::*;
use crate::handshake::{self, Kind, Knock, Message, Offer};
use crate::role::Role;

#[path = "../../tests/support/cc.rs"]
mod cc;

/// `text` is a body of main() that prints; returns what it says.
fn said_by_c(text: &str, check: impl Fn(&[u8])) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    let text = format!("#include \"shmring.h\"\nint main(void) {{\n{text}}}\n");
    cc::with_each_compiler(&text, &program, |compiler| {
        let output = Command::new(&program).output().unwrap();
        assert!(output.status.success(), "{compiler}: {output:?}");
        check(&output.stdout);
    });
}

#[test]
fn fields_are_where_they_are_here() {
    macro_rules! fields {
        ($($c:literal $rust:ty: $($field:ident)*;)*) => {
            [$($(($c, stringify!($field), offset_of!($rust, $field))),*),*]
        };
    }
    let fields = fields! {
        "shmring_header" Header: magic version max_frame capacity pipe_dev pipe_ino tail
            producer_closed row head consumer_closed consumer_waiting producer_waiting producer
            consumer taken;
        "shmring_side" SideBlock: frames bytes drops stalls wakeups pid label_len label;
    };
    let (mut program, mut expected) = (String::new(), String::new());
    for (of, field, at) in fields {
        writeln!(program, "printf(\"{of} {field} %zu\\n\", offsetof(struct {of}, {field}));")
            .unwrap();
        writeln!(expected, "{of} {field} {at}").unwrap();
    }
    for (name, value) in [
        ("SHMRING_VERSION", VERSION as usize),
        ("SHMRING_HEADER_LEN", HEADER_LEN),
        ("SHMRING_RECORD_HEADER", RECORD_HEADER),
        ("SHMRING_LABEL_LEN", LABEL_LEN),
        ("SHMRING_HANDSHAKE_VERSION", handshake::VERSION as usize),
        ("sizeof(struct shmring_message)", handshake::LEN),
        ("sizeof(struct shmring_knock)", handshake::KNOCK_LEN),
        ("(int)shmring_record_len(0)", record_len(0)),
        ("(int)shmring_record_len(65600)", record_len(65_600)),
        ("(int)shmring_record_len(65601)", record_len(65_601)),
    ] {
        writeln!(program, "printf(\"{name} %d\\n\", (int)({name}));").unwrap();
        writeln!(expected, "{name} {value}").unwrap();
    }
    writeln!(program, "fwrite(SHMRING_MAGIC, 8, 1, stdout);").unwrap();
    let expected = [expected.as_bytes(), &MAGIC].concat();
    said_by_c(&program, |said| {
        assert_eq!(String::from_utf8_lossy(said), String::from_utf8_lossy(&expected));
    });
}

#[test]
fn messages_are_the_same_bytes() {
    let offer = Offer { label: "left".into(), capacity: 1 << 20, features: 5, ..Offer::default() };
    let message = Message::new(Kind::Welcome, Role::Reader, &offer).encode();
    let knock = Knock { nonce: 7 << 40, role: Role::Either, turned_away: false }.encode();
    let program = "
        struct shmring_message message = {SHMRING_HANDSHAKE_MAGIC, SHMRING_HANDSHAKE_VERSION,
            SHMRING_WELCOME, SHMRING_READER, 0, 1, 65600, 1 << 20, 5, 0, 4, \"left\"};
        struct shmring_knock knock = {SHMRING_HANDSHAKE_MAGIC, SHMRING_HANDSHAKE_VERSION,
            SHMRING_KNOCK, SHMRING_EITHER, 0, UINT64_C(7) << 40};
        fwrite(&message, sizeof message, 1, stdout);
        fwrite(&knock, sizeof knock, 1, stdout);
        fwrite(SHMRING_ALIVE, 8, 1, stdout);
    ";
    let expected = [&message[..], &knock, &handshake::ALIVE].concat();
    said_by_c(program, |said| assert_eq!(said, expected));
}
