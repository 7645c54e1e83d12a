//! Hex dumps: offset and octets, line by line, as text2pcap, xxd, od, hexdump,
//! tcpdump -xx and tshark -x write them. Each offset of zero begins a packet.

use std::io::Write;
use std::time::Duration;

use super::linktype::{ETHERNET, RAW};
use super::record::{Record, Step};
use super::text::{self, line, octets, shown, write_octet};
use super::{MAX_PACKET, pcap, pcapng};

/// Octets of a line that we write.
const WIDTH: usize = 16;

/// Appends a packet, an empty line behind it, so that a reader sees its end.
pub(super) fn write(time: Option<Duration>, packet: &[u8], out: &mut Vec<u8>) {
    // A Vec takes all that is written.
    if let Some(time) = time {
        let _ = writeln!(out, "{}.{:09}", time.as_secs(), time.subsec_nanos());
    }
    for (at, octets) in packet.chunks(WIDTH).enumerate() {
        let _ = write!(out, "{:06x}", at * WIDTH);
        for &octet in octets {
            out.push(b' ');
            write_octet(octet, out);
        }
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// Where a dump has been read to.
#[derive(Debug, Default)]
pub(super) struct Hexdump {
    packet: Vec<u8>,
    /// Whether a packet has begun.
    open: bool,
    /// Where in the packet the last line begins.
    last_line: usize,
    /// A `*` stands for lines like the last.
    repeat: bool,
    /// The base of offsets, once that is known.
    radix: Option<u32>,
    /// What stood before the packet.
    time: Option<Duration>,
    /// A packet is dumped once more in another form, which is passed over.
    again: Option<Again>,
}

/// How far the other form of a packet has been passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Announced,
    Begun,
}

/// A line that has an offset and octets.
struct Dumped<'a> {
    offset: &'a [u8],
    octets: Vec<u8>,
    /// What stands there in the place of octets.
    wrong: Option<String>,
}

/// Whether a line begins the dump of a packet.
///
/// # Errors
/// What is wrong with a line that does.
pub(super) fn begins(line: &[u8]) -> Result<bool, String> {
    match parse(line) {
        Some(dumped) if dumped.is_zero() => dumped.wrong.map_or(Ok(!dumped.octets.is_empty()), Err),
        _ => Ok(false),
    }
}

impl Hexdump {
    /// The next line, or the packet that is complete before it.
    pub fn step<'a>(&'a mut self, data: &[u8], last: bool) -> Result<Step<'a>, String> {
        let Some((line, len)) = line(data, last)? else {
            return Ok(if last && self.open { self.complete() } else { Step::More });
        };
        let skip = Step::Skip(len as u64);
        let line = line.trim_ascii();
        if line.starts_with(b"#") {
            return Ok(skip);
        }
        if line == b"*" && self.open {
            self.repeat = true;
            return Ok(skip);
        }
        let mut dumped = parse(line);
        if let Some(Dumped { offset, wrong: Some(wrong), .. }) = &dumped {
            // Other text may begin with a number, too.
            if self.open && self.offset(offset) == Some(self.packet.len()) {
                return Err(wrong.clone());
            }
            dumped = None;
        }
        if self.is_passed_over(dumped.is_some()) {
            return Ok(skip);
        }
        let Some(dumped) = dumped else {
            if self.open {
                return Ok(self.complete()); // and then this line once more
            }
            self.remark(line);
            return Ok(skip);
        };
        match (self.open, dumped.is_zero() && !dumped.octets.is_empty()) {
            (true, true) => return Ok(self.complete()),
            (false, true) => self.begin(dumped.octets)?,
            (true, false) => self.go_on(&dumped)?,
            (false, false) => {
                let offset = shown(dumped.offset);
                return Err(format!("offset {offset} where a packet begins, which is at 0"));
            }
        }
        Ok(skip)
    }

    /// Whether a packet has begun that is not yet complete.
    pub fn is_open(&self) -> bool {
        self.open
    }

    fn begin(&mut self, octets: Vec<u8>) -> Result<(), String> {
        let version = octets.get(4..8).is_some_and(|v| v == [2, 0, 4, 0] || v == [0, 2, 0, 4]);
        if pcap::begins(&octets) && version || pcapng::begins(&octets) == Some(true) {
            return Err("the dump of a capture, not of packets: read the capture itself".to_owned());
        }
        (self.packet, self.open, self.last_line, self.repeat) = (octets, true, 0, false);
        Ok(())
    }

    /// A further line of a packet, or the offset behind the last.
    fn go_on(&mut self, dumped: &Dumped<'_>) -> Result<(), String> {
        let expected = self.packet.len();
        let offset = self.offset(dumped.offset);
        let line = self.last_line..expected;
        match offset {
            Some(offset) if offset == expected => {}
            Some(offset) if offset > expected && self.repeat && offset <= MAX_PACKET => {
                let again: Vec<u8> = self.packet[line].to_vec();
                self.packet.extend(again.iter().cycle().take(offset - expected));
            }
            // What looked like octets was the text beside them.
            Some(offset) if line.contains(&offset) && offset > line.start => {
                self.packet.truncate(offset);
            }
            _ => {
                let offset = shown(dumped.offset);
                return Err(format!("offset {offset} behind {expected:#x} bytes of a packet"));
            }
        }
        self.repeat = false;
        self.last_line = self.packet.len();
        self.packet.extend_from_slice(&dumped.octets);
        if self.packet.len() > MAX_PACKET {
            return Err(format!("a packet of more than {MAX_PACKET} bytes"));
        }
        Ok(())
    }

    /// What an offset says. Those of od have seven digits and are octal unless told,
    /// and may be decimal: the first that is right in one base tells.
    fn offset(&mut self, digits: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(digits).ok()?;
        let in_base = |radix: u32| usize::from_str_radix(text, radix).ok();
        if self.radix.is_none() && digits.len() == 7 {
            let right = |radix: &u32| in_base(*radix) == Some(self.packet.len());
            match [16, 10, 8].into_iter().filter(right).collect::<Vec<u32>>()[..] {
                [] => {}
                [one] => self.radix = Some(one),
                _ => return Some(self.packet.len()),
            }
        }
        in_base(self.radix.unwrap_or(16))
    }

    /// The packet is complete.
    fn complete(&mut self) -> Step<'_> {
        self.open = false;
        let link = if is_ip(&self.packet) { RAW } else { ETHERNET };
        let time = self.time.take();
        Step::Record(
            0,
            Record { link, bytes: &self.packet, original: self.packet.len(), fcs: 0, time },
        )
    }

    /// A line of text between packets: perhaps it begins with a time, or says
    /// that what follows was dumped already.
    fn remark(&mut self, line: &[u8]) {
        let mut words = line.split(u8::is_ascii_whitespace);
        let first = words.next().unwrap_or_default();
        // text2pcap's directions.
        let word = if matches!(first, b"I" | b"O") { words.next() } else { Some(first) };
        // Bits, as `010. .... = Flags`, are no time.
        let is_time = |word: &&[u8]| word.contains(&b'.') && !word.ends_with(b".");
        let time = word.filter(is_time).and_then(text::time);
        self.time = time.flatten().or(self.time);
        if line.ends_with(b" bytes):") && !line.starts_with(b"Frame (") {
            self.again = Some(Again::Announced);
        }
    }

    fn is_passed_over(&mut self, is_dump: bool) -> bool {
        match self.again {
            Some(_) if is_dump => {
                self.again = Some(Again::Begun);
                return true;
            }
            Some(Again::Begun) => self.again = None,
            _ => {}
        }
        false
    }
}

