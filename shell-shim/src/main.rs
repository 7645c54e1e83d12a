//! The `stdpkt` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    shell_shim::main()
}
