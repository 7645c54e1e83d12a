//! Hex text and hex dumps.

use std::time::Duration;

use super::*;

#[test]
fn hex_text_is_what_awk_and_sed_expect() {
    let packet = [0xff; 6].into_iter().chain([2, 0, 0, 0, 0, 1, 8, 6, 0, 0xab]).collect();
    let line = encode(Format::Hex, &[packet]);
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "1700000000.123456789 FFFFFFFFFFFF 020000000001 0806 00 AB\n"
    );
    let text = b"# a comment\n\n0 ffffffffffff 020000000001 0806 00AB # and more\r\n\
                 0123456789abcdef FFFFFFFFFFFF 020000000001 0806 00 AB\n\
                 1.7e+09 FFFFFFFFFFFF 020000000001 0806 00 AB";
    let all = read(text, 5).unwrap();
    assert_eq!(all.packets.len(), 3);
    let e9 = Duration::from_secs(1_700_000_000);
    assert_eq!(all.times, [None, None, Some(e9)]);
    assert_eq!(decode(b"# no packets\n", 3), Ok(vec![]));
}

#[test]
fn a_line_of_hex_text_is_all_that_it_promises() {
    let first = "0 ffffffffffff 020000000001 0806\n";
    let order = "a line is time, destination, source, type, payload";
    for (line, said) in [
        ("0 ffffffffffff 02000000001 0806", "`02000000001` is no source of 12 hex digits"),
        ("ffffffffffff 020000000001 0806 00", "`ffffffffffff` is no time, in seconds or 0"),
        // All digits, so it could be a time.
        ("020000000002 020000000001 0806 00 01", "`020000000002` is no time, in seconds or 0"),
        ("0 ffffffffffff 020000000001 00", "`00` is no type of 4 hex digits"),
        ("0 ffffffffffff 020000000001 00 0102", "`00` is no type of 4 hex digits"),
        ("0 ffffffffffff 0806", "`0806` is no source of 12 hex digits"),
        ("0 ffffffffffff 020000000001", "no type"),
    ] {
        assert_eq!(
            error(format!("{first}{line}\n").as_bytes()),
            format!("x, line 2: {said}: {order}")
        );
        assert_eq!(
            error(format!("{line}\n{first}").as_bytes()),
            format!("x, line 1: {said}: {order}")
        );
    }
    for (line, said) in [
        ("0 ffffffffffff 020000000001 0806 0", "`0` has an odd number of hex digits"),
        ("0 ffffffffffff zz0000000001 0806", "`zz0000000001` is not made of hex digits"),
    ] {
        assert_eq!(error(line.as_bytes()), format!("x, line 1: {said}"));
    }
}

#[test]
fn a_type_may_be_what_is_left_without_a_tag() {
    let tagged = "0 FFFFFFFFFFFF 020000000001 8100 00 01 08 06 00 AB\n";
    let packet = decode(tagged.replace("8100 00 01 ", "").as_bytes(), 7).unwrap();
    assert_eq!(packet[0][12..], [8, 6, 0, 0xab]);
}

#[test]
fn other_text_is_named() {
    assert_eq!(
        error(b"hello, world\n"),
        "x, line 1: begins with `hello, world`, which is neither hex text (time, destination, \
         source, type, payload) nor a hex dump (offset, octets)"
    );
    let tcpdump = b"12:34:56.789012 IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 1, seq 1\n";
    assert!(error(tcpdump).contains("text of tcpdump: let it write packets"), "{}", error(tcpdump));
    let words = b"0000000 ffff ffff ffff 0002 0000 0100\n";
    assert!(error(words).contains("a dump of words"), "{}", error(words));
    let of_a_pcap = b"000000 d4 c3 b2 a1 02 00 04 00 00 00\n";
    assert!(error(of_a_pcap).contains("the dump of a capture"), "{}", error(of_a_pcap));
}

/// Octets from 0 on, of which the packets of dumps here are made.
fn counted(len: u8) -> Vec<u8> {
    (0..len).collect()
}