impl Dumped<'_> {
    fn is_zero(&self) -> bool {
        self.offset.iter().all(|&digit| digit == b'0')
    }
}

/// Takes a line apart; `None` if it has no offset.
fn parse(line: &[u8]) -> Option<Dumped<'_>> {
    let line = line.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (offset, mut rest) = line.split_at(end);
    let prefixed = offset.strip_prefix(b"0x").unwrap_or(offset);
    let offset = prefixed.strip_suffix(b":").unwrap_or(prefixed);
    let has_colon = offset.len() < prefixed.len();
    // Fewer than three digits are octets themselves, or a number of something.
    if !(3..=8).contains(&offset.len()) || !offset.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let (mut found, mut wrong) = (Vec::new(), None);
    loop {
        let gap = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let end = rest[gap..].iter().position(u8::is_ascii_whitespace);
        let (word, after) = rest[gap..].split_at(end.unwrap_or(rest.len() - gap));
        // Text stands apart. Some leave a gap in the middle of a line, too.
        let is_middle = gap == 2 && found.len() == 8 && !has_colon;
        if word.is_empty() || word[0] == b'|' || gap > 1 && !found.is_empty() && !is_middle {
            break;
        }
        match octets(word, &mut found) {
            Ok(()) if word.len() == 2 || has_colon && word.len() <= 8 => rest = after,
            Ok(()) => wrong = Some(WORDS.to_owned()),
            Err(why) => wrong = Some(why),
        }
        if wrong.is_some() {
            break;
        }
    }
    Some(Dumped { offset, octets: found, wrong })
}

/// Why words are not taken.
const WORDS: &str = "a dump of words, in an order of bytes that only who wrote them knows: \
                     use `od -Ax -tx1 -v` or `hexdump -C`";

/// Whether a packet is IP with no header of a link before it, as `tcpdump -x` dumps it.
fn is_ip(packet: &[u8]) -> bool {
    let half =
        |at: usize| packet.get(at..at + 2).map(|b| usize::from(b[0]) << 8 | usize::from(b[1]));
    match packet.first().map_or(0, |byte| byte >> 4) {
        4 => {
            let header = usize::from(packet[0] & 15) * 4;
            let is_whole = half(2) == Some(packet.len()) && (20..=packet.len()).contains(&header);
            let sum = || etherparse::checksum::Sum16BitWords::new().add_slice(&packet[..header]);
            is_whole && sum().ones_complement() == 0
        }
        6 => half(4).is_some_and(|len| len + 40 == packet.len()),
        _ => false,
    }
}
