//! What this network namespace knows of connections (ctnetlink), as bytes, and back.
//!
//! `conntrack -L -o save` leaves out marks and the ports of translations, so that a connection
//! through a forwarded port would go on elsewhere. Here the kernel's own messages are carried.

mod entry;

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::Socket;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::ask;
use entry::{Entry, Table};

/// `stdpkt conntrack`, a part of `swap --state conntrack`.
#[derive(Debug, Args)]
pub struct ConntrackArgs {
    /// Which way.
    #[arg(value_enum)]
    way: Way,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    /// To standard output.
    Save,
    /// From standard input.
    Load,
}

/// Saves or loads.
///
/// # Errors
/// One line: the kernel refuses, or that is no such state.
pub fn run(args: &ConntrackArgs) -> Result<u8> {
    match args.way {
        Way::Save => io::stdout().write_all(&save()?).context("standard output")?,
        Way::Load => {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes).context("standard input")?;
            load(&bytes)?;
        }
    }
    Ok(0)
}

fn socket() -> Result<Socket> {
    ask::socket(NETLINK_NETFILTER, &[]).context("conntrack: no socket (NETLINK_NETFILTER)")
}

/// All entries, then all connections that are expected.
fn save() -> Result<Vec<u8>> {
    let socket = socket()?;
    let mut bytes = Vec::new();
    for table in [Table::Connections, Table::Expected] {
        let question = Entry::question(table);
        ask::each(&socket, question, |entry| bytes.extend(message(entry, 0)))
            .context("conntrack: this kernel does not tell (CONFIG_NF_CT_NETLINK)")?;
    }
    Ok(bytes)
}

fn load(bytes: &[u8]) -> Result<()> {
    let socket = socket()?;
    let mut entries = parse(bytes).context("conntrack: this was not saved by stdpkt")?;
    // Whoever belongs to another one comes after it.
    entries.sort_by_key(Entry::is_dependent);
    let count = entries.len();
    let mut failures = 0;
    let mut last = None;
    for entry in entries {
        let Some(entry) = entry.for_another()? else { continue };
        if let Err(error) = create(&socket, entry) {
            failures += 1;
            last = Some(error);
        }
    }
    match last {
        None => Ok(()),
        Some(error) => bail!(
            "conntrack: {failures} of {count} connections were not taken, the last one for: {error}: load the rules that they are for before (--state iptables-save, --state 'nft list ruleset')"
        ),
    }
}

fn create(socket: &Socket, entry: Entry) -> io::Result<()> {
    socket.send(&message(entry, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match NetlinkMessage::<Entry>::deserialize(&answer).map_err(io::Error::other)?.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        _ => Ok(()),
    }
}

fn message(entry: Entry, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(entry));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn parse(mut bytes: &[u8]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let message = NetlinkMessage::<Entry>::deserialize(bytes)?;
        let length = (message.header.length as usize).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
        match message.payload {
            NetlinkPayload::InnerMessage(entry) => entries.push(entry),
            _ => bail!("a message of another kind"),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