#[test]
fn dumps_of_every_tool_are_read() {
    let xxd = "00000000: 0001 0203 0405 0607 0809 0a0b 0c0d 0e0f  ................\n\
               00000010: 1011 1213                                ....\n";
    let xxd_of_one = "00000000: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  ab cd ef 01 23 45\n\
                      00000010: 10 11 12 13                                      ab cd\n";
    let hexdump = "00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |ab cd ef 01 23 45|\n\
                   00000010  10 11 12 13                                       |ab c|\n00000014\n";
    let od = "000000 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f\n000010 10 11 12 13\n000014\n";
    let octal = "0000000 00 01 02 03 04 05 06 07\n0000010 08 09 0a 0b 0c 0d 0e 0f\n\
                 0000020 10 11 12 13\n0000024\n";
    let decimal = "0000000 00 01 02 03 04 05 06 07\n0000008 08 09 0a 0b 0c 0d 0e 0f\n\
                   0000016 10 11 12 13\n0000020\n";
    let tcpdump = "17:00:00.000001 IP 10.0.0.1 > 10.0.0.2: x\n\
                   \t0x0000:  0001 0203 0405 0607 0809 0a0b 0c0d 0e0f  ................\n\
                   \t0x0010:  1011 1213                                ....\n";
    let tshark = "    1   0.000000 10.0.0.1 → 10.0.0.2 UDP\n\n\
                  Frame (20 bytes):\n\
                  0000  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f   ab cd..\n\
                  0010  10 11 12 13                                       ....\n\n\
                  Reassembled TCP (999 bytes):\n\
                  0000  aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa   ab cd..\n\
                  0010  aa aa aa aa                                       ....\n\n";
    for dump in [xxd, xxd_of_one, hexdump, od, octal, decimal, tcpdump, tshark] {
        let twice = format!("{dump}{dump}");
        for piece in [1, 1000] {
            let got = decode(twice.as_bytes(), piece);
            assert_eq!(got, Ok(vec![counted(20), counted(20)]), "{dump}");
        }
        let bare = dump.trim_end().as_bytes();
        assert_eq!(decode(bare, 1000), Ok(vec![counted(20)]), "{dump}");
    }
}

#[test]
fn lines_that_are_left_out_are_filled_in() {
    let dump = "000000 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n*\n\
                000040 01 02\n*\n";
    let want = [&[0; 64][..], &[1, 2]].concat();
    assert_eq!(decode(dump.as_bytes(), 5), Ok(vec![want]));
    let to_the_end = "000000 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f\n*\n00002f\n";
    let want: Vec<u8> = counted(16).into_iter().cycle().take(47).collect();
    assert_eq!(decode(to_the_end.as_bytes(), 5), Ok(vec![want]));
    let absurd = "000000 00 01\n*\nffffff\n";
    assert!(error(absurd.as_bytes()).contains("line 3: offset ffffff behind 0x2 bytes"));
}

#[test]
fn times_and_directions_stand_before_a_dump() {
    let octets = "000000 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f\n";
    let text = format!("1700000000.5\n{octets}\nI 1700000001.25\n{octets}{octets}");
    let all = read(text.as_bytes(), 9).unwrap();
    let time = |millis| Some(Duration::from_secs(1_700_000_000) + Duration::from_millis(millis));
    assert_eq!(all.times, [time(500), time(1250), None]);
    let written = encode(Format::Hexdump { time: true }, &[counted(18)]);
    assert_eq!(
        String::from_utf8(written).unwrap(),
        "1700000000.123456789\n000000 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F\n\
         000010 10 11\n\n"
    );
}

#[test]
fn ip_without_a_header_before_it_gets_one() {
    let dump = "\t0x0000:  4500 0014 0000 0000 4011 66d7 0a00 0001\n\t0x0010:  0a00 0002\n";
    let packets = decode(dump.as_bytes(), 100).unwrap();
    assert_eq!(packets[0][..14], [2, b'r', 10, 0, 0, 2, 2, b'r', 10, 0, 0, 1, 8, 0]);
}

#[test]
fn mistakes_of_a_dump_have_their_line() {
    let first = "000000 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f\n";
    for (line, said) in [
        ("000020 00", "offset 000020 behind 0x10 bytes of a packet"),
        ("000010 zz", "`zz` is not made of hex digits"),
        ("000010 00 0", "`0` has an odd number of hex digits"),
        ("000010 0001", "a dump of words, in an order of bytes that only who wrote them knows"),
        ("\n000010 00", "offset 000010 where a packet begins, which is at 0"),
    ] {
        let said = if line.starts_with('\n') {
            format!("line 3: {said}")
        } else {
            format!("line 2: {said}")
        };
        let error = error(format!("{first}{line}\n").as_bytes());
        assert!(error.contains(&said), "{line}: {error}");
    }
}

#[test]
fn a_dump_below_its_dissection_is_read() {
    let bits = "    Differentiated Services Field: 0x00\n        0000 00.. = Default (0)\n    \
                010. .... = Flags: 0x2\n    0000 0000 = Reserved\n";
    // More than other text may be long.
    let dissected = |n: u32| format!("Frame {n}: 16 bytes on wire\n{}\n", bits.repeat(40));
    let dump = "0000  ff ff ff ff ff ff 02 00 00 00 00 01 08 06 00 ab   ................\n\n";
    let text = [dissected(1), dump.to_owned(), dissected(2), dump.to_owned()].concat();
    for piece in [1, 7, text.len()] {
        let all = read(text.as_bytes(), piece).unwrap();
        assert_eq!((all.packets.len(), &all.times[..]), (2, &[None, None][..]));
        assert!(all.packets.iter().all(|packet| packet.ends_with(&[0, 0xab])));
    }
    let alone = dissected(1);
    assert!(error(alone.as_bytes()).starts_with("x, line 1: begins with `Frame 1: 16 byte`"));
}
