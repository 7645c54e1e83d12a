//! What the function and its keeper say to each other, over a stream socket.
//!
//! A request is a tag byte, the length of its body (`u32`), the body. A reply
//! is an `i32`. All in native order: both ends are one program.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Result, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What the keeper is asked. To `Setup` and `Command` it answers twice: with
/// an errno, 0 if the program was started, then with its exit status once it
/// has ended. `Signal` is not answered.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    /// Run this with `sh -c`, its output on standard error.
    Setup(OsString),
    /// Run this program with these arguments.
    Command(Vec<OsString>),
    /// Look whether there is this program; answered with an errno, and only once.
    Look(OsString),
    /// Send this signal number to the program that runs.
    Signal(i32),
}

impl Request {
    pub(super) fn send(&self, mut to: impl Write) -> Result<()> {
        let (tag, body) = match self {
            Self::Setup(script) => (b'S', script.as_bytes().to_vec()),
            // No argument can hold a NUL.
            Self::Command(argv) => (b'C', argv.join(OsStr::new("\0")).into_vec()),
            Self::Look(program) => (b'L', program.as_bytes().to_vec()),
            Self::Signal(number) => (b'K', number.to_ne_bytes().to_vec()),
        };
        let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
        to.write_all(&[&[tag], &length.to_ne_bytes()[..], &body].concat())
    }

    /// The next request; an error of kind `UnexpectedEof` once the function
    /// is gone.
    pub(super) fn receive(mut from: impl Read) -> Result<Self> {
        let (mut tag, mut length) = ([0], [0; 4]);
        from.read_exact(&mut tag)?;
        from.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_ne_bytes(length) as usize];
        from.read_exact(&mut body)?;
        Ok(match tag {
            [b'S'] => Self::Setup(OsString::from_vec(body)),
            [b'C'] => Self::Command(
                body.split(|&b| b == 0).map(|arg| OsStr::from_bytes(arg).to_owned()).collect(),
            ),
            [b'L'] => Self::Look(OsString::from_vec(body)),
            _ => Self::Signal(i32::from_ne_bytes(
                body.try_into().map_err(|_| std::io::ErrorKind::InvalidData)?,
            )),
        })
    }
}

pub(super) fn send_reply(mut to: impl Write, value: i32) -> Result<()> {
    to.write_all(&value.to_ne_bytes())
}

pub(super) fn receive_reply(mut from: impl Read) -> Result<i32> {
    let mut value = [0; 4];
    from.read_exact(&mut value)?;
    Ok(i32::from_ne_bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_arrive_as_sent() {
        let requests = [
            Request::Setup("ip link; echo é".into()),
            Request::Setup("".into()),
            Request::Command(vec!["ping".into(), "".into(), OsString::from_vec(vec![0xff, b'\n'])]),
            Request::Command(vec!["x".repeat(3 << 20).into()]),
            Request::Look("ping".into()),
            Request::Signal(15),
        ];
        let mut stream = Vec::new();
        requests.iter().for_each(|request| request.send(&mut stream).unwrap());
        let mut from = stream.as_slice();
        for request in &requests {
            assert_eq!(&Request::receive(&mut from).unwrap(), request);
        }
        assert_eq!(Request::receive(from).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
