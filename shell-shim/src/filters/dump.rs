//! `stdpkt dump`: the left link as a capture.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use shmring::RecvError;

use super::{Work, left};
use crate::name::NameArg;
use cable::stream_tx::{Malformed, now};
use cable::{BATCH, Cable, CablePlan};
use frames::Packets;
use frames::capture::{Encoder, Format};

/// What a capture looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// The format every tool reads
    Pcap,
    /// Its successor, with nanoseconds
    Pcapng,
    /// One packet a line: time, destination, source, type, payload octets
    Hex,
    /// Offset and octets, line by line, as text2pcap and xxd -r read them
    Hexdump,
}

impl FormatArg {
    /// In the words of [`frames`].
    pub fn format(self) -> Format {
        match self {
            FormatArg::Pcap => Format::Pcap,
            FormatArg::Pcapng => Format::Pcapng,
            FormatArg::Hex => Format::Hex,
            FormatArg::Hexdump => Format::Hexdump { time: false },
        }
    }
}

/// `stdpkt dump`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt run --right 10.0.0.1/24 -- ping -c3 10.0.0.2 | stdpkt dump
  stdpkt dump --write all.pcap
  stdpkt dump --format pcapng | wireshark -k -i -")]
pub struct DumpArgs {
    /// What to write: hex on a terminal and pcap elsewhere, unless told
    #[arg(long, value_enum)]
    pub format: Option<FormatArg>,

    /// With --format hexdump: the time on a line before each packet, in seconds since
    /// 1970, for text2pcap -t %s.%f
    #[arg(long)]
    pub time: bool,

    /// Write here instead of standard output
    #[arg(short, long = "write", value_name = "FILE")]
    pub write: Option<PathBuf>,

    /// What it is called.
    #[command(flatten)]
    pub name: NameArg,
}

/// Writes what comes from the left until it ends.
///
/// # Errors
/// One line that names the file or link. A reader that has had enough is none.
pub fn run(args: &DumpArgs) -> Result<u8> {
    args.name.introduce(&[], "dump");
    let terminal = args.write.is_none() && io::stdout().is_terminal();
    let usual = if terminal { FormatArg::Hex } else { FormatArg::Pcap };
    let format = match args.format.unwrap_or(usual) {
        FormatArg::Pcap | FormatArg::Pcapng if terminal => {
            bail!("standard output is a terminal: give -w FILE, or --format hex")
        }
        FormatArg::Hexdump => Format::Hexdump { time: args.time },
        _ if args.time => bail!("--time: only with --format hexdump, the others have it"),
        format => format.format(),
    };
    let plan = CablePlan { expects_both_ways: false, ..left()? };
    let mut dump = Dump {
        out: Output::open(args.write.as_deref())?,
        encoder: Encoder(format),
        packets: Packets::default(),
        frame: Vec::new(),
        buffer: Vec::new(),
        malformed: Malformed::default(),
        ended: false,
    };
    dump.encoder.begin(&mut dump.buffer);
    dump.write()?;
    let status = super::run(vec![plan], None, &mut dump)?;
    dump.malformed.tell(&dump.out.what);
    Ok(status)
}

struct Output {
    file: Box<dyn Write>,
    what: String,
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Output> {
        let Some(path) = path else {
            return Ok(Output { file: Box::new(io::stdout()), what: "standard output".into() });
        };
        let what = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(Output { file: Box::new(file), what }),
            Err(error) => bail!("{what}: {error}"),
        }
    }
}

struct Dump {
    out: Output,
    encoder: Encoder,
    packets: Packets,
    frame: Vec<u8>,
    buffer: Vec<u8>,
    malformed: Malformed,
    /// The reader has had enough.
    ended: bool,
}

impl Dump {
    fn write(&mut self) -> Result<()> {
        // One write for what is there, so that packets are seen as they come.
        let written = self.out.file.write_all(&self.buffer).and_then(|()| self.out.file.flush());
        self.buffer.clear();
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.ended = true;
                Ok(())
            }
            Err(error) => bail!("{}: {error}", self.out.what),
        }
    }
}

impl Work for Dump {
    fn turn(&mut self, cables: &mut [Cable]) -> Result<bool> {
        let mut busy = false;
        let Dump { encoder, packets, frame, buffer, malformed, .. } = self;
        cables[0].retain(|joined| {
            let Some(rx) = &mut joined.rx else { return true };
            for _ in 0..BATCH {
                let received = rx.receive(|bytes| {
                    bytes.copy_into(frame);
                    (true, ())
                });
                match received {
                    Ok(()) => busy = true,
                    Err(RecvError::Empty) => break,
                    Err(error) => {
                        joined.end_rx(&error);
                        return false;
                    }
                }
                // A packet that comes from a capture keeps its time.
                let time = rx.as_stream().and_then(|stream| stream.time()).unwrap_or_else(now);
                let written = packets.each(frame, |packet| encoder.packet(time, packet, buffer));
                if let Err(error) = written {
                    malformed.count(error);
                }
            }
            rx.return_room();
            true
        });
        if !self.buffer.is_empty() {
            self.write()?;
        }
        Ok(busy)
    }

    fn arm(&mut self, cables: &mut [Cable]) -> bool {
        cables[0].links().filter_map(|joined| joined.rx.as_mut()).all(|rx| rx.arm())
    }

    fn is_over(&self, cables: &[Cable]) -> bool {
        self.ended || cables[0].is_gone()
    }
}
