//! The binary: reads the command line, and says on stderr what went wrong.

use std::process::ExitCode;

fn main() -> ExitCode {
    millstream::cli::main(millstream::cli::parse())
}
